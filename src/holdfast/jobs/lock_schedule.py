"""When the locks of immutable repositories are renewed without anybody asking: every day, for packs
are locked at least a day longer than points need (`Immutability.margin`).

Enter at `queue_due_locks`; several processes may ask, of each repository one queues a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.catalog.database import Database, serialise
from holdfast.catalog.models import Repository, Run
from holdfast.catalog.runs import ACTIVE, RunRequest, add_run, exclusive_key_of, log_of_run
from holdfast.core.clock import Clock
from holdfast.policy.run_states import RunKind, RunState

RENEW_EVERY = timedelta(days=1)
AFTER_FAILURE = timedelta(hours=4)
"""A run has been tried several times itself by then."""
CREATED_BY = "service"


def queue_due_locks(database: Database, clock: Clock) -> list[str]:
    """Ids of the runs that were queued. Repositories that are offline wait until they are there."""
    now = clock.now()
    with database.reading() as session:
        if not _due(session, now):
            return []
    with database.writing() as session:
        serialise(session, "locks")
        return [_queue(session, row, clock) for row in _due(session, now)]


def _due(session: Session, now: datetime) -> Sequence[Repository]:
    rows = session.scalars(
        select(Repository).where(Repository.immutable_days > 0, Repository.state != "offline")
    ).all()
    return [row for row in rows if _is_due(_last_run(session, row.id), now)]


def _last_run(session: Session, repository_id: str) -> Run | None:
    return session.scalars(
        select(Run)
        .where(Run.repository_id == repository_id, Run.kind == RunKind.LOCK.value)
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(1)
    ).first()


def _is_due(last: Run | None, now: datetime) -> bool:
    if last is None:
        return True
    if last.state in ACTIVE:
        return False
    completed = last.state == RunState.COMPLETED.value
    # From its beginning: what it locked first is what needs it first.
    since = (last.started_at if completed else last.completed_at) or last.created_at
    return now - since >= (RENEW_EVERY if completed else AFTER_FAILURE)


def _queue(session: Session, row: Repository, clock: Clock) -> str:
    request = RunRequest(
        kind=RunKind.LOCK,
        repository_id=row.id,
        exclusive_key=exclusive_key_of(RunKind.LOCK, None, row.id, None),
        created_by=CREATED_BY,
    )
    submitted = add_run(session, request, clock)
    if not submitted.existing:
        text = f"the daily renewal of the locks of {row.name}"
        log_of_run(session, submitted.run, clock.now(), "info", text)
    return submitted.run.id
