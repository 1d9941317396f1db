"""What keeps a repository in order: check, verify, prune, compact, delete one point."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from holdfast.core.errors import InvalidInput
from holdfast.core.time_zones import time_zone_of
from holdfast.core.units import format_count
from holdfast.jobs.errors import DamageFound, PlanChanged
from holdfast.jobs.mover.events import Outcome
from holdfast.jobs.mover.task import Task
from holdfast.policy import RetentionRules
from holdfast.repository.check import check_repository
from holdfast.repository.compact import CompactOptions, run_compact
from holdfast.repository.errors import PointNotFound
from holdfast.repository.prune import (
    DEFAULT_MAXIMUM_DELETE,
    PrunePlan,
    PruneScope,
    plan_prune,
    run_prune,
)
from holdfast.repository.repository import Repository
from holdfast.repository.verify import VerifyOptions, verify_repository

_SHOWN = 100
"""Problems that a result lists; all are counted."""


def check(task: Task) -> Outcome:
    repository = task.open_repository(cached=False)
    read_data = bool(task.request.get("read_data", False))
    report = check_repository(
        repository, cancel=task.cancel, progress=task.reporter, read_data=read_data
    )
    for problem in report.problems[:_SHOWN]:
        task.reporter.log("error", f"{problem.object}: {problem.problem}")
    if not report.is_sound:
        raise DamageFound(
            location=repository.location,
            found=format_count(len(report.problems), "missing or damaged object"),
            effect=_effect({point for problem in report.problems for point in problem.points}),
        )
    return Outcome(
        result={
            "sound": True,
            "read_data": read_data,
            "points": report.points,
            "packs": report.packs,
            "pack_bytes": report.pack_bytes,
            "chunks": report.chunks,
        }
    )


def verify(task: Task) -> Outcome:
    repository = task.open_repository(cached=False)
    days = task.request.get("not_verified_for_days")
    options = VerifyOptions(
        share=float(task.request.get("sample_percent") or 100) / 100,
        not_since=None if days is None else timedelta(days=float(days)),
    )
    report = verify_repository(repository, options, cancel=task.cancel, progress=task.reporter)
    for pack in report.bad_packs[:_SHOWN]:
        task.reporter.log("error", f"{pack.key}: {pack.problem}")
    for loss in report.losses[:_SHOWN]:
        task.reporter.log("error", f"restore point {loss.point_id} of {loss.vm_name} is damaged")
    if not report.is_sound:
        raise DamageFound(
            location=repository.location,
            found=format_count(len(report.bad_packs), "damaged pack"),
            effect=_effect(report.losses),
        )
    return Outcome(
        result={
            "sound": True,
            "packs": report.packs,
            "skipped_packs": report.skipped_packs,
            "read_bytes": report.read_bytes,
        }
    )


def _effect(affected: Collection[object]) -> str:
    """What damage means, by the restore points that it reaches."""
    if not affected:
        return "no restore point is known to be affected"
    return f"{format_count(len(affected), 'restore point')} cannot be read in full"


def prune(task: Task) -> Outcome:
    """Apply a rule. `confirm_point_ids` is what the preview said would go, `confirm_points` their
    number: others now, and nothing is deleted. A second attempt goes on with what is left of the
    first."""
    request = task.request
    repository = task.open_repository()
    scope = PruneScope(
        rules=retention_rules(request.get("rule") or {}),
        time_zone=time_zone_of(str(request.get("time_zone") or "UTC"), what="time_zone"),
        vm_name=request.get("vm_name"),
    )
    plan = plan_prune(repository, scope, cancel=task.cancel, progress=task.reporter)
    confirmed = _require_confirmed(task, plan)
    report = run_prune(
        repository,
        plan,
        maximum_delete=DEFAULT_MAXIMUM_DELETE if confirmed is None else confirmed,
        cancel=task.cancel,
        progress=task.reporter,
    )
    for point_id in report.deleted:
        task.reporter.message(f"deleted restore point {point_id}")
    for point_id, reason in report.spared.items():
        task.reporter.log("warning", f"kept restore point {point_id} after all: {reason}")
    result: dict[str, Any] = {"deleted": list(report.deleted), "spared": dict(report.spared)}
    if request.get("compact", False) and report.deleted:
        result["compact"] = _compact(task, repository)
    return Outcome(result=result)


def _require_confirmed(task: Task, plan: PrunePlan) -> int | None:
    """How many points were confirmed; None when nothing had to be. Raises PlanChanged when others
    would go now, or points that were not confirmed in a later attempt."""
    going = {planned.point.id for planned in plan.going}
    ids, number = task.request.get("confirm_point_ids"), task.request.get("confirm_points")
    if ids is not None:
        confirmed = {str(point_id) for point_id in ids}
        others = going - confirmed if task.is_resumed else going ^ confirmed
        if others:
            raise PlanChanged(confirmed=len(confirmed), points=len(going), others=len(others))
        return len(confirmed)
    if number is None:
        return None
    surplus = len(going) - int(number)
    if surplus > 0 or (surplus and not task.is_resumed):
        raise PlanChanged(confirmed=int(number), points=len(going), others=abs(surplus))
    return int(number)


def compact(task: Task) -> Outcome:
    return Outcome(result=_compact(task, task.open_repository()))


def delete_point(task: Task) -> Outcome:
    point_id = str(task.request["point_id"])
    repository = task.open_repository()
    try:
        repository.delete_point(point_id)
    except PointNotFound:
        if not task.is_resumed:
            raise
        # An earlier attempt deleted it and died before it could say so.
    return Outcome(point_id=point_id, result={"deleted": [point_id]})


def retention_rules(rule: Mapping[str, Any]) -> RetentionRules:
    """From a request's rule. Raises InvalidInput for one that keeps nothing."""

    def count(name: str) -> int:
        return int(rule.get(name) or 0)

    within = rule.get("keep_within_days")
    age = rule.get("minimum_age_days")
    rules = RetentionRules(
        keep_last=count("keep_last"),
        keep_hourly=count("keep_hourly"),
        keep_daily=count("keep_daily"),
        keep_weekly=count("keep_weekly"),
        keep_monthly=count("keep_monthly"),
        keep_yearly=count("keep_yearly"),
        keep_within=None if within is None else timedelta(days=float(within)),
        keep_tags=tuple(rule.get("keep_tags") or ()),
        minimum_age=timedelta(days=1 if age is None else float(age)),
    )
    if rules.is_empty:
        raise InvalidInput(what="rule", problem="it says nothing that is to be kept")
    return rules


def _compact(task: Task, repository: Repository) -> dict[str, Any]:
    request, default = task.request, CompactOptions()
    grace, fill = request.get("grace_hours"), request.get("minimum_fill_percent")
    share = request.get("max_delete_percent")
    options = CompactOptions(
        grace=default.grace if grace is None else timedelta(hours=float(grace)),
        minimum_fill=default.minimum_fill if fill is None else float(fill) / 100,
        maximum_delete_share=default.maximum_delete_share if share is None else float(share) / 100,
        dry_run=bool(request.get("dry_run", False)),
    )
    report = run_compact(repository, options, cancel=task.cancel, progress=task.reporter)
    return asdict(report)
