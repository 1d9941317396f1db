"""Renew the locks of an immutable repository, and try once more to break one."""

from __future__ import annotations

from typing import Any

from holdfast.core.clock import format_time
from holdfast.jobs.errors import LocksIncomplete
from holdfast.jobs.mover.events import Outcome
from holdfast.jobs.mover.task import Task
from holdfast.repository.canary import described, test_immutability
from holdfast.repository.lock import LockReport, run_lock

_SHOWN = 100
"""Objects that the log names; all are counted."""


def renew_locks(task: Task) -> Outcome:
    """What is missing or hidden ends the run as failed, after everything else was locked."""
    repository = task.open_repository(cached=False)
    report = run_lock(repository, cancel=task.cancel, progress=task.reporter)
    rule = repository.locks.rule
    if rule is None:
        task.reporter.message("the repository is not immutable: nothing was locked")
        return Outcome(result={"objects": 0})
    _tell(task, report)
    verdict = test_immutability(repository)
    words = described(rule, verdict)
    task.reporter.log("info" if verdict.is_immutable else "warning", words)
    if report.missing or report.hidden:
        raise LocksIncomplete(
            location=repository.location, missing=len(report.missing), hidden=len(report.hidden)
        )
    result: dict[str, Any] = {
        "objects": report.objects,
        "renewed": len(report.short),
        "unlocked": len(report.unlocked),
        "until": format_time(report.until) if report.until else None,
        "immutable": verdict.is_immutable,
        "message": words,
    }
    return Outcome(result=result)


def _tell(task: Task, report: LockReport) -> None:
    renewed = f"{len(report.short)} locks were renewed"
    task.reporter.message(f"{report.objects} objects are to be locked; {renewed}")
    if report.unlocked:
        text = f"{len(report.unlocked)} of them were not locked at all"
        task.reporter.log("warning", text)
    for key in report.missing[:_SHOWN]:
        task.reporter.log("error", f"{key} is missing")
    for key in report.hidden[:_SHOWN]:
        task.reporter.log("error", f"{key} was deleted or overwritten by somebody else")
