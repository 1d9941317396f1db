"""The script that nbdkit's Python loads. nbdkit calls the functions here by their names.

Debian's nbdkit embeds Debian's Python, which knows nothing of our virtual environment: until the
handover was read, only the standard library can be imported.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

import nbdkit

if TYPE_CHECKING:
    from holdfast.restore.nbdkit_plugin.served_disk import ServedDisk

API_VERSION = 2
_LONGEST_HANDOVER = 4096


class _State:
    """nbdkit's callbacks share a module, not an object."""

    handover_fd: int | None = None
    disk: ServedDisk


def thread_model() -> int:
    return nbdkit.THREAD_MODEL_PARALLEL


def config(key: str, value: str) -> None:
    if key != "handover_fd":
        raise ValueError(f"unknown parameter {key}")
    _State.handover_fd = int(value)


def config_complete() -> None:
    if _State.handover_fd is None:
        raise ValueError("handover_fd is missing")


def get_ready() -> None:
    """Before nbdkit listens: whoever connects finds the disk open."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the master key
    document = _read_handover()
    if tuple(document["python"]) != sys.version_info[:2]:
        wanted = ".".join(map(str, document["python"]))
        here = ".".join(map(str, sys.version_info[:2]))
        problem = f"nbdkit runs Python {here} and cannot load the libraries of Python {wanted}"
        sys.stderr.write(f"holdfast: {problem}\n")
        raise RuntimeError(problem)
    sys.path[:0] = document["paths"]
    from holdfast.core.errors import HoldfastError
    from holdfast.restore.nbdkit_plugin.served_disk import PROBLEM_PREFIX, open_served_disk

    try:
        _State.disk = open_served_disk(document)
    except HoldfastError as error:
        sys.stderr.write(f"{PROBLEM_PREFIX}{error.message}\n")
        raise RuntimeError(error.code) from None


def open(readonly: bool) -> int:
    del readonly
    return 1


def get_size(handle: int) -> int:
    del handle
    return _State.disk.size_bytes


def block_size(handle: int) -> tuple[int, int, int]:
    del handle
    return _State.disk.block_size


def can_multi_conn(handle: int) -> bool:
    """Nothing below ever changes, so connections see the same. The overlay of a writable export
    is in nbdkit's cow filter, one for all connections."""
    del handle
    return True


def can_extents(handle: int) -> bool:
    del handle
    return True


def pread(handle: int, buf: bytearray, offset: int, flags: int) -> None:
    del handle, flags
    nbdkit.set_error(errno.EIO)  # for the client, should this raise
    _State.disk.read_into(buf, offset)


def extents(handle: int, count: int, offset: int, flags: int) -> list[tuple[int, int, int]]:
    del handle
    nbdkit.set_error(errno.EIO)  # for the client, should this raise
    found = _State.disk.extents(offset, count, first_only=bool(flags & nbdkit.FLAG_REQ_ONE))
    hole = nbdkit.EXTENT_HOLE | nbdkit.EXTENT_ZERO
    return [(item.offset, item.length, hole if item.zero else 0) for item in found]


def _read_handover() -> dict[str, Any]:
    if _State.handover_fd is None:
        raise ValueError("handover_fd is missing")
    with os.fdopen(_State.handover_fd, "rb") as pipe:
        # Ends early when the process that started us died: then there is nobody to serve.
        return json.loads(pipe.read(_LONGEST_HANDOVER))
