"""The catalogue's copy of what repositories hold: restore points, and a completed run for each, so
that a backup made by another service or the command line is listed like one of our own.

Everything here can be rebuilt from repositories at any time: enter at `refresh_points`. What is
gone from the repository goes here; nothing here is ever a reason to delete there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal_column, select, update
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.inventory import of_visible_vms
from holdfast.catalog.models import Repository, RestorePoint, Run, VirtualMachine
from holdfast.catalog.point_rows import add_point, describe
from holdfast.core.clock import Clock
from holdfast.policy.access import VmScope
from holdfast.policy.run_states import RunKind, RunState
from holdfast.repository import RestorePoint as StoredPoint

_AT_ONCE = 500
_IS_DAMAGED = RestorePoint.damaged != literal_column("''")
"""Written out, as the index of those few is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What a look at a repository changed here."""

    added: int
    removed: int
    total: int


def refresh_points(
    session: Session,
    repository: Repository,
    stored: Iterable[StoredPoint],
    clock: Clock,
    *,
    damaged: Mapping[str, str] | None = None,
) -> Refreshed:
    """Make the rows of this repository what `stored` (all of its points that can be read) and
    `damaged` (why others cannot, by their ids) say. What was known of a damaged point stays; one
    that never could be read has no row, and is named by the repository. Idempotent."""
    damaged = damaged or {}
    known = {
        row.id: row
        for row in session.scalars(
            select(RestorePoint).where(RestorePoint.repository_id == repository.id)
        )
    }
    touched: set[str] = set()
    newest: dict[str, StoredPoint] = {}
    added = logical = total = 0
    seen: set[str] = set()
    for point in stored:
        total += 1
        logical += point.manifest.size_bytes
        seen.add(point.id)
        row = known.get(point.id)
        if row is None:
            row = add_point(session, repository, point, clock)
            added += 1
            touched.add(row.vm_id or "")
        else:
            if row.damaged:
                row.damaged = ""
                touched.add(row.vm_id or "")
            if (row.held, row.suspect) != (point.held, point.suspect):
                row.held, row.suspect = point.held, point.suspect
        if row.vm_id:
            newest[row.vm_id] = _later(newest.get(row.vm_id), point)
    for point_id in damaged.keys() & known.keys():
        row = known[point_id]
        if row.damaged != damaged[point_id]:
            row.damaged = damaged[point_id]
            touched.add(row.vm_id or "")
    unknown = [
        {"id": point_id, "problem": problem}
        for point_id, problem in sorted(damaged.items())
        if point_id not in known
    ]
    if repository.damaged_points != unknown:
        repository.damaged_points = unknown
    gone = [row for row in known.values() if row.id not in seen and row.id not in damaged]
    for row in gone:
        touched.add(row.vm_id or "")
        session.delete(row)
    _hide_runs_of(session, repository.id, [row.id for row in gone], clock)
    session.flush()
    renew_summaries(session, touched - {""})
    for vm_id in touched & newest.keys():
        vm = session.get(VirtualMachine, vm_id)
        if vm is not None and vm.last_backup_at == newest[vm_id].manifest.captured_at:
            describe(vm, newest[vm_id])
    repository.logical_bytes, repository.backup_count = logical, total
    return Refreshed(added=added, removed=len(gone), total=total)


def record_point(
    session: Session, repository: Repository, point: StoredPoint, clock: Clock
) -> RestorePoint:
    """One new point, without looking at the others. Idempotent."""
    row = session.get(RestorePoint, (repository.id, point.id))
    if row is None:
        row = add_point(session, repository, point, clock)
        repository.backup_count = (repository.backup_count or 0) + 1
        repository.logical_bytes = (repository.logical_bytes or 0) + point.manifest.size_bytes
        session.flush()
        renew_summaries(session, {row.vm_id} if row.vm_id else set())
    return row


def forget_point(session: Session, repository: Repository, point_id: str, clock: Clock) -> None:
    """It was deleted in the repository."""
    row = session.get(RestorePoint, (repository.id, point_id))
    if row is None:
        return
    session.delete(row)
    _hide_runs_of(session, repository.id, [point_id], clock)
    repository.backup_count = max(0, (repository.backup_count or 0) - 1)
    repository.logical_bytes = max(0, (repository.logical_bytes or 0) - row.size_bytes)
    session.flush()
    renew_summaries(session, {row.vm_id} if row.vm_id else set())


def renew_summaries(session: Session, vm_ids: Collection[str]) -> None:
    """Bring what the rows of these VMs repeat in line with their points and runs."""
    for vm_id in vm_ids:
        vm = session.get(VirtualMachine, vm_id)
        if vm is None:
            continue
        count, stored, newest = session.execute(
            select(
                func.count(),
                func.coalesce(func.sum(RestorePoint.stored_bytes), 0),
                func.max(RestorePoint.captured_at),
            ).where(RestorePoint.vm_id == vm_id, RestorePoint.damaged == "")
        ).one()
        vm.point_count, vm.stored_bytes, vm.last_backup_at = count, stored, newest
        last = session.execute(
            select(Run.id, Run.state)
            .where(
                Run.vm_id == vm_id,
                Run.kind == RunKind.BACKUP.value,
                Run.state.in_((RunState.COMPLETED.value, RunState.FAILED.value)),
            )
            .order_by(Run.created_at.desc())
            .limit(1)
        ).first()
        vm.last_run_id, vm.last_run_state = (last[0], last[1]) if last else (None, "")


def find_point(session: Session, scope: VmScope, run_id: str) -> tuple[RestorePoint, Repository]:
    """The restore point of a backup. Raises NotInCatalogue."""
    found = session.execute(
        select(RestorePoint, Repository)
        .join(Repository, Repository.id == RestorePoint.repository_id)
        .where(RestorePoint.run_id == run_id, of_visible_vms(RestorePoint.vm_id, scope))
    ).first()
    if found is None:
        raise NotInCatalogue(kind="restore point of backup", id=run_id)
    return found[0], found[1]


def damaged_points(session: Session, repository_id: str, scope: VmScope) -> Sequence[RestorePoint]:
    """Those of VMs in the scope that cannot be read now, newest first."""
    return session.scalars(
        select(RestorePoint)
        .where(
            RestorePoint.repository_id == repository_id,
            _IS_DAMAGED,
            of_visible_vms(RestorePoint.vm_id, scope),
        )
        .order_by(RestorePoint.captured_at.desc(), RestorePoint.id.desc())
    ).all()


def count_damaged(session: Session) -> Mapping[str, int]:
    """Points that cannot be read, by repository, those without a row included."""
    counts: dict[str, int] = {}
    query = (
        select(RestorePoint.repository_id, func.count())
        .where(_IS_DAMAGED)
        .group_by(RestorePoint.repository_id)
    )
    for repository_id, count in session.execute(query):
        counts[repository_id] = count
    for repository_id, listed in session.execute(select(Repository.id, Repository.damaged_points)):
        counts[repository_id] = counts.get(repository_id, 0) + len(listed)
    return counts


def points_of_vm_with_repository(
    session: Session, vm_id: str, offset: int, limit: int
) -> tuple[list[tuple[RestorePoint, Repository]], int]:
    """A part of them, newest first, and how many there are."""
    total = session.scalar(
        select(func.count()).select_from(RestorePoint).where(RestorePoint.vm_id == vm_id)
    )
    rows = session.execute(
        select(RestorePoint, Repository)
        .join(Repository, Repository.id == RestorePoint.repository_id)
        .where(RestorePoint.vm_id == vm_id)
        .order_by(RestorePoint.captured_at.desc(), RestorePoint.id.desc())
        .offset(offset)
        .limit(limit)
    ).all()
    return [(point, repository) for point, repository in rows], total or 0


def points_of_runs(session: Session, run_ids: Collection[str]) -> Mapping[str, RestorePoint]:
    """By the backup's id; backups without a point are missing."""
    found: dict[str, RestorePoint] = {}
    ordered = sorted(set(run_ids))
    for start in range(0, len(ordered), _AT_ONCE):
        part = ordered[start : start + _AT_ONCE]
        for point in session.scalars(select(RestorePoint).where(RestorePoint.run_id.in_(part))):
            found[point.run_id] = point
    return found


def points_of_vm(
    session: Session, vm_id: str, *, repository_id: str | None = None
) -> Sequence[RestorePoint]:
    """Oldest first."""
    query = select(RestorePoint).where(RestorePoint.vm_id == vm_id)
    if repository_id is not None:
        query = query.where(RestorePoint.repository_id == repository_id)
    return session.scalars(query.order_by(RestorePoint.captured_at, RestorePoint.id)).all()


def _later(known: StoredPoint | None, point: StoredPoint) -> StoredPoint:
    if known is None or known.manifest.captured_at <= point.manifest.captured_at:
        return point
    return known


def _hide_runs_of(
    session: Session, repository_id: str, point_ids: Sequence[str], clock: Clock
) -> None:
    for start in range(0, len(point_ids), _AT_ONCE):
        part = point_ids[start : start + _AT_ONCE]
        session.execute(
            update(Run)
            .where(
                Run.kind == RunKind.BACKUP.value,
                Run.repository_id == repository_id,
                Run.point_id.in_(part),
            )
            .values(deleted_at=clock.now())
        )
