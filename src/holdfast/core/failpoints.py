"""Named places between two steps whose order matters, where a test can make a process die, fail,
hang, stop or go slowly. Off unless armed; an unarmed failpoint costs one dictionary look-up."""

from __future__ import annotations

import os
import signal
import threading
import time
from enum import Enum

from holdfast.core.errors import InjectedFault


class FaultKind(Enum):
    KILL = "kill"
    ERROR = "error"
    HANG = "hang"
    STOP = "stop"
    """All threads, until SIGCONT; then on as if nothing had been."""
    SLOW = "slow"
    """Half a second at every hit."""


FAILPOINTS: frozenset[str] = frozenset(
    {
        "local_store.after_temp_fsync",
        "local_store.after_link",
        "local_store.before_lock",
        "local_store.before_rename",
        "locks.after_renewal",
        "pack.before_put",
        "pack.after_put",
        "index.before_put",
        "index.after_put",
        "point.before_commit",
        "point.after_commit",
        "backup.after_snapshot",
        "backup.before_promote",
        "backup.after_promote",
        "restore.before_rename",
        "repository.after_config",
        "repository.after_key_slot",
        "lease.after_acquire",
        "compact.before_tombstone",
        "compact.after_tombstone",
        "compact.before_delete",
        "compact.after_delete",
        "maintenance.between_indexes",
        "bundles.between",
        "verify.after_record",
        "keys.between_slots",
        "data_keys.before_put",
        "data_keys.between_copies",
        "mending.after_set_aside",
        "mending.between_objects",
        "repair.before_index",
        "repair.after_index",
        "copy.before_point",
        "copy.before_commit",
        "prune.between_deletes",
    }
)
"""Every failpoint there is; `failpoint` refuses other names, so a test can enumerate them."""

_SLOW_S = 0.5
_armed: dict[str, tuple[FaultKind, int]] = {}
_lock = threading.Lock()


def arm(specification: str) -> None:
    """Arm from text: `name:kind[:n]` separated by commas; acts on the n-th hit (default 1).

    Raises ValueError for an unknown name or kind.
    """
    for item in filter(None, specification.split(",")):
        name, kind, *count = item.split(":")
        if name not in FAILPOINTS:
            raise ValueError(f"unknown failpoint {name!r}")
        _armed[name] = (FaultKind(kind), int(count[0]) if count else 1)


def disarm() -> None:
    """Forget everything armed."""
    _armed.clear()


def failpoint(name: str) -> None:
    """Mark a step. Call between the two statements whose order matters."""
    if not _armed:
        return
    if name not in FAILPOINTS:
        raise ValueError(f"unknown failpoint {name!r}")
    with _lock:
        armed = _armed.get(name)
        if armed is None:
            return
        kind, remaining = armed
        if remaining > 1:
            _armed[name] = (kind, remaining - 1)
            return
        if kind is not FaultKind.SLOW:
            del _armed[name]
    if kind is FaultKind.SLOW:
        time.sleep(_SLOW_S)
        return
    if kind is FaultKind.KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind is FaultKind.STOP:
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    if kind is FaultKind.HANG:
        signal.pause()
    raise InjectedFault(failpoint=name)
