"""Byte ranges inside the reader: disks fetched from the parent, windows of them, and mappings of
several of them. Must not know file systems. Enter at `Device`.

Reads past the end are short, as with a file; dissect turns short structures into EOFError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

CACHE_BLOCK_BYTES = 64 * 1024
CACHE_BLOCKS = 768
"""48 MiB for all disks together; the address space of the reader is limited to about 1 GiB."""
READ_AHEAD_BLOCKS = 16
DIRECT_READ_BYTES = 256 * 1024
"""Reads from this size on are file contents: they pass the cache by, so that they neither evict
metadata nor are copied twice."""


class Fetcher(Protocol):
    def __call__(self, disk: int, offset: int, length: int) -> bytes:
        """Exactly `length` bytes of the disk; the range lies inside it."""
        ...


class Device(ABC):
    """A readable range with a position, shaped like a file because dissect wants files."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._position = 0

    @abstractmethod
    def pread(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`; short at the end of the device."""

    def seek(self, position: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._position, 2: self.size}[whence]
        target = base + position
        if target < 0:
            raise ValueError(f"negative seek position {target}")
        self._position = target
        return target

    def tell(self) -> int:
        return self._position

    def read(self, length: int = -1) -> bytes:
        if length < 0:
            length = max(0, self.size - self._position)
        data = self.pread(self._position, length)
        self._position += len(data)
        return data


class BlockCache:
    """Least recently used blocks of all disks."""

    def __init__(self, fetch: Fetcher, limit: int = CACHE_BLOCKS) -> None:
        self._fetch = fetch
        self._limit = limit
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._last_miss: dict[int, int] = {}

    def block(self, disk: int, number: int, size: int) -> bytes:
        key = (disk, number)
        found = self._blocks.get(key)
        if found is not None:
            self._blocks.move_to_end(key)
            return found
        # Two misses in a row look like a scan (inode tables, directories): fetch further ahead.
        sequential = self._last_miss.get(disk) == number - 1
        count = READ_AHEAD_BLOCKS if sequential else 1
        start = number * CACHE_BLOCK_BYTES
        data = self._fetch(disk, start, min(size - start, count * CACHE_BLOCK_BYTES))
        fetched = range(0, len(data), CACHE_BLOCK_BYTES)
        self._last_miss[disk] = number + len(fetched) - 1
        for index, begin in enumerate(fetched):
            self._blocks[(disk, number + index)] = data[begin : begin + CACHE_BLOCK_BYTES]
        while len(self._blocks) > self._limit:
            self._blocks.popitem(last=False)
        return data[:CACHE_BLOCK_BYTES]

    def fetch(self, disk: int, offset: int, length: int) -> bytes:
        return self._fetch(disk, offset, length)


class DiskDevice(Device):
    """One disk of the restore point."""

    def __init__(self, cache: BlockCache, index: int, size: int, max_fetch: int) -> None:
        super().__init__(size)
        self._cache = cache
        self._index = index
        self._max_fetch = max_fetch

    def pread(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        if length >= DIRECT_READ_BYTES:
            return self._pread_direct(offset, length)
        number, skip = divmod(offset, CACHE_BLOCK_BYTES)
        block = self._cache.block(self._index, number, self.size)
        if skip + length <= len(block):
            return block[skip : skip + length]
        parts = [block[skip:]]
        missing = length - len(parts[0])
        while missing > 0:
            number += 1
            parts.append(self._cache.block(self._index, number, self.size)[:missing])
            missing -= len(parts[-1])
        return b"".join(parts)

    def _pread_direct(self, offset: int, length: int) -> bytes:
        if length <= self._max_fetch:
            return self._cache.fetch(self._index, offset, length)
        pieces = [
            self._cache.fetch(self._index, start, min(self._max_fetch, offset + length - start))
            for start in range(offset, offset + length, self._max_fetch)
        ]
        return b"".join(pieces)


class Window(Device):
    """`size` bytes of another device from `start`, such as a partition."""

    def __init__(self, parent: Device, start: int, size: int) -> None:
        super().__init__(max(0, min(size, parent.size - start)))
        self._parent = parent
        self._start = start

    def pread(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        return self._parent.pread(self._start + offset, length) if length > 0 else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """`length` bytes of a mapping, backed by `device` from `start`; zeroes when there is none."""

    device: Device | None
    start: int
    length: int


class Mapping(Device):
    """Pieces of devices one after another, such as a logical volume."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._offsets: list[int] = []
        size = 0
        for piece in pieces:
            self._offsets.append(size)
            size += piece.length
        super().__init__(size)

    def pread(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        parts: list[bytes] = []
        index = bisect_right(self._offsets, offset) - 1
        while length > 0:
            piece = self._pieces[index]
            inside = offset - self._offsets[index]
            count = min(length, piece.length - inside)
            if piece.device is None:
                data = bytes(count)
            else:
                data = piece.device.pread(piece.start + inside, count)
            parts.append(data)
            if len(data) < count:
                break
            offset += count
            length -= count
            index += 1
        return b"".join(parts)
