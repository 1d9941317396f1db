"""Rules of retention from the wire to the policy, and what they would do now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from holdfast.api.schemas.repositories import PruneBody, PruneDecision, PrunePreview, PruneRule
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import InvalidInput
from holdfast.core.progress import SilentProgress
from holdfast.core.time_zones import time_zone_of
from holdfast.policy import RetentionRules
from holdfast.repository import Repository
from holdfast.repository.prune import PruneScope, plan_prune
from holdfast.repository.unique import Owner


def rules_of(rule: PruneRule) -> RetentionRules:
    """Raises InvalidInput for a rule that keeps nothing."""
    days = rule.keep_within_days
    rules = RetentionRules(
        keep_last=rule.keep_last or 0,
        keep_hourly=rule.keep_hourly or 0,
        keep_daily=rule.keep_daily or 0,
        keep_weekly=rule.keep_weekly or 0,
        keep_monthly=rule.keep_monthly or 0,
        keep_yearly=rule.keep_yearly or 0,
        keep_within=None if days is None else timedelta(days=days),
        keep_tags=tuple(rule.keep_tags),
        minimum_age=timedelta(days=1 if rule.minimum_age_days is None else rule.minimum_age_days),
    )
    if rules.is_empty:
        raise InvalidInput(what="rule", problem="it says nothing to keep")
    return rules


def scope_of(body: PruneBody) -> PruneScope:
    """Raises InvalidInput."""
    zone = time_zone_of(body.time_zone, what="time_zone")
    return PruneScope(rules=rules_of(body.rule), time_zone=zone, vm_name=body.vm_name)


def preview_prune(
    repository: Repository,
    scope: PruneScope,
    run_ids: Mapping[str, str],
    unique: Mapping[Owner, int],
) -> PrunePreview:
    """Changes nothing. `run_ids`: the backup of each point that the catalogue knows. `unique`: what
    is known of what each disk of each point alone holds."""
    alone: dict[str, int] = {}
    for (point_id, _disk), count in unique.items():
        alone[point_id] = alone.get(point_id, 0) + count
    plan = plan_prune(repository, scope, cancel=CancelToken(), progress=SilentProgress())
    decisions = [
        PruneDecision(
            backup_id=run_ids.get(item.point.id, item.point.manifest.run_id),
            point_id=item.point.id,
            vm_name=item.point.manifest.vm.name,
            captured_at=item.point.manifest.captured_at,
            keep=item.decision.keep,
            reasons=list(item.decision.reasons),
            size_bytes=item.point.manifest.size_bytes,
            stored_bytes=item.point.manifest.stored_bytes,
            unique_bytes=alone.get(item.point.id),
            immutable_until=item.locked_until,
        )
        for item in plan.points
    ]
    return PrunePreview(
        decisions=decisions,
        keep_count=sum(item.keep for item in decisions),
        delete_count=len(plan.going),
        reclaim_bytes=plan.freed_bytes,
        warnings=[],
    )
