"""What the live events carry, from rows of the catalogue; `EVENTS` names them all."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from pydantic import BaseModel

from holdfast.api.runs_shown import bottleneck_of, disks_of, percent
from holdfast.api.schemas.backups import BackupProgressUpdate
from holdfast.api.schemas.runs import ResourceChanged, RunProgressUpdate
from holdfast.catalog.models import Notice, Run
from holdfast.policy.run_states import RunKind

EVENTS: dict[str, type[BaseModel]] = {
    "backup_progress": BackupProgressUpdate,
    "run_progress": RunProgressUpdate,
    **{
        f"{noun}_changed": ResourceChanged
        for noun in (
            "backup",
            "machine_group",
            "mount",
            "platform",
            "repository",
            "token",
            "user",
            "vm",
        )
    },
}


def run_progress(run: Run, at: datetime) -> dict[str, Any]:
    update = RunProgressUpdate(
        id=run.id,
        kind=cast("Any", run.kind),
        vm_id=run.vm_id,
        vm_name=run.vm_name,
        repository_id=run.repository_id,
        status=cast("Any", run.state),
        phase=run.phase,
        progress_percent=percent(run),
        bytes_transferred=run.done_bytes,
        total_bytes=run.total_bytes,
        bytes_read=run.read_bytes,
        stored_bytes=run.stored_bytes,
        throughput_bps=run.throughput_bps,
        eta_seconds=run.eta_seconds,
        bottleneck=bottleneck_of(run),
        disks=disks_of(run),
        error_code=run.error_code or None,
        error_message=run.error_message or None,
        attempt=run.attempt,
        at=at,
    )
    return update.model_dump(mode="json")


def backup_progress(run: Run, at: datetime) -> dict[str, Any]:
    update = BackupProgressUpdate(
        id=run.id,
        backup_id=run.id,
        vm_id=run.vm_id,
        vm_name=run.vm_name,
        repository_id=run.repository_id,
        backup_type=cast("Any", run.backup_type or "incremental"),
        status=cast("Any", run.state),
        phase=run.phase,
        progress_percent=percent(run),
        bytes_transferred=run.done_bytes,
        total_bytes=run.total_bytes,
        stored_bytes=run.stored_bytes,
        throughput_bps=run.throughput_bps,
        eta_seconds=run.eta_seconds,
        disks=disks_of(run),
        bottleneck=bottleneck_of(run),
        error_message=run.error_message or None,
        error_code=run.error_code or None,
        attempt=run.attempt,
        at=at,
    )
    return update.model_dump(mode="json")


def payloads(run: Run, at: datetime) -> list[tuple[str, dict[str, Any]]]:
    """Event names and what they carry: `run_progress` for every run, `backup_progress` too for
    backups."""
    found = [("run_progress", run_progress(run, at))]
    if run.kind == RunKind.BACKUP.value:
        found.append(("backup_progress", backup_progress(run, at)))
    return found


def changed(notice: Notice) -> tuple[str, dict[str, Any]]:
    """Name and content of the event that a notice becomes."""
    payload = ResourceChanged(
        id=notice.object_id, action=cast("Any", notice.action), vm_id=notice.vm_id, at=notice.at
    )
    return f"{notice.noun}_changed", payload.model_dump(mode="json")
