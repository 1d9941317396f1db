"""Points of one repository to another."""

from __future__ import annotations

from holdfast.core.units import format_count
from holdfast.jobs.errors import DamageFound
from holdfast.jobs.mover.events import Outcome
from holdfast.jobs.mover.task import Task
from holdfast.repository.copy import copy_points


def copy(task: Task) -> Outcome:
    source, target = task.open_repository(), task.open_other_repository()
    damaged: dict[str, str] = {}
    wanted = task.request.get("point_ids")
    if wanted is None:
        points = source.points(lambda error: damaged.update({error.message: error.code}))
    else:
        points = [source.point(str(point_id)) for point_id in dict.fromkeys(wanted)]
    report = copy_points(source, target, points, cancel=task.cancel, progress=task.reporter)
    for problem in damaged:
        task.reporter.log("error", f"a restore point was not copied: {problem}")
    if report.failed or damaged:
        raise DamageFound(
            location=source.location,
            found=format_count(len(report.failed) + len(damaged), "damaged restore point"),
            effect="all others are copied",
        )
    return Outcome(
        result={
            "copied": report.copied,
            "present": report.present,
            "read_bytes": report.read_bytes,
            "stored_bytes": report.stored_bytes,
        }
    )
