"""Save what damage has left of a repository, and take the rest from a copy."""

from __future__ import annotations

from holdfast.jobs.errors import DamageFound
from holdfast.jobs.mover.events import Outcome
from holdfast.jobs.mover.task import Task
from holdfast.repository.repair import repair_repository

_SHOWN = 100
"""Losses that the log names; all are counted."""


def repair(task: Task) -> Outcome:
    """Fails when restore points stay damaged: what could be saved is saved all the same."""
    repository = task.open_repository(cached=False)
    source = None if task.order.other_repository is None else task.open_other_repository()
    report = repair_repository(repository, source, cancel=task.cancel, progress=task.reporter)
    task.reporter.message(
        f"{report.saved_chunks} chunks were saved from {len(report.damaged_packs)} damaged packs, "
        f"{report.fetched_chunks} fetched from the other repository"
    )
    for loss in report.losses[:_SHOWN]:
        lost = loss.problem or f"{loss.lost_bytes} bytes stay lost"
        task.reporter.log("error", f"restore point {loss.point_id} of {loss.vm_name}: {lost}")
    if not report.is_whole:
        raise DamageFound(location=repository.location, problems=len(report.losses))
    return Outcome(
        result={
            "whole": True,
            "damaged_packs": len(report.damaged_packs),
            "saved_chunks": report.saved_chunks,
            "fetched_chunks": report.fetched_chunks,
            "stored_bytes": report.stored_bytes,
        }
    )
