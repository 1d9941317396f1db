"""Start writing dirty pages to disk while there is still work to do, so that the fsync at the end
of a restore finds little left. Linux only; a hint, whose errors the fsync reports."""

from __future__ import annotations

import ctypes

_SYNC_FILE_RANGE_WRITE = 2
"""sync_file_range(2): start write-out of dirty pages, wait for nothing."""

_libc = ctypes.CDLL(None)
_libc.sync_file_range.argtypes = (
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_uint,
)


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Begin to write back a range of an open file; returns at once."""
    _libc.sync_file_range(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)
