"""What is going on right now: who waits for which place, and counts for whoever collects them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from holdfast.catalog.inventory import of_visible_vms
from holdfast.catalog.models import Platform, Repository, RestoreMount, Run
from holdfast.catalog.resources import Limits, occupancy
from holdfast.policy.access import VmScope
from holdfast.policy.run_states import RunKind, RunState

_ON_PLATFORMS = (RunKind.BACKUP.value, RunKind.RESTORE_VM.value)


class Queue(NamedTuple):
    resource: str
    name: str
    limit: int
    running: int
    waiting: int


def queues(session: Session, limits: Limits) -> list[Queue]:
    """Of every platform and repository: places, those taken, and who waits for one."""
    taken, waiting = occupancy(session), _waiting(session)
    found: list[Queue] = []
    for kind, model in (("platform", Platform), ("repository", Repository)):
        for row_id, name in session.execute(select(model.id, model.name).order_by(model.name)):
            resource = f"{kind}:{row_id}"
            found.append(
                Queue(
                    resource,
                    name,
                    limits.of(resource),
                    taken.get(resource, 0),
                    waiting.get(resource, 0),
                )
            )
    return found


def running_runs(session: Session, scope: VmScope, limit: int) -> Sequence[Run]:
    """Those that began first, first."""
    return session.scalars(
        select(Run)
        .where(Run.state == RunState.RUNNING.value, of_visible_vms(Run.vm_id, scope))
        .order_by(Run.started_at, Run.id)
        .limit(limit)
    ).all()


def pending_runs(session: Session, scope: VmScope, limit: int) -> tuple[Sequence[Run], int]:
    """The next ones in the order of their turn, and how many there are in all."""
    visible = (Run.state == RunState.PENDING.value, of_visible_vms(Run.vm_id, scope))
    total = session.scalar(select(func.count()).select_from(Run).where(*visible)) or 0
    rows = session.scalars(
        select(Run)
        .where(*visible)
        .order_by(Run.priority.desc(), Run.created_at, Run.id)
        .limit(limit)
    ).all()
    return rows, total


def count_runs(session: Session) -> Mapping[tuple[str, str], int]:
    """By kind and state, of all that were ever queued here; imported ones are not ours."""
    rows = session.execute(
        select(Run.kind, Run.state, func.count())
        .where(Run.imported.is_(False))
        .group_by(Run.kind, Run.state)
    )
    return {(kind, state): count for kind, state, count in rows}


def throughput_bps(session: Session) -> int:
    """Of all running runs together."""
    total = session.scalar(
        select(func.sum(Run.throughput_bps)).where(Run.state == RunState.RUNNING.value)
    )
    return int(total or 0)


def count_mounts(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(RestoreMount)) or 0


def _waiting(session: Session) -> Mapping[str, int]:
    """Pending runs by what they need a place in."""
    counts: defaultdict[str, int] = defaultdict(int)
    pending = Run.state == RunState.PENDING.value
    by_platform = (
        select(Run.platform_id, func.count())
        .where(pending, Run.platform_id.is_not(None), Run.kind.in_(_ON_PLATFORMS))
        .group_by(Run.platform_id)
    )
    for row_id, count in session.execute(by_platform):
        counts[f"platform:{row_id}"] += count
    by_repository = (
        select(Run.repository_id, func.count())
        .where(pending, Run.repository_id.is_not(None))
        .group_by(Run.repository_id)
    )
    for row_id, count in session.execute(by_repository):
        counts[f"repository:{row_id}"] += count
    return counts
