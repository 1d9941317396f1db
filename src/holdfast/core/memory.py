"""Memory for reading and writing past the page cache, where offset, length and address of every
request must be multiples of a block. A page is one for every disk that we know of."""

from __future__ import annotations

import mmap

import numpy as np

PAGE_BYTES = 4096


def page_area(size_bytes: int) -> memoryview:
    """Writable memory that begins at a page, zeroed; given back with the last view of it."""
    return memoryview(mmap.mmap(-1, size_bytes))


def begins_at_page(buffer: memoryview) -> bool:
    address: int = np.frombuffer(buffer, dtype=np.uint8).ctypes.data
    return address % PAGE_BYTES == 0


def whole_pages(length: int) -> int:
    """The part of a length that is whole pages."""
    return length - length % PAGE_BYTES
