"""Backups. Paths, names and fields of the plan are here as written; see schemas/backups.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from holdfast.api.access import Caller, requires
from holdfast.api.backups_shown import backup_jobs, cannot_delete, with_immutability
from holdfast.api.chains import chains_of
from holdfast.api.context import Context
from holdfast.api.immutability import immutable_until
from holdfast.api.paging import Page as PageQuery
from holdfast.api.schemas.backups import (
    BackupChain,
    BackupChains,
    BackupJob,
    BackupList,
    HoldBody,
)
from holdfast.api.unique_bytes import PointsSeen
from holdfast.catalog import inventory, repositories
from holdfast.catalog.audit import record
from holdfast.catalog.errors import NotInCatalogue, StillUsed
from holdfast.catalog.models import Repository, RestorePoint, Run
from holdfast.catalog.notices import announce
from holdfast.catalog.paging import read_page
from holdfast.catalog.points import find_point, forget_point, points_of_vm, renew_summaries
from holdfast.catalog.runs import is_in_state
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission, VmScope
from holdfast.policy.run_states import RunKind, RunState
from holdfast.repository.errors import PointHeld, PointNotFound
from holdfast.repository.unique import Owner

router = APIRouter(prefix="/backup", tags=["backups"])
BackupId = Annotated[str, Path(max_length=100)]
_DELETE = [requires(Permission.BACKUP_DELETE)]
_MEASURE_S = 1.0
"""How long an answer waits for what points alone hold."""


@router.get("/list", dependencies=[requires(Permission.VIEW)])
def list_backups(
    context: Context,
    caller: Caller,
    page: PageQuery,
    vm_name: Annotated[str | None, Query(max_length=500)] = None,
    backup_type: Literal["full", "incremental"] | None = None,
    status: Literal["pending", "running", "completed", "failed", "cancelled"] | None = None,
    vm_id: str | None = None,
    repository_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    q: Annotated[str, Query(max_length=200, description="Part of the VM's name.")] = "",
    sort: Literal["created_at", "vm_name", "stored_bytes"] = "created_at",
    order: Literal["asc", "desc"] = "desc",
) -> BackupList:
    """Backups, newest first unless said otherwise. No filter lists all."""
    query = visible_backups(caller.scope(Permission.VIEW))
    for column, value in (
        (Run.vm_name, vm_name),
        (Run.backup_type, backup_type),
        (Run.vm_id, vm_id),
        (Run.repository_id, repository_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if status is not None:
        query = query.where(is_in_state(status))
    if since is not None:
        query = query.where(Run.created_at >= _aware(since))
    if until is not None:
        query = query.where(Run.created_at < _aware(until))
    if q:
        query = query.where(Run.vm_name.icontains(q, autoescape=True))
    column = getattr(Run, sort)
    with context.database.reading() as session:
        found = read_page(
            session, query, [column.desc() if order == "desc" else column, Run.id.desc()], page
        )
        jobs = backup_jobs(session, found.rows, context.clock.now())
    return BackupList(backups=jobs, total=found.total, next_cursor=found.next_cursor)


@router.get("/chain", dependencies=[requires(Permission.VIEW)])
def get_backup_chain(
    context: Context,
    caller: Caller,
    vm_name: Annotated[str | None, Query(max_length=500)] = None,
    vm_id: str | None = None,
    disk_id: str | None = None,
    repository_id: str | None = None,
) -> BackupChain | BackupChains:
    """Per disk, each full capture and the incrementals since: with `disk_id` the newest chain of
    that disk, without it all of them. What each point alone holds is measured when it is first
    asked for: null until then."""
    scope = caller.scope(Permission.VIEW)
    with context.database.reading() as session:
        if vm_id:
            vm = inventory.find_vm(session, scope, vm_id)
        elif vm_name:
            vm = inventory.find_vm_by_name(session, scope, vm_name)
        else:
            raise InvalidInput(what="chain", problem="say which VM: vm_id or vm_name")
        points = points_of_vm(session, vm.id, repository_id=repository_id)
        stored_in = _points_of_repositories(session, {point.repository_id for point in points})
        runs = _runs_of(session, points)
        jobs = {job.id: job for job in backup_jobs(session, runs, context.clock.now())}
        session.expunge_all()
    unique: dict[Owner, int] = {}
    for row, points_seen in stored_in:
        unique |= context.unique.of(row, points_seen, wait_s=_MEASURE_S)
    chains = chains_of(vm.id, points, jobs, disk_id, unique)
    if disk_id is None:
        return BackupChains(chains=chains, total=len(chains))
    if not chains:
        raise NotInCatalogue(kind="chain of disk", id=disk_id)
    return chains[-1]


@router.get("/{backup_id}", dependencies=[requires(Permission.VIEW)])
def get_backup(backup_id: BackupId, context: Context, caller: Caller) -> BackupJob:
    with context.database.reading() as session:
        run = find_backup(session, caller.scope(Permission.VIEW), backup_id)
        [job] = backup_jobs(session, [run], context.clock.now())
        point = _point_of(session, run)
        row = session.get(Repository, point.repository_id) if point else None
        session.expunge_all()
    if point is None or row is None:
        return job
    return with_immutability(job, immutable_until(context, row, point))


@router.delete("/{backup_id}", status_code=204, dependencies=_DELETE)
def delete_backup(backup_id: BackupId, context: Context, caller: Caller) -> None:
    """Delete the restore point from its repository; no other point is affected. A backup that
    made none is taken off the list."""
    scope = caller.scope(Permission.BACKUP_DELETE)
    with context.database.reading() as session:
        run = find_backup(session, scope, backup_id)
        point = _point_of(session, run)
        refused = cannot_delete(run, point)
        row = repositories.find_repository(session, point.repository_id) if point else None
    if point is not None and point.held:
        raise PointHeld(point=point.id, reason=point.held)
    if refused:
        raise StillUsed(kind="backup", name=backup_id, problem=refused)
    if point is not None and row is not None:
        with suppress(PointNotFound):  # gone already, which is what was asked for
            context.repositories.get(row).delete_point(point.id)
    with context.database.writing() as session:
        if point is not None:
            repository = repositories.find_repository(session, point.repository_id)
            forget_point(session, repository, point.id, context.clock)
        found = session.get(Run, backup_id)
        if found is not None:
            found.deleted_at = context.clock.now()
            session.flush()
            renew_summaries(session, {found.vm_id} if found.vm_id else set())
        announce(session, "backup", backup_id, "removed", clock=context.clock, vm_id=run.vm_id)
        record(
            session,
            caller,
            "backup.delete",
            clock=context.clock,
            object_kind="backup",
            object_id=backup_id,
            details={"vm": run.vm_name, "point": point.id if point else ""},
        )


@router.put("/{backup_id}/hold", dependencies=_DELETE)
def hold_backup(backup_id: BackupId, body: HoldBody, context: Context, caller: Caller) -> BackupJob:
    """Keep the restore point from being deleted, by rule or by hand, until it is released."""
    return _change_hold(backup_id, body.reason, context, caller)


@router.delete("/{backup_id}/hold", dependencies=_DELETE)
def release_backup(backup_id: BackupId, context: Context, caller: Caller) -> BackupJob:
    return _change_hold(backup_id, "", context, caller)


def _change_hold(backup_id: str, reason: str, context: Context, caller: Caller) -> BackupJob:
    with context.database.reading() as session:
        scope = caller.scope(Permission.BACKUP_DELETE)
        point, row = find_point(session, scope, backup_id)
    opened = context.repositories.get(row)
    if reason:
        opened.hold([point.id], reason)
    else:
        opened.release([point.id])
    held = opened.point(point.id).held
    with context.database.writing() as session:
        found = session.get(RestorePoint, (row.id, point.id))
        if found is not None:
            found.held = held
        run = find_backup(session, caller.scope(Permission.BACKUP_DELETE), backup_id)
        [job] = backup_jobs(session, [run], context.clock.now())
        announce(session, "backup", backup_id, "changed", clock=context.clock, vm_id=run.vm_id)
        record(
            session,
            caller,
            "backup.hold" if reason else "backup.release",
            clock=context.clock,
            object_kind="backup",
            object_id=backup_id,
            details={"reason": reason},
        )
    return job


def visible_backups(scope: VmScope) -> Select[Run]:
    """Those of VMs in the scope, less what was deleted."""
    return select(Run).where(
        Run.kind == RunKind.BACKUP.value,
        Run.deleted_at.is_(None),
        inventory.of_visible_vms(Run.vm_id, scope),
    )


def find_backup(session: Session, scope: VmScope, backup_id: str) -> Run:
    """Raises NotInCatalogue."""
    run = session.scalar(visible_backups(scope).where(Run.id == backup_id))
    if run is None:
        raise NotInCatalogue(kind="backup", id=backup_id)
    return run


def _point_of(session: Session, run: Run) -> RestorePoint | None:
    if run.state != RunState.COMPLETED.value:
        return None
    return session.scalar(select(RestorePoint).where(RestorePoint.run_id == run.id).limit(1))


def _runs_of(session: Session, points: Sequence[RestorePoint]) -> list[Run]:
    ids = [point.run_id for point in points]
    found: list[Run] = []
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        found += session.scalars(select(Run).where(Run.id.in_(part))).all()
    return found


def _points_of_repositories(
    session: Session, repository_ids: Collection[str]
) -> list[tuple[Repository, PointsSeen]]:
    found: list[tuple[Repository, PointsSeen]] = []
    for row in repositories.list_repositories(session):
        if row.id in repository_ids:
            count, newest_id = session.execute(
                select(func.count(), func.max(RestorePoint.id)).where(
                    RestorePoint.repository_id == row.id
                )
            ).one()
            found.append((row, PointsSeen(count=count, newest_id=newest_id or "")))
    return found


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput(what="time", problem="it has no zone: end it with Z or an offset")
    return moment
