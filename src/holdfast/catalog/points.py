"""The catalogue's copy of what repositories hold: restore points, and a completed run for each, so
that a backup made by another service or the command line is listed like one of our own.

Everything here can be rebuilt from repositories at any time: enter at `refresh_points`. What is
gone from the repository goes here; nothing here is ever a reason to delete there.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.inventory import of_visible_vms
from holdfast.catalog.models import Repository, RestorePoint, Run, VirtualMachine
from holdfast.core.clock import Clock
from holdfast.core.ids import uuid7
from holdfast.policy.access import VmScope
from holdfast.policy.run_states import RunKind, RunState
from holdfast.repository import DiskRecord
from holdfast.repository import RestorePoint as StoredPoint

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What a look at a repository changed here."""

    added: int
    removed: int
    total: int


def refresh_points(
    session: Session, repository: Repository, stored: Iterable[StoredPoint], clock: Clock
) -> Refreshed:
    """Make the rows of this repository what `stored` (all of its points) says. Idempotent."""
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
            row = _add_point(session, repository, point, clock)
            added += 1
            touched.add(row.vm_id or "")
        elif (row.held, row.suspect) != (point.held, point.suspect):
            row.held, row.suspect = point.held, point.suspect
        if row.vm_id:
            newest[row.vm_id] = _later(newest.get(row.vm_id), point)
    gone = [row for row in known.values() if row.id not in seen]
    for row in gone:
        touched.add(row.vm_id or "")
        session.delete(row)
    _hide_runs_of(session, repository.id, [row.id for row in gone], clock)
    session.flush()
    renew_summaries(session, touched - {""})
    for vm_id in touched & newest.keys():
        vm = session.get(VirtualMachine, vm_id)
        if vm is not None and vm.last_backup_at == newest[vm_id].manifest.captured_at:
            _describe(vm, newest[vm_id])
    repository.logical_bytes, repository.backup_count = logical, total
    return Refreshed(added=added, removed=len(gone), total=total)


def record_point(
    session: Session, repository: Repository, point: StoredPoint, clock: Clock
) -> RestorePoint:
    """One new point, without looking at the others. Idempotent."""
    row = session.get(RestorePoint, (repository.id, point.id))
    if row is None:
        row = _add_point(session, repository, point, clock)
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
            ).where(RestorePoint.vm_id == vm_id)
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


def _add_point(
    session: Session, repository: Repository, point: StoredPoint, clock: Clock
) -> RestorePoint:
    manifest = point.manifest
    vm = _vm_of(session, point, clock)
    row = RestorePoint(
        repository_id=repository.id,
        id=point.id,
        run_id=_run_of(session, repository, point, vm).id,
        vm_id=vm.id,
        platform_identity=manifest.vm.platform,
        platform_vm_id=manifest.vm.id,
        vm_name=manifest.vm.name,
        captured_at=manifest.captured_at,
        created_at=manifest.created_at,
        captured_as=manifest.captured_as,
        parent_id=manifest.parent_id,
        consistency=manifest.consistency,
        size_bytes=manifest.size_bytes,
        read_bytes=sum(disk.read_bytes for disk in manifest.disks),
        stored_bytes=manifest.stored_bytes,
        disks=[disk_document(disk) for disk in manifest.disks],
        tags=list(manifest.tags),
        notes=list(manifest.notes),
        held=point.held,
        suspect=point.suspect,
    )
    session.add(row)
    return row


def _vm_of(session: Session, point: StoredPoint, clock: Clock) -> VirtualMachine:
    """The VM of a point; one that was never added is known by its backups from here on: see
    `_describe`."""
    recorded = point.manifest.vm
    vm = session.scalar(
        select(VirtualMachine).where(
            VirtualMachine.platform_identity == recorded.platform,
            VirtualMachine.platform_vm_id == recorded.id,
        )
    )
    if vm is not None:
        return vm
    vm = VirtualMachine(
        id=str(uuid7(clock)),
        platform_id=None,
        platform_identity=recorded.platform,
        platform_vm_id=recorded.id,
        power="unknown",
        present=False,
        managed=False,
        added_at=clock.now(),
        point_count=0,
        stored_bytes=0,
        last_run_state="",
    )
    _describe(vm, point)
    session.add(vm)
    session.flush()
    return vm


def _describe(vm: VirtualMachine, point: StoredPoint) -> None:
    """What a VM that no platform has shown yet was like when this point was taken."""
    if vm.seen_at is not None:
        return
    details = point.manifest.vm.details
    vm.name = point.manifest.vm.name
    vm.firmware = str(details.get("firmware", ""))
    vm.vcpus = int(details.get("vcpus", 0))
    vm.memory_bytes = int(details.get("memory_bytes", 0))
    vm.size_bytes = point.manifest.size_bytes
    vm.networks = [
        {name: str(nic.get(name, "")) for name in ("mac", "network", "model")}
        for nic in details.get("networks", [])
    ]
    vm.disks = [
        {
            "key": disk.key,
            "size_bytes": disk.size_bytes,
            "format": disk.format,
            "path": "",
            "included": True,
            "excluded_reason": "",
            "tracks_changes": False,
        }
        for disk in point.manifest.disks
    ]


def _later(known: StoredPoint | None, point: StoredPoint) -> StoredPoint:
    if known is None or known.manifest.captured_at <= point.manifest.captured_at:
        return point
    return known


def _run_of(
    session: Session, repository: Repository, point: StoredPoint, vm: VirtualMachine
) -> Run:
    """The run that made the point; for one that is not ours, a record of it."""
    manifest = point.manifest
    run = session.get(Run, manifest.run_id)
    if run is not None and run.repository_id not in {None, repository.id}:
        # A copy in another repository is a backup of its own here, with an id that stays.
        name = str(uuid.uuid5(uuid.UUID(repository.id), point.id))
        run = session.get(Run, name)
    else:
        name = manifest.run_id
    if run is None:
        run = Run(id=name, imported=True, **_imported_fields(repository, point, vm))
        session.add(run)
        session.flush()
    run.point_id, run.deleted_at = point.id, None
    return run


def _imported_fields(
    repository: Repository, point: StoredPoint, vm: VirtualMachine
) -> dict[str, object]:
    manifest = point.manifest
    size = manifest.size_bytes
    return {
        "kind": RunKind.BACKUP.value,
        "state": RunState.COMPLETED.value,
        "vm_id": vm.id,
        "vm_name": manifest.vm.name,
        "platform_id": vm.platform_id,
        "repository_id": repository.id,
        "point_id": point.id,
        "backup_type": manifest.captured_as,
        "request": {},
        "plan": [
            {
                "key": disk.key,
                "mode": disk.mode,
                "reason": disk.reason,
                "planned_bytes": disk.read_bytes,
                "size_bytes": disk.size_bytes,
            }
            for disk in manifest.disks
        ],
        "disks": [
            {
                "key": disk.key,
                "state": "completed",
                "size_bytes": disk.size_bytes,
                "done_bytes": disk.read_bytes,
                "total_bytes": disk.read_bytes,
                "read_bytes": disk.read_bytes,
                "stored_bytes": disk.stored_bytes,
            }
            for disk in manifest.disks
        ],
        "done_bytes": sum(disk.read_bytes for disk in manifest.disks),
        "total_bytes": sum(disk.read_bytes for disk in manifest.disks),
        "read_bytes": sum(disk.read_bytes for disk in manifest.disks),
        "stored_bytes": manifest.stored_bytes,
        "bottleneck": {},
        "samples": [],
        "result": {"consistency": manifest.consistency, "size_bytes": size},
        "created_at": manifest.captured_at,
        "started_at": manifest.captured_at,
        "completed_at": manifest.created_at,
    }


def disk_document(disk: DiskRecord) -> dict[str, object]:
    return {
        "key": disk.key,
        "size_bytes": disk.size_bytes,
        "format": disk.format,
        "mode": disk.mode,
        "reason": disk.reason,
        "read_bytes": disk.read_bytes,
        "changed_bytes": disk.changed_bytes,
        "stored_bytes": disk.stored_bytes,
        "proven": disk.proven,
    }


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
