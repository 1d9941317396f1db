"""The map of a disk: a tree of pages of chunk ids, pages being chunks themselves.

A leaf page holds the ids of up to `FANOUT` consecutive chunks, an upper page those of up to
`FANOUT` pages. An id of zeroes stands for a chunk of zeroes or a subtree of them and is stored
nowhere, so an empty disk of any size is one id. Writing a map over a parent's touches only the
pages on the way to changed chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from holdfast.core.units import ceil_div
from holdfast.repository.errors import ChunkMissing, ObjectDamaged, ObjectMissing
from holdfast.repository.format.pack import ID_BYTES, ZERO_ID

FANOUT = 512
_CACHED_PAGES = 512

_AHEAD = 256
"""Leaf pages fetched ahead of who goes through the chunks: of 32 GiB of disk, 4 MiB."""

FetchPage = Callable[[bytes], bytes]
FetchPages = Callable[[Sequence[bytes]], Sequence[bytes]]
StorePage = Callable[[bytes], bytes]


def tree_height(chunk_count: int) -> int:
    """Levels of pages above `chunk_count` chunks: 0 for none, 1 up to FANOUT, and so on."""
    height, reach = 0, 1
    if chunk_count == 0:
        return 0
    while height == 0 or reach < chunk_count:
        height += 1
        reach *= FANOUT
    return height


class DiskMap:
    """A stored map, pages fetched as needed. Not thread-safe."""

    def __init__(
        self,
        *,
        root: bytes,
        height: int,
        chunk_count: int,
        fetch: FetchPage,
        fetch_many: FetchPages | None = None,
    ) -> None:
        """`fetch_many` is quicker than as many times `fetch`."""
        if height != tree_height(chunk_count):
            raise ObjectDamaged(key="map", problem="its height does not fit the disk's size")
        self.root = root
        self.height = height
        self.chunk_count = chunk_count
        self._fetch = fetch
        self._fetch_many = fetch_many
        self._pages: dict[tuple[int, int], bytes] = {}

    def chunk_id(self, index: int) -> bytes:
        """Id of the chunk at `index`; ZERO_ID for zeroes."""
        if not 0 <= index < self.chunk_count:
            raise IndexError(index)
        page = self.page(1, index // FANOUT)
        return _entry(page, index % FANOUT)

    def page_id(self, level: int, number: int) -> bytes:
        """Id of page `number` of `level` (1 = leaves)."""
        if level == self.height:
            return self.root
        return _entry(self.page(level + 1, number // FANOUT), number % FANOUT)

    def page(self, level: int, number: int) -> bytes:
        """Content of a page; empty for a page of zeroes."""
        cached = self._pages.get((level, number))
        if cached is not None:
            return cached
        page_id = self.page_id(level, number)
        content = b"" if page_id == ZERO_ID else self._fetch(page_id)
        self._keep(level, number, page_id, content)
        return content

    def _keep(self, level: int, number: int, page_id: bytes, content: bytes) -> None:
        if content and len(content) != self._entries(level, number) * ID_BYTES:
            raise ObjectDamaged(key=f"map page {page_id.hex()}", problem="it has a wrong length")
        if len(self._pages) >= _CACHED_PAGES:
            self._pages.pop(next(iter(self._pages)))
        self._pages[(level, number)] = content

    def data_chunks(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """`(index, id)` of every chunk in the range that is not zero, in order; subtrees of zeroes
        cost nothing."""
        stop = self.chunk_count if stop is None else min(stop, self.chunk_count)
        number = ahead = start // FANOUT
        while number * FANOUT < stop:
            if number >= ahead:
                ahead = min(number + _AHEAD, ceil_div(stop, FANOUT))
                self._fetch_ahead(number, ahead)
            page = self.page(1, number)
            if not page:
                number = self._next_page(number)
                continue
            first = number * FANOUT
            for slot in range(max(start - first, 0), min(stop - first, FANOUT)):
                chunk = page[slot * ID_BYTES : (slot + 1) * ID_BYTES]
                if chunk != ZERO_ID:
                    yield first + slot, chunk
            number += 1

    def page_ids(self) -> Iterator[bytes]:
        """Id of every page that is stored, each upper page before those below it."""
        for level in range(self.height, 0, -1):
            pages = ceil_div(self.chunk_count, FANOUT**level)
            for number in range(pages):
                page_id = self.page_id(level, number)
                if page_id != ZERO_ID:
                    yield page_id

    def _fetch_ahead(self, number: int, stop: int) -> None:
        """Leaf pages into the cache. A problem is left to who asks for the page."""
        if self._fetch_many is None:
            return
        with suppress(ObjectDamaged, ObjectMissing, ChunkMissing):
            numbers = [item for item in range(number, stop) if (1, item) not in self._pages]
            ids = {item: self.page_id(1, item) for item in numbers}
            wanted = {item: page_id for item, page_id in ids.items() if page_id != ZERO_ID}
            if len(wanted) > 1:
                contents = self._fetch_many(list(wanted.values()))
                for (item, page_id), content in zip(wanted.items(), contents, strict=True):
                    self._keep(1, item, page_id, content)

    def _next_page(self, number: int) -> int:
        """The first leaf page after `number` that is not under the same subtree of zeroes."""
        for level in range(self.height, 1, -1):
            span = FANOUT ** (level - 1)
            if not self.page(level, number // span):
                return (number // span + 1) * span
        return number + 1

    def _entries(self, level: int, number: int) -> int:
        below = ceil_div(self.chunk_count, FANOUT ** (level - 1))
        return min(below - number * FANOUT, FANOUT)


class DiskMapWriter:
    """Builds a map, over a parent's map of the same or another size, or over zeroes.

    `set` may be called in any order. Not thread-safe. Memory: 16 KiB for each touched page that is
    not complete yet.
    """

    def __init__(self, *, chunk_count: int, parent: DiskMap | None, store: StorePage) -> None:
        self._chunk_count = chunk_count
        self._height = tree_height(chunk_count)
        self._parent = parent
        self._store = store
        self._pages: list[dict[int, bytearray]] = [{} for _ in range(self._height + 1)]

    def set(self, index: int, chunk_id: bytes) -> None:
        if not 0 <= index < self._chunk_count:
            raise IndexError(index)
        self._set(1, index, chunk_id)

    def finish(self) -> tuple[bytes, int]:
        """Store every touched page; the root and the height of the tree."""
        if self._height == 0:
            return ZERO_ID, 0
        if self._parent is not None and self._parent.chunk_count != self._chunk_count:
            self._touch_edges()
        for level in range(1, self._height):
            for number, content in sorted(self._pages[level].items()):
                self._set(level + 1, number, self._stored(content))
            self._pages[level].clear()
        top = self._pages[self._height].get(0)
        if top is not None:
            return self._stored(top), self._height
        return (self._parent.root if self._parent else ZERO_ID), self._height

    def _set(self, level: int, slot: int, entry: bytes) -> None:
        number, position = divmod(slot, FANOUT)
        page = self._pages[level].get(number)
        if page is None:
            page = self._pages[level][number] = self._base(level, number)
        page[position * ID_BYTES : (position + 1) * ID_BYTES] = entry

    def _base(self, level: int, number: int) -> bytearray:
        """What the page holds before it is changed: the parent's entries, cut or extended."""
        below = ceil_div(self._chunk_count, FANOUT ** (level - 1))
        content = bytearray(min(below - number * FANOUT, FANOUT) * ID_BYTES)
        old = self._parent_page(level, number)
        length = min(len(old), len(content))
        content[:length] = old[:length]
        return content

    def _parent_page(self, level: int, number: int) -> bytes:
        parent = self._parent
        if parent is None or number * FANOUT**level >= parent.chunk_count:
            return b""
        if level <= parent.height:
            return parent.page(level, number)
        # The new tree is higher: its first upper page begins with the old root.
        return parent.root if level == parent.height + 1 else b""

    def _touch_edges(self) -> None:
        """A resized disk has other last pages: build them again on every level."""
        old_count = self._parent.chunk_count if self._parent else 0
        edges = {self._chunk_count - 1, min(old_count, self._chunk_count) - 1}
        for index in edges:
            if index < 0:
                continue
            for level in range(1, self._height + 1):
                number = index // FANOUT**level
                if number not in self._pages[level]:
                    self._pages[level][number] = self._base(level, number)

    def _stored(self, content: bytearray) -> bytes:
        return ZERO_ID if content.count(0) == len(content) else self._store(bytes(content))


def _entry(page: bytes, slot: int) -> bytes:
    return page[slot * ID_BYTES : (slot + 1) * ID_BYTES] if page else ZERO_ID
