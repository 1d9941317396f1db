"""Who carries runs out, and the places in limited resources that running ones occupy.

A worker takes the next run with `claim_next`: in one transaction it is chosen, gets its places,
all or none, and becomes the worker's under a new generation. From then on only who knows that
generation may write to the run (`held_run`). A worker whose heartbeat stopped is dead: `take_over`
gives its runs back to the queue under a further generation, exactly once, whoever tries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from holdfast.catalog.log import add_line
from holdfast.catalog.models import ResourceLease, Run, Setting, Worker
from holdfast.catalog.runs import RunTakenOver, lock_runs, move_run
from holdfast.core.clock import Clock
from holdfast.policy.run_states import RunKind, RunState

LIMITS_KEY = "limits"
_MAINTENANCE = frozenset(
    {
        RunKind.PRUNE.value,
        RunKind.COMPACT.value,
        RunKind.LOCK.value,
        RunKind.REPAIR.value,
    }
)
_OTHER = {
    RunKind.COPY.value: "to_repository_id",
    RunKind.REPAIR.value: "from_repository_id",
}
"""Where the request of a kind of run names its second repository."""
_LOOKED_AT = 100
DISCARDED = "its worker stopped answering"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From the setting `limits`. Runs at once, and how often a failed one is tried again."""

    platform_limit: int = 4
    repository_limit: int = 4
    retry_attempts: int = 5
    """Further attempts after the first."""
    retry_delay_seconds: int = 30
    """Before the first of them; doubles with each."""

    def of(self, resource: str) -> int:
        match resource.partition(":")[0]:
            case "platform":
                return self.platform_limit
            case "repository":
                return self.repository_limit
            case _:
                return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """One life of a worker: its name, and the number of the life."""

    id: str
    generation: int
    slots: int


def read_limits(session: Session) -> Limits:
    row = session.get(Setting, LIMITS_KEY)
    stored: Mapping[str, Any] = row.value if row else {}
    known = {
        name: int(stored[name])
        for name in Limits.__dataclass_fields__
        if isinstance(stored.get(name), int)
    }
    return Limits(**known)


def resources_of(run: Run) -> Sequence[str]:
    """What the run needs a place in, besides its worker."""
    names: list[str] = []
    if run.platform_id and run.kind in {RunKind.BACKUP.value, RunKind.RESTORE_VM.value}:
        names.append(f"platform:{run.platform_id}")
    if run.repository_id:
        names.append(f"repository:{run.repository_id}")
        if run.kind in _MAINTENANCE:
            names.append(f"maintenance:{run.repository_id}")
    if (other := other_repository_of(run)) is not None:
        names.append(f"repository:{other}")
    return list(dict.fromkeys(names))


def other_repository_of(run: Run) -> str | None:
    """The second repository that the run works on: where a copy goes, what a repair takes from."""
    named = run.request.get(_OTHER.get(run.kind, ""))
    return str(named) if named else None


def claim_next(
    session: Session, worker: WorkerIdentity, limits: Limits, clock: Clock
) -> Run | None:
    """The run whose turn it is and for which there is room, now running and this worker's; None
    when there is none. Raises RunTakenOver when the worker itself was taken for dead."""
    lock_runs(session)
    require_alive(session, worker)
    taken = _taken(session)
    own = f"worker:{worker.id}"
    if len(taken[own]) >= worker.slots:
        return None
    now = clock.now()
    waiting = (
        select(Run)
        .where(
            Run.state == RunState.PENDING.value,
            or_(Run.not_before.is_(None), Run.not_before <= now),
            *_not_full(taken, limits),
        )
        .order_by(Run.priority.desc(), Run.created_at, Run.id)
        .limit(_LOOKED_AT)
    )
    for run in session.scalars(waiting):
        wanted = resources_of(run)
        if all(len(taken[name]) < limits.of(name) for name in wanted):
            _begin(session, run, worker, [own, *wanted], taken, clock)
            return run
    return None


def held_run(session: Session, run_id: str, worker: WorkerIdentity, generation: int) -> Run:
    """The run, for its worker to write to, after `lock_runs`, or only to look at. Raises
    RunTakenOver when it is another's by now."""
    run = session.get(Run, run_id)
    is_held = (
        run is not None
        and run.state == RunState.RUNNING.value
        and run.worker_id == worker.id
        and run.generation == generation
    )
    if run is None or not is_held:
        raise RunTakenOver(run_id=run_id, worker_id=worker.id)
    return run


def release_places(session: Session, run_id: str) -> None:
    session.execute(delete(ResourceLease).where(ResourceLease.run_id == run_id))


# -- workers ----------------------------------------------------------------------------------


def register_worker(
    session: Session, *, id: str, host: str, pid: int, version: str, slots: int, clock: Clock
) -> WorkerIdentity:
    """A new life of the worker of that name. The caller has proven that no earlier one lives on
    this host; its runs go back to the queue."""
    lock_runs(session)
    row = session.get(Worker, id)
    generation = 1
    if row is not None:
        generation = row.generation + 1
        _give_back_all(session, id, "its worker was started again", clock)
        session.delete(row)
        session.flush()
    now = clock.now()
    session.add(
        Worker(
            id=id,
            generation=generation,
            host=host,
            pid=pid,
            version=version,
            slots=slots,
            started_at=now,
            heartbeat_at=now,
            stopping=False,
        )
    )
    text = f"worker {id} is ready for {slots} runs at once"
    add_line(session, now, "info", text, source="worker", fields={"generation": generation})
    session.flush()
    return WorkerIdentity(id=id, generation=generation, slots=slots)


def beat(session: Session, worker: WorkerIdentity, clock: Clock, *, stopping: bool) -> bool:
    """Show that the worker lives. False when it was taken for dead: its runs are others' now."""
    done = session.execute(
        update(Worker)
        .where(Worker.id == worker.id, Worker.generation == worker.generation)
        .values(heartbeat_at=clock.now(), stopping=stopping)
    )
    return _count(done) == 1


def require_alive(session: Session, worker: WorkerIdentity) -> None:
    """Raises RunTakenOver."""
    row = session.scalar(
        select(Worker.generation).where(
            Worker.id == worker.id, Worker.generation == worker.generation
        )
    )
    if row is None:
        raise RunTakenOver(run_id="", worker_id=worker.id)


def list_workers(session: Session) -> Sequence[Worker]:
    return session.scalars(select(Worker).order_by(Worker.host, Worker.id)).all()


def take_over(session: Session, worker: Worker, clock: Clock) -> Sequence[str]:
    """Put the runs of a worker back into the queue, unless it has shown a sign of life since
    `worker` was read, or somebody else did this first; then nothing happens. Returns their ids.

    The decision that it is dead is the caller's, who watched `heartbeat_at` stand still by a clock
    of its own: clocks of two hosts are never compared.
    """
    lock_runs(session)
    done = session.execute(
        delete(Worker).where(
            Worker.id == worker.id,
            Worker.generation == worker.generation,
            Worker.heartbeat_at == worker.heartbeat_at,
        )
    )
    if _count(done) != 1:
        return []
    runs = _give_back_all(session, worker.id, DISCARDED, clock)
    text = f"worker {worker.id} stopped answering: {len(runs)} runs of it go to others"
    add_line(session, clock.now(), "warning", text, source="worker", fields={"runs": runs})
    return runs


def remove_worker(session: Session, worker: WorkerIdentity, clock: Clock) -> None:
    """It ends in an orderly way; what it still had goes back to the queue."""
    lock_runs(session)
    done = session.execute(
        delete(Worker).where(Worker.id == worker.id, Worker.generation == worker.generation)
    )
    if _count(done) == 1:
        _give_back_all(session, worker.id, "its worker was stopped", clock)
        text = f"worker {worker.id} was stopped"
        add_line(session, clock.now(), "info", text, source="worker")


def give_back(session: Session, run: Run, message: str, clock: Clock) -> None:
    """Put a running run back into the queue, for its next attempt to begin at once."""
    run.generation += 1
    run.phase = ""
    move_run(session, run, RunState.PENDING, clock, message=message)
    run.worker_id = None
    release_places(session, run.id)


# -- for people -------------------------------------------------------------------------------


def occupancy(session: Session) -> Mapping[str, int]:
    """Places taken, by resource."""
    counts: dict[str, int] = {}
    query = select(ResourceLease.resource, func.count()).group_by(ResourceLease.resource)
    for resource, count in session.execute(query):
        counts[resource] = count
    return counts


def waiting_reason(
    run: Run, taken: Mapping[str, int], limits: Limits, workers: Sequence[Worker], now: datetime
) -> str:
    """Why a pending run waits, in words."""
    if run.not_before is not None and run.not_before > now:
        return f"its last attempt failed; the next begins at {run.not_before:%H:%M:%S} UTC"
    for resource in resources_of(run):
        if taken.get(resource, 0) >= limits.of(resource):
            kind = resource.partition(":")[0]
            if kind == "maintenance":
                return "the repository is being pruned, compacted, locked or repaired"
            return f"the {kind} has {limits.of(resource)} runs already, as many as are allowed"
    if not workers:
        return "no worker is running"
    if all(taken.get(f"worker:{item.id}", 0) >= item.slots for item in workers):
        return "all workers are busy"
    return "it is about to start"


# -- inside -----------------------------------------------------------------------------------


def _taken(session: Session) -> defaultdict[str, set[int]]:
    taken: defaultdict[str, set[int]] = defaultdict(set)
    for resource, slot in session.execute(select(ResourceLease.resource, ResourceLease.slot)):
        taken[resource].add(slot)
    return taken


def _not_full(taken: Mapping[str, set[int]], limits: Limits) -> list[ColumnElement[bool]]:
    """Leaves out runs that a full resource keeps waiting, so that any number of them hides none
    that could go."""
    conditions: list[ColumnElement[bool]] = []
    for kind, column in (("platform", Run.platform_id), ("repository", Run.repository_id)):
        full = [
            name.partition(":")[2]
            for name, slots in taken.items()
            if name.startswith(f"{kind}:") and len(slots) >= limits.of(name)
        ]
        if not full:
            continue
        outside = or_(column.is_(None), column.not_in(full))
        if kind == "platform":  # maintenance of its backups needs no place there
            needs = Run.kind.in_([RunKind.BACKUP.value, RunKind.RESTORE_VM.value])
            outside = or_(outside, ~needs)
        conditions.append(outside)
    return conditions


def _begin(
    session: Session,
    run: Run,
    worker: WorkerIdentity,
    resources: Sequence[str],
    taken: Mapping[str, set[int]],
    clock: Clock,
) -> None:
    now = clock.now()
    run.generation += 1
    run.attempt += 1
    run.worker_id = worker.id
    run.not_before = None
    run.started_at = run.started_at or now
    run.phase = "starting"
    run.percent, run.done_bytes, run.total_bytes = 0.0, 0, 0
    run.read_bytes, run.stored_bytes = 0, 0
    run.throughput_bps, run.eta_seconds = 0, None
    run.disks, run.samples, run.bottleneck = [], [], {}
    for resource in resources:
        slot = next(number for number in range(10_000) if number not in taken[resource])
        session.add(
            ResourceLease(
                resource=resource,
                slot=slot,
                run_id=run.id,
                worker_id=worker.id,
                generation=run.generation,
                taken_at=now,
            )
        )
    move_run(session, run, RunState.RUNNING, clock)
    session.flush()


def _give_back_all(session: Session, worker_id: str, message: str, clock: Clock) -> list[str]:
    runs = session.scalars(
        select(Run).where(Run.worker_id == worker_id, Run.state == RunState.RUNNING.value)
    ).all()
    for run in runs:
        give_back(session, run, message, clock)
    session.execute(delete(ResourceLease).where(ResourceLease.worker_id == worker_id))
    return [run.id for run in runs]


def _count(result: object) -> int:
    return result.rowcount if isinstance(result, CursorResult) else 0
