"""Runs: add, find, change. Every change goes through here, so that states move along the table of
`policy.run_states`, each move is recorded, and each change bears a revision of its own.

Enter at `add_run`, `move_run`, `request_cancel`; watch with `catalog.changes`. Who carries runs
out, and in what order, is in `catalog.resources`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.models import LogEntry, Run, RunTransition, VirtualMachine
from holdfast.core.clock import Clock
from holdfast.core.errors import Category, HoldfastError, Retry
from holdfast.core.ids import uuid7
from holdfast.core.units import format_bytes
from holdfast.policy.run_states import ACTIVE_STATES, FINAL_STATES, RunKind, RunState, may_move

ACTIVE = tuple(sorted(state.value for state in ACTIVE_STATES))
FINAL = tuple(sorted(state.value for state in FINAL_STATES))
WAITING_TO_RETRY = "waiting to try again"
_IDLE_MS = 5000
_LOCK_OF_RUNS = 0x686F6C64  # "hold"; any number that nothing else in the database locks


@dataclass(kw_only=True, eq=False)
class RunEnded(HoldfastError):
    code = "run_ended"
    category = Category.CONFLICT
    template = "the run {run_id} has ended already: {state}"
    hint = "There is nothing left to cancel"
    run_id: str
    state: str


@dataclass(kw_only=True, eq=False)
class RunNotRetryable(HoldfastError):
    code = "run_not_retryable"
    category = Category.CONFLICT
    template = "the run {run_id} cannot be tried again: {problem}"
    hint = "Only runs that failed or were cancelled can"
    run_id: str
    problem: str


@dataclass(kw_only=True, eq=False)
class RunTakenOver(HoldfastError):
    """What a worker hears that was taken for dead: nothing it reports counts any more."""

    code = "run_taken_over"
    category = Category.CONFLICT
    retry = Retry.NEVER
    template = "the run {run_id} is no longer carried out by {worker_id}"
    hint = "Another worker took it over; this one has stopped working on it"
    run_id: str
    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to do. `request` must be enough to do it again, is JSON-able, and holds no secret."""

    kind: RunKind
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    vm_id: str | None = None
    vm_name: str = ""
    platform_id: str | None = None
    repository_id: str | None = None
    point_id: str | None = None
    backup_type: str = ""
    exclusive_key: str | None = None
    """At most one active run has it: `vm:<id>`. The second to ask gets the first one's run."""
    priority: int = 0
    created_by: str = ""
    retry_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    run: Run
    existing: bool
    """The same was asked for before and is still active: this is that run."""


def lock_runs(session: Session) -> None:
    """Call first in every transaction that changes runs. SQLite has one writer anyhow; with
    PostgreSQL this makes revisions visible in their order, so that a watcher misses none, and
    keeps the choice of the next run free of races. Held until the end of the transaction, which the
    server ends when nothing comes any more: whoever was put to sleep holds up nobody for long."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MS}"))
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_OF_RUNS})


def touch(session: Session, run: Run) -> None:
    """Give the run the next revision. `lock_runs` must have been called."""
    session.flush()
    run.revision = (session.scalar(select(func.max(Run.revision))) or 0) + 1


def add_run(session: Session, wanted: RunRequest, clock: Clock) -> Submitted:
    """Queue a run, or find the active one with the same exclusive key."""
    lock_runs(session)
    if wanted.exclusive_key is not None:
        active = session.scalar(select(Run).where(Run.exclusive_key == wanted.exclusive_key))
        if active is not None:
            return Submitted(run=active, existing=True)
    vm = session.get(VirtualMachine, wanted.vm_id) if wanted.vm_id else None
    run = Run(
        id=str(uuid7(clock)),
        kind=wanted.kind.value,
        state=RunState.PENDING.value,
        vm_id=wanted.vm_id,
        vm_name=wanted.vm_name or (vm.name if vm else ""),
        platform_id=wanted.platform_id,
        repository_id=wanted.repository_id,
        point_id=wanted.point_id,
        backup_type=wanted.backup_type,
        request=dict(wanted.request),
        exclusive_key=wanted.exclusive_key,
        priority=wanted.priority,
        created_by=wanted.created_by,
        created_at=clock.now(),
        retry_of=wanted.retry_of,
        generation=0,
        attempt=0,
        failures=0,
        plan=[],
        disks=[],
        bottleneck={},
        samples=[],
        result={},
    )
    session.add(run)
    touch(session, run)
    session.flush()
    return Submitted(run=run, existing=False)


def find_run(session: Session, run_id: str) -> Run:
    """Raises NotInCatalogue."""
    run = session.get(Run, run_id)
    if run is None:
        raise NotInCatalogue(kind="run", id=run_id)
    return run


def move_run(
    session: Session, run: Run, after: RunState, clock: Clock, *, message: str = ""
) -> None:
    """Change the state and record it. `lock_runs` must have been called. Raises ValueError for a
    move that the table does not have."""
    before = RunState(run.state)
    if not may_move(before, after):
        raise ValueError(f"a run cannot go from {before.value} to {after.value}")
    now = clock.now()
    session.add(
        RunTransition(
            run_id=run.id,
            at=now,
            before=before.value,
            after=after.value,
            attempt=run.attempt,
            worker_id=run.worker_id,
            message=message,
        )
    )
    _log_move(session, run, after, now, message)
    run.state = after.value
    if after in FINAL_STATES:
        run.completed_at = now
        run.exclusive_key = None
        run.worker_id = None
        run.not_before = None
        run.throughput_bps, run.eta_seconds = 0, None
    touch(session, run)


def _log_move(session: Session, run: Run, after: RunState, now: datetime, message: str) -> None:
    match after:
        case RunState.RUNNING:
            text = f"attempt {run.attempt} begins on {run.worker_id}"
            log_of_run(session, run, now, "info", text)
        case RunState.COMPLETED:
            sizes = f"{format_bytes(run.read_bytes)} read, {format_bytes(run.stored_bytes)} stored"
            text = f"completed: {sizes}" if run.read_bytes else "completed"
            log_of_run(session, run, now, "info", text)
        case RunState.CANCELLED:
            log_of_run(session, run, now, "warning", f"cancelled: {message}")
        case RunState.PENDING | RunState.FAILED if message == run.error_message:
            pass  # the error has a line of its own
        case _:
            log_of_run(session, run, now, "warning", f"{after.value} again: {message}")


def request_cancel(session: Session, run_id: str, reason: str, clock: Clock) -> Run:
    """A waiting run is cancelled at once, a running one as soon as its worker hears of it. Asking
    twice is the same as once. Raises NotInCatalogue, RunEnded."""
    lock_runs(session)
    run = find_run(session, run_id)
    state = RunState(run.state)
    if state in FINAL_STATES:
        raise RunEnded(run_id=run_id, state=run.state)
    if run.cancel_requested_at is None:
        run.cancel_requested_at, run.cancel_reason = clock.now(), reason
        if state is RunState.PENDING:
            run.phase = "cancelled"
            move_run(session, run, RunState.CANCELLED, clock, message=reason)
        else:
            run.phase = "cancelling"
            touch(session, run)
    return run


def request_again(run: Run, created_by: str) -> RunRequest:
    """The same once more. Raises RunNotRetryable for a run that has not failed."""
    if run.state not in {RunState.FAILED.value, RunState.CANCELLED.value}:
        raise RunNotRetryable(run_id=run.id, problem=f"it is {run.state}")
    if run.imported:
        raise RunNotRetryable(run_id=run.id, problem="it was not made by this service")
    kind = RunKind(run.kind)
    return RunRequest(
        kind=kind,
        request=run.request,
        vm_id=run.vm_id,
        vm_name=run.vm_name,
        platform_id=run.platform_id,
        repository_id=run.repository_id,
        point_id=None if kind is RunKind.BACKUP else run.point_id,
        backup_type=str(run.request.get("backup_type", run.backup_type)),
        exclusive_key=exclusive_key_of(kind, run.vm_id, run.repository_id, run.point_id),
        priority=run.priority,
        created_by=created_by,
        retry_of=run.id,
    )


def exclusive_key_of(
    kind: RunKind, vm_id: str | None, repository_id: str | None, point_id: str | None
) -> str | None:
    """What two active runs may not share; None where any number may go side by side."""
    match kind:
        case RunKind.BACKUP:
            return f"vm:{vm_id}"
        case RunKind.DELETE_POINT:
            return f"delete_point:{repository_id}:{point_id}"
        case (
            RunKind.CHECK
            | RunKind.VERIFY
            | RunKind.PRUNE
            | RunKind.COMPACT
            | RunKind.LOCK
            | RunKind.REPAIR
        ):
            return f"{kind.value}:{repository_id}"
        case _:
            return None


def active_runs(session: Session) -> Sequence[Run]:
    """Running ones first, then waiting ones in the order of their turn."""
    return session.scalars(
        select(Run)
        .where(Run.state.in_(ACTIVE))
        .order_by(Run.state.desc(), Run.priority.desc(), Run.created_at, Run.id)
    ).all()


def is_in_state(state: str) -> ColumnElement[bool]:
    """For lists: of runs in most states there are nearly as many as runs at all, so that their
    order must be read from an index and not the state, which the function keeps SQLite from."""
    return func.coalesce(Run.state, "") == state


def transitions_of(session: Session, run_id: str) -> Sequence[RunTransition]:
    return session.scalars(
        select(RunTransition).where(RunTransition.run_id == run_id).order_by(RunTransition.seq)
    ).all()


def log_of_run(
    session: Session,
    run: Run,
    at: datetime,
    level: str,
    message: str,
    fields: Mapping[str, Any] | None = None,
) -> None:
    """A line in the log of a run. No secrets."""
    session.add(
        LogEntry(
            at=at,
            level=level,
            source="run",
            run_id=run.id,
            vm_id=run.vm_id,
            message=message,
            fields={"attempt": run.attempt, **(fields or {})},
        )
    )
