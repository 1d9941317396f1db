"""Rows for a restore point as its manifest says: the point, the VM it is of, and the run that made
it. Enter at `add_point`."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.catalog.models import Repository, RestorePoint, Run, VirtualMachine
from holdfast.core.clock import Clock
from holdfast.core.ids import uuid7
from holdfast.policy.run_states import RunKind, RunState
from holdfast.repository import DiskRecord
from holdfast.repository import RestorePoint as StoredPoint


def add_point(
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
    `describe`."""
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
    describe(vm, point)
    session.add(vm)
    session.flush()
    return vm


def describe(vm: VirtualMachine, point: StoredPoint) -> None:
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
