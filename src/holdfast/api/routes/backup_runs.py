"""Backups being made: look at the plan, start, cancel, try again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from holdfast.api.access import Caller, requires
from holdfast.api.backup_requests import subject_of
from holdfast.api.backups_shown import backup_jobs
from holdfast.api.context import Context
from holdfast.api.platform_access import address_of, with_platform
from holdfast.api.routes.backups import find_backup
from holdfast.api.schemas.backups import BackupJob, BackupPreview, BackupStart
from holdfast.api.schemas.runs import DiskPlanInfo
from holdfast.backup.preview import BackupPreview as Preview
from holdfast.backup.preview import preview_backup as preview
from holdfast.backup.run import BackupOptions
from holdfast.capture.plan import DiskPlan
from holdfast.catalog.audit import record
from holdfast.catalog.runs import (
    RunRequest,
    add_run,
    exclusive_key_of,
    request_again,
    request_cancel,
)
from holdfast.hypervisors.platforms import OpenPlatform
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
        vm = subject_of(session, scope, body).vm
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
        [job] = backup_jobs(session, [submitted.run], context.clock.now())
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


@router.post("/preview", dependencies=_RUN)
def preview_backup(body: BackupStart, context: Context, caller: Caller) -> BackupPreview:
    """What a backup would read of each disk now, why, and how much: an estimate that touches
    neither the VM nor the repository."""
    with context.database.reading() as session:
        subject = subject_of(session, caller.scope(Permission.BACKUP_RUN), body)
        session.expunge_all()
    vm = subject.vm
    repository = context.repositories.get(subject.repository)
    options = BackupOptions(full=body.backup_type == "full", disk_keys=body.disks)

    def look(platform: OpenPlatform) -> Preview:
        found = platform.find(vm.platform_vm_id)
        return preview(driver=found.driver, vm=found.vm, repository=repository, options=options)

    address = address_of(subject.platform)
    found = with_platform(address, context.settings.scratch_root, look)
    return BackupPreview(
        vm_id=vm.id,
        repository_id=body.repository_id,
        backup_type="full" if found.captured_as == "full" else "incremental",
        parent_id=found.parent_id,
        plan=[_plan_info(plan) for plan in found.plans],
        planned_bytes=found.planned_bytes,
        consistency=found.consistency,
        notes=list(found.notes),
    )


@router.post("/{backup_id}/cancel", status_code=202, dependencies=_RUN)
def cancel_backup(backup_id: BackupId, context: Context, caller: Caller) -> BackupJob:
    """Stop it; nothing half-done stays. It takes a few seconds at most."""
    with context.database.writing() as session:
        find_backup(session, caller.scope(Permission.BACKUP_RUN), backup_id)
        run = request_cancel(session, backup_id, f"by {caller.name}", context.clock)
        [job] = backup_jobs(session, [run], context.clock.now())
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
        [job] = backup_jobs(session, [again.run], context.clock.now())
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


def _plan_info(plan: DiskPlan) -> DiskPlanInfo:
    return DiskPlanInfo(
        key=plan.disk.key,
        mode=plan.mode.value,
        reason=plan.reason,
        planned_bytes=plan.planned_bytes,
        size_bytes=plan.disk.size_bytes,
    )
