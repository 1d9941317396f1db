"""Backups being made: start, cancel, try again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from holdfast.api.access import Caller, requires
from holdfast.api.backups_shown import backup_jobs
from holdfast.api.context import Context
from holdfast.api.routes.backups import find_backup
from holdfast.api.schemas.backups import BackupJob, BackupStart
from holdfast.api.vms_shown import why_no_backup
from holdfast.catalog import inventory, repositories
from holdfast.catalog.audit import record
from holdfast.catalog.models import Platform
from holdfast.catalog.runs import (
    RunRequest,
    add_run,
    exclusive_key_of,
    request_again,
    request_cancel,
)
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission
from holdfast.policy.run_states import RunKind

router = APIRouter(prefix="/backup", tags=["backups"])
BackupId = Annotated[str, Path(max_length=100)]
_RUN = [requires(Permission.BACKUP_RUN)]


@router.post("/start", status_code=202, dependencies=_RUN)
def start_backup(body: BackupStart, context: Context, caller: Caller) -> BackupJob:
    """Queue a backup of a VM. While one of the VM is active, that one is the answer."""
    scope = caller.scope(Permission.BACKUP_RUN)
    with context.database.writing() as session:
        if body.vm_id:
            vm = inventory.find_vm(session, scope, body.vm_id)
        elif body.vm_name:
            vm = inventory.find_vm_by_name(session, scope, body.vm_name)
        else:
            raise InvalidInput(what="backup", problem="say which VM: vm_id or vm_name")
        repositories.find_repository(session, body.repository_id)
        platform = session.get(Platform, vm.platform_id) if vm.platform_id else None
        reason = why_no_backup(vm, platform)
        if reason:
            raise InvalidInput(what=f"VM {vm.name}", problem=reason)
        unknown = set(body.disks or ()) - {disk["key"] for disk in vm.disks}
        if unknown:
            problem = f"it has no disk {', '.join(sorted(unknown))}"
            raise InvalidInput(what=f"VM {vm.name}", problem=problem)
        submitted = add_run(
            session,
            RunRequest(
                kind=RunKind.BACKUP,
                vm_id=vm.id,
                vm_name=vm.name,
                platform_id=vm.platform_id,
                repository_id=body.repository_id,
                backup_type=body.backup_type,
                request={
                    "backup_type": body.backup_type,
                    "disks": body.disks,
                    "tags": list(body.tags),
                    "freeze": body.freeze,
                },
                exclusive_key=exclusive_key_of(RunKind.BACKUP, vm.id, body.repository_id, None),
                priority=body.priority,
                created_by=caller.name,
            ),
            context.clock,
        )
        [job] = backup_jobs(session, [submitted.run])
        record(
            session,
            caller,
            "backup.start",
            clock=context.clock,
            object_kind="backup",
            object_id=submitted.run.id,
            details={"vm": vm.name, "existing": submitted.existing},
        )
    return job


@router.post("/{backup_id}/cancel", status_code=202, dependencies=_RUN)
def cancel_backup(backup_id: BackupId, context: Context, caller: Caller) -> BackupJob:
    """Stop it; nothing half-done stays. It takes a few seconds at most."""
    with context.database.writing() as session:
        find_backup(session, caller.scope(Permission.BACKUP_RUN), backup_id)
        run = request_cancel(session, backup_id, f"by {caller.name}", context.clock)
        [job] = backup_jobs(session, [run])
        record(
            session,
            caller,
            "backup.cancel",
            clock=context.clock,
            object_kind="backup",
            object_id=backup_id,
        )
    return job


@router.post("/{backup_id}/retry", status_code=202, dependencies=_RUN)
def retry_backup(backup_id: BackupId, context: Context, caller: Caller) -> BackupJob:
    """The same backup once more, as a new one."""
    with context.database.writing() as session:
        run = find_backup(session, caller.scope(Permission.BACKUP_RUN), backup_id)
        again = add_run(session, request_again(run, caller.name), context.clock)
        [job] = backup_jobs(session, [again.run])
        record(
            session,
            caller,
            "backup.retry",
            clock=context.clock,
            object_kind="backup",
            object_id=again.run.id,
            details={"of": backup_id},
        )
    return job
