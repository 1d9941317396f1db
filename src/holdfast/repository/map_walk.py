"""Going through the maps of many disks at once: level by level, each page once however many maps
share it, many read at a time.

Knows nothing of what the chunks below are wanted for. Enter at `MapWalk.windows`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from holdfast.core.units import ceil_div
from holdfast.repository.disk_map import FANOUT, tree_height
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ID_BYTES, ZERO_ID
from holdfast.repository.format.point import DiskRecord
from holdfast.repository.repository import Repository

_WINDOW = 512
"""Pages in memory at once: 8 MiB."""


@dataclass(frozen=True, slots=True)
class _Page:
    id: bytes
    reach: int
    """Chunks of the disk below it: a page at a disk's end has fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageWindow:
    """Some pages of one level (1 = those that hold the ids of data chunks)."""

    level: int
    ids: Sequence[bytes]
    contents: Sequence[bytes]
    done: int
    """Pages of this level before these."""
    total: int
    """Pages of this level."""


class MapWalk:
    """Remembers the pages that it has been through, over several calls. Not thread-safe. Memory:
    a hundred and some bytes a page, which stands for 512 chunks."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._seen: dict[int, set[_Page]] = {}

    def windows(self, disks: Iterable[DiskRecord]) -> Iterator[PageWindow]:
        """Every page that no call before has shown. `Repository.load_index` must have been called
        since the points were read. Raises ObjectDamaged, also for a map that does not fit its
        disk, ChunkMissing, ObjectMissing."""
        tops: dict[int, list[_Page]] = {}
        for disk in disks:
            chunks = ceil_div(disk.size_bytes, self._repository.chunk_bytes)
            if disk.height != tree_height(chunks):
                raise ObjectDamaged(key="map", problem="its height does not fit the disk's size")
            tops.setdefault(disk.height, []).append(_Page(disk.root, chunks))
        below: list[_Page] = []
        for level in range(max(tops, default=0), 0, -1):
            pages = self._new(level, [*below, *tops.get(level, ())])
            below = []
            rest = iter(pages)
            done = 0
            while window := list(islice(rest, _WINDOW)):
                contents = self._read(level, window)
                if level > 1:
                    for page, content in zip(window, contents, strict=True):
                        below += _children(level, page, content)
                ids = [page.id for page in window]
                yield PageWindow(
                    level=level, ids=ids, contents=contents, done=done, total=len(pages)
                )
                done += len(window)

    def _new(self, level: int, pages: Iterable[_Page]) -> list[_Page]:
        seen = self._seen.setdefault(level, set())
        new = dict.fromkeys(page for page in pages if page.id != ZERO_ID and page not in seen)
        seen.update(new)
        return list(new)

    def _read(self, level: int, pages: Sequence[_Page]) -> list[bytes]:
        contents = self._repository.chunks.read_pages([page.id for page in pages])
        for page, content in zip(pages, contents, strict=True):
            if len(content) != ceil_div(page.reach, FANOUT ** (level - 1)) * ID_BYTES:
                raise ObjectDamaged(key=f"map page {page.id.hex()}", problem="wrong length")
        return contents


def _children(level: int, page: _Page, content: bytes) -> Iterator[_Page]:
    span = FANOUT ** (level - 1)
    for slot, start in enumerate(range(0, len(content), ID_BYTES)):
        yield _Page(content[start : start + ID_BYTES], min(page.reach - slot * span, span))
