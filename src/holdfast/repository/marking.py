"""The walk over the maps of restore points: which stored chunks, and so which packs, they need.

Knows manifests, the index and how to read a page; neither listings nor repositories. Enter at
`Marking.run`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import Progress, ProgressSink
from holdfast.repository.chunks import ChunkReader
from holdfast.repository.errors import ChunkMissing, ObjectDamaged, ObjectMissing
from holdfast.repository.format.pack import ID_BYTES, ZERO_ID, ChunkType
from holdfast.repository.format.point import DiskRecord, Manifest
from holdfast.repository.index import ChunkLocation, IndexView, location_at
from holdfast.repository.reading import each

_BATCH = 1_000_000
"""Ids looked up at once: 32 MiB of them, and about as much again three times meanwhile."""
_PAGES = 512
"""Pages of maps read at once: 8 MiB."""


@dataclass(frozen=True, slots=True)
class Marked:
    """The result: `used` by row of `view`."""

    view: IndexView
    used: NDArray[np.bool_]
    exists: NDArray[np.bool_]
    """By pack number: False for a pack that the index still has and the store does not."""
    damaged: Collection[bytes]
    """Hashes of the packs that were found damaged."""

    def used_bytes(self) -> NDArray[np.int64]:
        """Stored bytes in use, by pack number."""
        stored = self.view.rows["stored"] & np.uint32((1 << 29) - 1)
        packs: NDArray[Any] = self.view.rows["pack"]
        weights = np.where(self.used, stored, 0).astype(np.float64)
        return np.bincount(packs, weights, minlength=len(self.view.packs)).astype(np.int64)

    def packs(self) -> set[bytes]:
        """Hashes of the packs with a chunk in use."""
        numbers = np.unique(self.view.rows["pack"][self.used]).tolist()
        return {self.view.packs[number][0] for number in numbers}

    def chunks_of(self, packs: Sequence[int]) -> Iterator[list[ChunkLocation]]:
        """The chunks in use in each of these packs, in the order they lie there."""
        rows = self.view.rows
        among = np.zeros(len(self.view.packs), dtype=np.bool_)
        among[list(packs)] = True
        positions = np.flatnonzero(self.used & among[rows["pack"]])
        moving = rows[positions]
        order = np.lexsort((moving["offset"], moving["pack"]))
        ends = np.flatnonzero(np.diff(moving["pack"][order])) + 1
        for together in np.split(positions[order], ends):
            if len(together):
                yield [location_at(self.view, position) for position in together.tolist()]


class Marking:
    """Marks what manifests need. With `pass_over`, what cannot be read or found is left out: for
    who wants to know what is there, never for who deletes the rest."""

    def __init__(
        self,
        view: IndexView,
        stored: Collection[bytes],
        damaged: Collection[bytes],
        chunks: ChunkReader,
        *,
        avoid: Collection[bytes],
        cancel: CancelToken,
        progress: ProgressSink,
        pass_over: bool = False,
    ) -> None:
        self._chunks = chunks
        self._cancel = cancel
        self._progress = progress
        self._pass_over = pass_over
        self._damaged = damaged
        self._view = view
        self._used = np.zeros(len(self._view.rows), dtype=np.bool_)
        hashes = [pack_hash for pack_hash, _ in self._view.packs]
        self._exists = np.array([name in stored for name in hashes], dtype=np.bool_)
        sound = [name in stored and name not in damaged for name in hashes]
        wanted = [ok and name not in avoid for ok, name in zip(sound, hashes, strict=True)]
        # A sound pack that is to go before a damaged one: it may hold the only good copy.
        tiers = (wanted, sound)
        self._tiers = (*(np.array(tier, dtype=np.bool_) for tier in tiers), self._exists)
        self._pages: set[bytes] = set()
        self._pending: list[bytes] = []
        self._pending_count = 0

    def run(self, manifests: Sequence[Manifest]) -> Marked:
        for manifest in manifests:
            for artifact in manifest.artifacts:
                self._add(b"".join(artifact.chunks))
        self._mark_pages(disk for manifest in manifests for disk in manifest.disks)
        self._flush()
        return Marked(self._view, self._used, self._exists, self._damaged)

    def _mark_pages(self, disks: Iterable[DiskRecord]) -> None:
        """Level by level, for the pages of a level can be read at once. A page that several maps
        share is read once."""
        levels: dict[int, list[bytes]] = {}
        for disk in disks:
            if disk.height:
                levels.setdefault(disk.height, []).extend(self._new_pages([disk.root]))
        below: list[bytes] = []
        for level in range(max(levels, default=0), 0, -1):
            pages = [*below, *levels.get(level, ())]
            below = []
            for start in range(0, len(pages), _PAGES):
                self._cancel.check()
                self._progress.update(
                    Progress(phase="marking", done_bytes=start, total_bytes=len(pages))
                )
                for content in self._read_pages(pages[start : start + _PAGES]):
                    if level == 1:
                        self._add(content)
                    else:
                        below += self._new_pages(_split(content))
            self._add(b"".join(pages))

    def _new_pages(self, ids: Iterable[bytes]) -> list[bytes]:
        """Those that were not seen before."""
        new = [page for page in ids if page != ZERO_ID and page not in self._pages]
        self._pages.update(new)
        return list(dict.fromkeys(new))

    def _read_pages(self, pages: Sequence[bytes]) -> Iterable[bytes]:
        if self._pass_over:
            return each(self._read_page, pages)
        return self._chunks.read_pages(pages)

    def _read_page(self, page_id: bytes) -> bytes:
        try:
            return self._chunks.read(page_id, ChunkType.MAP)
        except (ChunkMissing, ObjectDamaged, ObjectMissing):
            return b""

    def _add(self, ids: bytes) -> None:
        self._pending.append(ids)
        self._pending_count += len(ids) // ID_BYTES
        if self._pending_count >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        ids = np.frombuffer(b"".join(self._pending), dtype=np.uint8).reshape(-1, ID_BYTES)
        self._pending, self._pending_count = [], 0
        words = ids.view(np.uint64)
        ids = ids[(words[:, 0] | words[:, 1] | words[:, 2] | words[:, 3]) != 0]
        for usable in self._tiers:
            found = self._view.positions(ids, usable)
            lost = found < 0
            self._used[found[~lost]] = True
            ids = ids[lost]
            if not len(ids):
                return
        if not self._pass_over:
            raise ChunkMissing(chunk=ids[0].tobytes().hex())


def _split(ids: bytes) -> Iterator[bytes]:
    return (ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES))
