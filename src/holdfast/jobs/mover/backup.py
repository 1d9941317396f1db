"""A backup."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from holdfast.backup.run import BackupOptions, BackupResult, back_up_vm
from holdfast.core.clock import format_time
from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.platforms import open_platform
from holdfast.jobs.mover.events import Outcome
from holdfast.jobs.mover.task import Task
from holdfast.repository import check_tag


def back_up(task: Task) -> Outcome:
    order, request = task.order, task.request
    if order.platform is None:
        raise InvalidInput(what="platform", problem="the VM is on none any more")
    options = BackupOptions(
        full=request.get("backup_type") == "full",
        disk_keys=request.get("disks") or None,
        freeze=bool(request.get("freeze", True)),
        tags=[check_tag(str(tag)) for tag in cast("list[object]", request.get("tags") or [])],
    )
    repository = task.open_repository()
    platform = open_platform(order.platform, scratch_root=Path(order.scratch_root))
    try:
        found = platform.find(order.platform_vm_id)
        done = back_up_vm(
            driver=found.driver,
            vm=found.vm,
            repository=repository,
            cancel=task.cancel,
            options=options,
            progress=task.reporter,
            run_id=order.run_id,
            on_plan=task.reporter.plan,
        )
    finally:
        platform.close()
    return _outcome(task, done)


def _outcome(task: Task, done: BackupResult) -> Outcome:
    manifest = done.manifest
    if done.adopted:
        task.reporter.message("an earlier attempt had committed the restore point already")
    for note in manifest.notes:
        task.reporter.message(f"note: {note}")
    for point_id in done.suspects:
        task.reporter.log("warning", f"restore point {point_id} is in doubt")
    return Outcome(
        point_id=manifest.id,
        backup_type=manifest.captured_as,
        result={
            "consistency": manifest.consistency,
            "captured_at": format_time(manifest.captured_at),
            "parent_id": manifest.parent_id,
            "size_bytes": manifest.size_bytes,
            "read_bytes": done.read_bytes,
            "stored_bytes": manifest.stored_bytes,
            "duration_s": round(done.duration_s, 3),
            "notes": list(manifest.notes),
            "suspects": list(done.suspects),
            "adopted": done.adopted,
        },
    )
