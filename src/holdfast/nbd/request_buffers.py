"""Buffers that requests in flight read into and write from, reused for the life of the process.

libnbd's Python binding (1.14, Debian 12) never gives up the buffer of an asynchronous request:
256 MiB written through fresh buffers stay in memory (measured). So requests use buffers from here,
whose number is bounded by the most requests ever in flight, and bytes are copied once.
"""

from __future__ import annotations

import threading

import nbd

from holdfast.core.units import KIB, MIB

REQUEST_BYTES = 1 * MIB
_CACHED_STEP = 4 * KIB


class RequestBuffer:
    """One buffer of `REQUEST_BYTES`; a single request uses it at a time."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(REQUEST_BYTES))
        self._parts: dict[int, nbd.Buffer] = {}

    def part(self, length: int) -> nbd.Buffer:
        """The first `length` bytes as libnbd wants them."""
        known = self._parts.get(length)
        if known is None:
            known = nbd.Buffer.from_buffer(self.view[:length])
            if length % _CACHED_STEP == 0:  # bounds the cache; odd lengths are ends of disks
                self._parts[length] = known
        return known


class RequestBuffers:
    """A free list. Thread-safe."""

    def __init__(self) -> None:
        self._free: list[RequestBuffer] = []
        self._lock = threading.Lock()

    def take(self) -> RequestBuffer:
        with self._lock:
            return self._free.pop() if self._free else RequestBuffer()

    def give_back(self, buffer: RequestBuffer) -> None:
        """Only after its request is complete; one whose connection broke is dropped instead."""
        with self._lock:
            self._free.append(buffer)


POOL = RequestBuffers()
