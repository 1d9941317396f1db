"""The states of a run and the moves between them. Pure. Whoever stores a run asks here first."""

from __future__ import annotations

from enum import Enum


class RunState(Enum):
    PENDING = "pending"
    """Waiting for its turn, or for its next attempt."""
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LEGAL_MOVES: dict[RunState, frozenset[RunState]] = {
    # A pending run completes at once when a killed worker had committed it already.
    RunState.PENDING: frozenset(
        {RunState.RUNNING, RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED}
    ),
    # Back to pending: its worker died, or the error may pass by itself.
    RunState.RUNNING: frozenset(
        {RunState.PENDING, RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED}
    ),
    RunState.COMPLETED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}

ACTIVE_STATES = frozenset({RunState.PENDING, RunState.RUNNING})
FINAL_STATES = frozenset(RunState) - ACTIVE_STATES


class RunKind(Enum):
    BACKUP = "backup"
    RESTORE_VM = "restore_vm"
    RESTORE_DISK = "restore_disk"
    CHECK = "check"
    VERIFY = "verify"
    PRUNE = "prune"
    COMPACT = "compact"
    COPY = "copy"
    LOCK = "lock"
    """Renew the locks of an immutable repository."""
    REPAIR = "repair"
    """Save what damage has left, and fetch the rest from a copy."""
    DELETE_POINT = "delete_point"
    DISCOVER = "discover"


def may_move(before: RunState, after: RunState) -> bool:
    return after in LEGAL_MOVES[before]
