"""Save what damage has left of a repository, and take the rest from a copy."""

from __future__ import annotations

from holdfast.core.errors import InvalidInput
from holdfast.core.units import format_count
from holdfast.jobs.errors import DamageFound
from holdfast.jobs.mover.events import Outcome
from holdfast.jobs.mover.task import Task
from holdfast.repository import open_store
from holdfast.repository.mending import Mended, mend_header
from holdfast.repository.repair import repair_repository

_SHOWN = 100
"""Losses and objects that the log names; all are counted."""


def repair(task: Task) -> Outcome:
    """Fails when restore points stay damaged: what could be saved is saved all the same."""
    source = None if task.order.other_repository is None else task.open_other_repository()
    mended = _mend(task)
    for item in mended:  # also when what follows fails
        task.reporter.message(f"{item.key}: {item.problem}; put right from {item.taken_from}")
    repository = task.open_repository(cached=False)
    report = repair_repository(repository, source, cancel=task.cancel, progress=task.reporter)
    for item in report.mended[:_SHOWN]:
        task.reporter.message(f"{item.key}: {item.problem}; put right from {item.taken_from}")
    report.mended = [*mended, *report.mended]
    for key, problem in list(report.left.items())[:_SHOWN]:
        task.reporter.log("error", f"{key} stays damaged: {problem}")
    task.reporter.message(
        f"{report.saved_chunks} chunks were saved from {len(report.damaged_packs)} damaged packs, "
        f"{report.fetched_chunks} fetched from the other repository"
    )
    for loss in report.losses[:_SHOWN]:
        lost = loss.problem or f"{loss.lost_bytes} bytes stay lost"
        task.reporter.log("error", f"restore point {loss.point_id} of {loss.vm_name}: {lost}")
    if not report.is_whole:
        raise DamageFound(
            location=repository.location,
            found=format_count(len(report.losses), "damaged restore point"),
            effect="what was lost is not here" + (" and not in the copy" if source else ""),
        )
    return Outcome(
        result={
            "whole": True,
            "mended_objects": len(report.mended),
            "damaged_packs": len(report.damaged_packs),
            "saved_chunks": report.saved_chunks,
            "fetched_chunks": report.fetched_chunks,
            "stored_bytes": report.stored_bytes,
        }
    )


def _mend(task: Task) -> list[Mended]:
    """Puts right what keeps everybody from opening the repository, where that is proven."""
    access = task.order.repository
    if access is None:
        raise InvalidInput(what="repository", problem="the run names none")
    return mend_header(open_store(access.location, access.store_options(None)), access.credential)
