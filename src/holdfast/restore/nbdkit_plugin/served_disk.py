"""Answers nbdkit's questions about one disk of a point. Thread-safe: nbdkit asks from many threads.

Owns the translation of our values and errors into nbdkit's. Must not know nbdkit's own module,
so that it runs in any Python. Enter at `open_served_disk`.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Mapping
from typing import Any

from holdfast.core.errors import HoldfastError
from holdfast.core.extents import Extent
from holdfast.core.units import KIB, MIB
from holdfast.repository import Repository
from holdfast.restore.nbdkit_plugin.handover import decode_disk
from holdfast.restore.virtual_disk import VirtualDisk

PROBLEM_PREFIX = "holdfast: "
"""Begins the lines on standard error that are meant for whoever started us."""
_LARGEST_REQUEST_BYTES = 32 * MIB
_MOST_EXTENTS = 16 * KIB
"""Ranges in one answer; a client asks again for the rest."""
_MOST_PROBLEMS = 1000
"""A client may read a damaged chunk again and again: each problem is reported once, and not
without end."""


class ReadRefused(Exception):
    """Becomes an I/O error at the client, and a short line of nbdkit's; we have said why."""


class ServedDisk:
    """What nbdkit serves: random reads and the map of data and holes."""

    def __init__(self, disk: VirtualDisk) -> None:
        self._disk = disk
        self._reported: set[str] = set()
        self._lock = threading.Lock()
        self.size_bytes = disk.size_bytes

    @property
    def block_size(self) -> tuple[int, int, int]:
        """Minimum, preferred, maximum. A chunk at a time is fetched once and not kept for long."""
        return 1, self._disk.chunk_bytes, _LARGEST_REQUEST_BYTES

    def read_into(self, buffer: bytearray, offset: int) -> None:
        """Raises ReadRefused, the reason reported."""
        try:
            buffer[:] = self._disk.read(offset, len(buffer))
        except HoldfastError as error:
            self._report(error)
            raise ReadRefused(error.code) from None

    def extents(self, offset: int, length: int, *, first_only: bool) -> list[Extent]:
        """From `offset` on, without a gap. Raises ReadRefused, the reason reported."""
        most = 1 if first_only else _MOST_EXTENTS
        try:
            return list(itertools.islice(self._disk.allocated(offset, length), most))
        except HoldfastError as error:
            self._report(error)
            raise ReadRefused(error.code) from None

    def _report(self, error: HoldfastError) -> None:
        message = error.message
        with self._lock:
            if message in self._reported or len(self._reported) >= _MOST_PROBLEMS:
                return
            self._reported.add(message)
        line = "".join(letter if letter.isprintable() else "?" for letter in message)
        sys.stderr.write(f"{PROBLEM_PREFIX}{line}\n")
        sys.stderr.flush()


def open_served_disk(document: Mapping[str, Any]) -> ServedDisk:
    """Open what the handover document names, its index loaded. Raises the repository's errors."""
    repository = Repository.from_shared(document["repository"])
    repository.load_index()
    disk = decode_disk(document["disk"])
    return ServedDisk(VirtualDisk(repository, disk))
