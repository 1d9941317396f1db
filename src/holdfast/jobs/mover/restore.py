"""Restores: one disk to an image file, or a whole VM to libvirt."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.errors import InvalidInput
from holdfast.jobs.mover.events import Outcome
from holdfast.jobs.mover.task import Task
from holdfast.repository import Repository, RestorePoint
from holdfast.restore.disk import restore_disk
from holdfast.restore.targets import FORMATS
from holdfast.restore.vm import VmRestoreOptions, restore_vm


def restore_one_disk(task: Task) -> Outcome:
    request = task.request
    format = str(request.get("format", "qcow2"))
    if format not in FORMATS:
        raise InvalidInput(what="format", problem=f"{format!r} is none of {', '.join(FORMATS)}")
    repository, point = _point(task)
    done = restore_disk(
        repository=repository,
        disk=point.disk(str(request["disk"])),
        output=Path(str(request["output"])),
        format=format,
        cancel=task.cancel,
        progress=task.reporter,
        fill_holes=bool(request.get("fill_holes", False)),
    )
    for hole in done.holes:
        where = f"{hole.length} bytes from byte {hole.offset}"
        task.reporter.log("error", f"{where} hold zeroes: {hole.problem}")
    return Outcome(
        point_id=point.id,
        result={
            "disk": request["disk"],
            "output": str(done.path),
            "format": format,
            "size_bytes": done.size_bytes,
            "written_bytes": done.written_bytes,
            "duration_s": round(done.duration_s, 3),
            "whole": done.is_whole,
        },
    )


def restore_whole_vm(task: Task) -> Outcome:
    order, request = task.order, task.request
    if order.platform is None or order.platform.kind != "libvirt":
        raise InvalidInput(what="platform", problem="a VM can be restored to libvirt only")
    repository, point = _point(task)
    overwrite = request.get("mode") == "overwrite"
    name = request.get("name")
    options = VmRestoreOptions(
        name=str(name) if name else (point.manifest.vm.name if overwrite else None),
        storage=Path(order.restore_root) if order.restore_root else None,
        start=bool(request.get("start", False)),
        isolated=bool(request.get("isolated", True)),
        keep_identity=bool(request.get("keep_identity", False)) or overwrite,
        overwrite=overwrite,
    )
    done = restore_vm(
        repository=repository,
        point=point,
        uri=order.platform.uri,
        options=options,
        cancel=task.cancel,
        progress=task.reporter,
    )
    for note in done.notes:
        task.reporter.message(f"note: {note}")
    return Outcome(
        point_id=point.id,
        result={
            "vm": {"id": done.vm.id, "name": done.vm.name, "platform": done.vm.platform},
            "disks": {key: str(path) for key, path in done.disks.items()},
            "started": options.start,
            "written_bytes": done.written_bytes,
            "duration_s": round(done.duration_s, 3),
            "notes": list(done.notes),
        },
    )


def _point(task: Task) -> tuple[Repository, RestorePoint]:
    repository = task.open_repository()
    point = repository.point(str(task.request["point_id"]))
    repository.load_index()
    if point.suspect:
        task.reporter.log("warning", f"this restore point is in doubt: {point.suspect}")
    return repository, point
