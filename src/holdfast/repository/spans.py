"""Bytes of a disk at a point by offset, for copying between repositories whose chunks differ in
key or size. Every byte returned was verified."""

from __future__ import annotations

import threading

from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ZERO_ID
from holdfast.repository.format.point import DiskRecord
from holdfast.repository.repository import Repository


class SpanReader:
    """Thread-safe. Keeps the last chunk, which neighbouring spans share. `Repository.load_index`
    must have been called since the point was read."""

    def __init__(self, repository: Repository, disk: DiskRecord) -> None:
        self._chunks = repository.chunks
        self._chunk_bytes = repository.chunk_bytes
        self._map = repository.disk_map(disk)
        self._size_bytes = disk.size_bytes
        self._lock = threading.Lock()
        self._last: tuple[bytes, bytes] = (b"", b"")

    def read(self, offset: int, length: int) -> bytes:
        """The range, which must lie inside the disk. Raises ChunkMissing, ObjectMissing,
        ObjectDamaged."""
        parts: list[bytes] = []
        end = offset + length
        while offset < end:
            index, start = divmod(offset, self._chunk_bytes)
            stop = min(start + end - offset, self._chunk_bytes)
            parts.append(self._part(index, start, stop))
            offset += stop - start
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, index: int, start: int, stop: int) -> bytes:
        with self._lock:
            chunk_id = self._map.chunk_id(index)
            known, data = self._last
        if chunk_id == ZERO_ID:
            return bytes(stop - start)
        if chunk_id != known:
            data = self._chunks.read(chunk_id)
            with self._lock:
                self._last = (chunk_id, data)
        if len(data) != min(self._chunk_bytes, self._size_bytes - index * self._chunk_bytes):
            raise ObjectDamaged(key="map", problem=f"chunk {index} does not fit its place")
        return data[start:stop]
