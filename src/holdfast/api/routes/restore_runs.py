"""Restores of a disk or a whole VM: each queues a run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.platform_access import is_remote
from holdfast.api.restore_preview import preview_of
from holdfast.api.runs_shown import run_brief
from holdfast.api.runtime_settings import OWN_RESTORE_ROOT, RESTORE_ROOTS
from holdfast.api.schemas.restores import DiskRestore, RestorePreview, VmRestore
from holdfast.api.schemas.runs import RunAccepted
from holdfast.catalog import inventory
from holdfast.catalog.audit import record
from holdfast.catalog.models import RestorePoint
from holdfast.catalog.points import find_point
from holdfast.catalog.runs import RunRequest, add_run
from holdfast.core.errors import InvalidInput, TargetExists
from holdfast.policy.access import Permission
from holdfast.policy.run_states import RunKind

router = APIRouter(prefix="/restore", tags=["restore"])
_RESTORE = [requires(Permission.RESTORE_RUN)]


@router.post("/disks", status_code=202, dependencies=_RESTORE)
def restore_disk(body: DiskRestore, context: Context, caller: Caller) -> RunAccepted:
    """One disk to a new image below one of the folders that the settings allow."""
    output = _allowed_output(body.output)
    with context.database.writing() as session:
        point, _ = find_point(session, caller.scope(Permission.RESTORE_RUN), body.backup_id)
        if body.disk not in {str(disk["key"]) for disk in point.disks}:
            raise InvalidInput(what="disk", problem=f"the backup has no disk {body.disk}")
        return _submit(
            session,
            context,
            caller,
            point,
            RunRequest(
                kind=RunKind.RESTORE_DISK,
                request={
                    "point_id": point.id,
                    "disk": body.disk,
                    "output": str(output),
                    "format": body.format,
                },
            ),
        )


@router.post("/vms", status_code=202, dependencies=_RESTORE)
def restore_vm(body: VmRestore, context: Context, caller: Caller) -> RunAccepted:
    """A whole VM, as a new one, or over the old one when its name is typed once more."""
    with context.database.writing() as session:
        point, _ = find_point(session, caller.scope(Permission.RESTORE_RUN), body.backup_id)
        platform = inventory.find_platform(session, body.platform_id)
        if platform.kind != "libvirt" or is_remote(platform):
            problem = "VMs can be restored to a libvirt on the service's own host only"
            raise InvalidInput(what=f"platform {platform.name}", problem=problem)
        name = body.name or (point.vm_name if body.mode == "overwrite" else None)
        if body.mode == "overwrite" and body.confirm != name:
            problem = f"type the name of the VM that will be replaced: {name}"
            raise InvalidInput(what="confirm", problem=problem)
        request: dict[str, Any] = {
            "point_id": point.id,
            "mode": body.mode,
            "name": name,
            "keep_identity": body.keep_identity,
            "isolated": body.isolated,
            "start": body.start,
        }
        return _submit(
            session,
            context,
            caller,
            point,
            RunRequest(kind=RunKind.RESTORE_VM, platform_id=platform.id, request=request),
        )


@router.post("/vms/preview", dependencies=_RESTORE)
def preview_vm_restore(body: VmRestore, context: Context, caller: Caller) -> RestorePreview:
    """What it would do, in words, and what stands in its way, without doing it."""
    with context.database.reading() as session:
        point, repository = find_point(
            session, caller.scope(Permission.RESTORE_RUN), body.backup_id
        )
        platform = inventory.find_platform(session, body.platform_id)
        session.expunge_all()
    return preview_of(body, point, repository, platform, context.settings.scratch_root)


def _allowed_output(text: str) -> Path:
    """Raises InvalidInput, TargetExists."""
    path = Path(os.path.realpath(text)) if text.startswith("/") and "\0" not in text else None
    if path is None or not any(path.is_relative_to(root) for root in RESTORE_ROOTS):
        allowed = ", ".join(str(root) for root in RESTORE_ROOTS)
        raise InvalidInput(what="output", problem=f"must be a path below {allowed}")
    if path.exists():
        raise TargetExists(path=str(path))
    if path.is_relative_to(OWN_RESTORE_ROOT):
        with suppress(OSError):  # the run says what is wrong with it
            OWN_RESTORE_ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _submit(
    session: Session, context: Context, caller: Caller, point: RestorePoint, request: RunRequest
) -> RunAccepted:
    submitted = add_run(
        session,
        RunRequest(
            kind=request.kind,
            request=request.request,
            platform_id=request.platform_id,
            vm_id=point.vm_id,
            vm_name=point.vm_name,
            repository_id=point.repository_id,
            point_id=point.id,
            created_by=caller.name,
        ),
        context.clock,
    )
    accepted = RunAccepted(run_id=submitted.run.id, state=run_brief(submitted.run).state)
    record(
        session,
        caller,
        f"restore.{request.kind.value}",
        clock=context.clock,
        object_kind="backup",
        object_id=point.run_id,
        details={"run": submitted.run.id, "vm": point.vm_name},
    )
    return accepted
