"""Runs as the API shows them: from rows to schemas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy.orm import Session

from holdfast.api.schemas.runs import (
    Bottleneck,
    DiskPlanInfo,
    DiskProgress,
    RunBrief,
    RunInfo,
    RunKindName,
    RunStateName,
    RunTransitionInfo,
)
from holdfast.catalog.models import Run, RunTransition
from holdfast.catalog.resources import list_workers, occupancy, read_limits, waiting_reason
from holdfast.policy.run_states import ACTIVE_STATES, RunState

_RETRYABLE = (RunState.FAILED.value, RunState.CANCELLED.value)


def is_active(run: Run) -> bool:
    return RunState(run.state) in ACTIVE_STATES


def percent(run: Run) -> float:
    """Never goes back within an attempt; 100 only when it is complete."""
    if run.state == RunState.COMPLETED.value:
        return 100.0
    return min(99.9, round(run.percent, 1))


def plan_of(run: Run) -> list[DiskPlanInfo]:
    return [DiskPlanInfo.model_validate(item) for item in run.plan]


def disks_of(run: Run) -> list[DiskProgress]:
    return [DiskProgress.model_validate(item) for item in run.disks]


def bottleneck_of(run: Run) -> Bottleneck | None:
    return Bottleneck.model_validate(run.bottleneck) if run.bottleneck else None


def run_brief(run: Run) -> RunBrief:
    return RunBrief(
        id=run.id,
        kind=cast("RunKindName", run.kind),
        state=cast("RunStateName", run.state),
        phase=run.phase,
        progress_percent=percent(run),
        vm_id=run.vm_id,
        vm_name=run.vm_name,
        repository_id=run.repository_id,
        created_at=run.created_at,
        started_at=run.started_at,
        completed_at=run.completed_at,
        throughput_bps=run.throughput_bps,
        eta_seconds=run.eta_seconds,
        error_code=run.error_code or None,
        error_message=run.error_message or None,
    )


def run_info(
    session: Session, run: Run, transitions: Sequence[RunTransition], now: datetime
) -> RunInfo:
    return RunInfo(
        **run_brief(run).model_dump(),
        platform_id=run.platform_id,
        point_id=run.point_id,
        request=run.request,
        plan=plan_of(run),
        disks=disks_of(run),
        bytes_done=run.done_bytes,
        bytes_total=run.total_bytes,
        bytes_read=run.read_bytes,
        bytes_stored=run.stored_bytes,
        bottleneck=bottleneck_of(run),
        samples=[_sample(item) for item in run.samples],
        result=run.result,
        error_hint=run.error_hint or None,
        attempt=run.attempt,
        not_before=run.not_before,
        cancel_requested=run.cancel_requested_at is not None,
        can_cancel=is_active(run) and run.cancel_requested_at is None,
        can_retry=can_retry(run),
        queue_reason=queue_reason(session, run, now),
        created_by=run.created_by,
        retry_of=run.retry_of,
        transitions=[
            RunTransitionInfo(
                at=item.at,
                before=item.before,
                after=item.after,
                attempt=item.attempt,
                message=item.message,
            )
            for item in transitions
        ],
    )


def can_retry(run: Run) -> bool:
    return run.state in _RETRYABLE and not run.imported


def queue_reason(session: Session, run: Run, now: datetime) -> str:
    """Why a pending run waits, in words; empty for others."""
    if run.state != RunState.PENDING.value:
        return ""
    if run.not_before is not None and run.not_before > now:
        return f"waiting to try again: {run.error_message}"
    return waiting_reason(run, occupancy(session), read_limits(session), list_workers(session), now)


def _sample(item: Sequence[Any]) -> tuple[float, int]:
    return float(item[0]), int(item[1])
