"""A disk of a restore point as random-access blocks: what NBD export and guest files read from.

Thread-safe. Keeps recently used chunks (bounded), and lets several readers of one chunk wait for a
single fetch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future

from holdfast.core.extents import Extent, merge_extents
from holdfast.core.units import MIB
from holdfast.repository import ZERO_ID, DiskRecord, Repository
from holdfast.repository.errors import ObjectDamaged

CACHE_BYTES = 64 * MIB


class VirtualDisk:
    """Implements `BlockSource` over one disk of a point. `Repository.load_index` must have been
    called since the point was read."""

    def __init__(
        self, repository: Repository, disk: DiskRecord, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._chunks = repository.chunks
        self._map = repository.disk_map(disk)
        self._map_lock = threading.Lock()
        self._size_bytes = disk.size_bytes
        self._chunk_bytes = repository.chunk_bytes
        self._cache: OrderedDict[bytes, Future[bytes]] = OrderedDict()
        self._cache_lock = threading.Lock()
        self._cache_slots = max(2, cache_bytes // self._chunk_bytes)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def chunk_bytes(self) -> int:
        return self._chunk_bytes

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self._size_bytes:
            raise ValueError(f"range {offset}+{length} is outside a disk of {self._size_bytes}")
        parts: list[bytes | memoryview] = []
        end = offset + length
        while offset < end:
            index, start = divmod(offset, self._chunk_bytes)
            stop = min(start + end - offset, self._chunk_bytes)
            parts.append(self._part(index, start, stop))
            offset += stop - start
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        yield from merge_extents(self._extents(offset, min(offset + length, self._size_bytes)))

    def _extents(self, position: int, end: int) -> Iterator[Extent]:
        step = self._chunk_bytes
        with self._map_lock:
            data = [index for index, _ in self._map.data_chunks(position // step, -(-end // step))]
        for index in data:
            start = max(index * step, position)
            stop = min((index + 1) * step, end)
            if start > position:
                yield Extent(offset=position, length=start - position, zero=True)
            yield Extent(offset=start, length=stop - start)
            position = stop
        if position < end:
            yield Extent(offset=position, length=end - position, zero=True)

    def _part(self, index: int, start: int, stop: int) -> bytes | memoryview:
        with self._map_lock:
            chunk_id = self._map.chunk_id(index)
        if chunk_id == ZERO_ID:
            return bytes(stop - start)
        chunk = self._chunk(chunk_id)
        expected = min(self._chunk_bytes, self._size_bytes - index * self._chunk_bytes)
        if len(chunk) != expected:
            raise ObjectDamaged(key="map", problem=f"chunk {index} does not fit its place")
        return memoryview(chunk)[start:stop]

    def _chunk(self, chunk_id: bytes) -> bytes:
        future, is_mine = self._reserve(chunk_id)
        if not is_mine:
            return future.result()
        try:
            data = self._chunks.read(chunk_id)
        except BaseException as error:
            future.set_exception(error)
            with self._cache_lock:
                self._cache.pop(chunk_id, None)
            raise
        future.set_result(data)
        return data

    def _reserve(self, chunk_id: bytes) -> tuple[Future[bytes], bool]:
        """The chunk's place in the cache, and whether the caller is the one to fill it."""
        with self._cache_lock:
            known = self._cache.get(chunk_id)
            if known is not None:
                self._cache.move_to_end(chunk_id)
                return known, False
            future = self._cache[chunk_id] = Future[bytes]()
            while len(self._cache) > self._cache_slots:
                self._cache.popitem(last=False)
            return future, True
