"""Bytes of a disk in memory, sparse, so that 3 TiB cost what was written to them."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.core.extents import Extent, merge_extents


class SparseBytes:
    """Fixed pages, absent where nothing was written. Pages are immutable, so a copy is cheap."""

    def __init__(self, size_bytes: int, *, page_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.page_bytes = page_bytes
        self._pages: dict[int, bytes] = {}

    def copy(self) -> SparseBytes:
        twin = SparseBytes(self.size_bytes, page_bytes=self.page_bytes)
        twin._pages = dict(self._pages)
        return twin

    def write(self, offset: int, data: bytes) -> None:
        self._check(offset, len(data))
        taken = 0
        for page, start, length in self._spans(offset, len(data)):
            content = bytearray(self._pages.get(page, bytes(self.page_bytes)))
            content[start : start + length] = data[taken : taken + length]
            self._pages[page] = bytes(content)
            taken += length

    def trim(self, offset: int, length: int) -> None:
        """Make the range read as zeroes; pages wholly inside become holes."""
        self._check(offset, length)
        for page, start, part in self._spans(offset, length):
            if part == self.page_bytes:
                self._pages.pop(page, None)
            elif page in self._pages:
                content = bytearray(self._pages[page])
                content[start : start + part] = bytes(part)
                self._pages[page] = bytes(content)

    def resize(self, size_bytes: int) -> None:
        if size_bytes < self.size_bytes:
            self.trim(size_bytes, self.size_bytes - size_bytes)
            last = -(-size_bytes // self.page_bytes)
            self._pages = {page: data for page, data in self._pages.items() if page < last}
        self.size_bytes = size_bytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._check(offset, len(buffer))
        filled = 0
        for page, start, length in self._spans(offset, len(buffer)):
            content = self._pages.get(page)
            piece = content[start : start + length] if content else bytes(length)
            buffer[filled : filled + length] = piece
            filled += length

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        data = bytearray(self.size_bytes - offset if length is None else length)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        """The range split into holes and data."""
        self._check(offset, length)
        return merge_extents(self._allocation(offset, offset + length))

    def _allocation(self, offset: int, end: int) -> Iterator[Extent]:
        first, last = offset // self.page_bytes, -(-end // self.page_bytes)
        for page in sorted(page for page in self._pages if first <= page < last):
            start = max(page * self.page_bytes, offset)
            stop = min((page + 1) * self.page_bytes, end)
            yield Extent(offset=offset, length=start - offset, zero=True)
            yield Extent(offset=start, length=stop - start)
            offset = stop
        yield Extent(offset=offset, length=end - offset, zero=True)

    def _spans(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """(page, start in the page, length) of a range."""
        end = offset + length
        while offset < end:
            page, start = divmod(offset, self.page_bytes)
            part = min(self.page_bytes - start, end - offset)
            yield page, start, part
            offset += part

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise ValueError(f"{offset}+{length} is outside {self.size_bytes} bytes")
