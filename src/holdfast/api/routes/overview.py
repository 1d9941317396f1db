"""The dashboard's first page in one answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.runs_shown import run_brief
from holdfast.api.runtime_settings import runtime_settings
from holdfast.api.schemas.system import DayActivity, Overview, StorageTrendPoint, UnprotectedVm
from holdfast.catalog import inventory, overview
from holdfast.core.time_zones import time_zone_of
from holdfast.policy.access import Permission

router = APIRouter(prefix="/overview", tags=["overview"])
_DAYS, _TREND_DAYS, _ROWS = 14, 90, 8


@router.get("", dependencies=[requires(Permission.VIEW)])
def get_overview(
    context: Context,
    caller: Caller,
    time_zone: Annotated[
        str, Query(max_length=64, description="Where days begin, as Europe/Berlin.")
    ] = "UTC",
) -> Overview:
    zone = time_zone_of(time_zone, what="time_zone")
    now = context.clock.now()
    scope = caller.scope(Permission.VIEW)
    with context.database.reading() as session:
        stale_before = runtime_settings(session).stale_before(now)
        counts = inventory.count_protection(session, scope, stale_before)
        days = overview.activity(session, scope, zone, now, _DAYS)
        today = list(days.values())[-1]
        active = overview.count_active(session, scope)
        used, logical = overview.totals(session)
        offline, unreachable = overview.count_troubled(session)
        worst = overview.worst_protected(session, scope, stale_before, _ROWS)
        failures = overview.recent_runs(session, scope, ("failed",), _ROWS)
        running = overview.recent_runs(session, scope, ("running",), _ROWS)
        trend = overview.storage_days(session, zone, now - timedelta(days=_TREND_DAYS))
    return Overview(
        vm_count=sum(counts.values()),
        vms_protected=counts["protected"],
        vms_stale=counts["stale"],
        vms_unprotected=counts["unprotected"],
        vms_failing=counts["failing"],
        replication_count=0,
        backups_today=today.completed,
        backups_today_failed=today.failed,
        running_count=active.get("running", 0),
        pending_count=active.get("pending", 0),
        used_bytes=used,
        logical_bytes=logical,
        dedup_ratio=_ratio(used, logical),
        repositories_offline=offline,
        platforms_unreachable=unreachable,
        unprotected=[
            UnprotectedVm(
                id=vm.id,
                name=vm.name,
                protection=cast(
                    "Literal['stale', 'unprotected', 'failing']",
                    inventory.protection_of(vm, stale_before),
                ),
                last_backup_at=vm.last_backup_at,
            )
            for vm in worst
        ],
        failures=[run_brief(run) for run in failures],
        running=[run_brief(run) for run in running],
        activity=[
            DayActivity(
                day=day.isoformat(),
                completed=item.completed,
                failed=item.failed,
                cancelled=item.cancelled,
                read_bytes=item.read_bytes,
                stored_bytes=item.stored_bytes,
            )
            for day, item in days.items()
        ],
        storage=[
            StorageTrendPoint(
                day=item.day.isoformat(),
                used_bytes=item.used_bytes,
                logical_bytes=item.logical_bytes,
                dedup_ratio=_ratio(item.used_bytes, item.logical_bytes),
            )
            for item in trend
        ],
    )


def _ratio(used: int | None, logical: int | None) -> float | None:
    return round(logical / used, 2) if used and logical else None
