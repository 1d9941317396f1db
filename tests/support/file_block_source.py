"""A `BlockSource` over a raw image file, for tests that need no repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from holdfast.core.extents import Extent


class FileBlockSource:
    """Reads the file with `pread`; counts what was read."""

    chunk_bytes = 1024 * 1024

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size_bytes = os.fstat(self._descriptor).st_size
        self.reads = 0
        self.bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise ValueError("range outside the disk")
        self.reads += 1
        self.bytes_read += length
        return os.pread(self._descriptor, length, offset)

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        yield Extent(offset=offset, length=length)

    def close(self) -> None:
        os.close(self._descriptor)
