"""Backups as the API shows them: a run and, once it is committed, its restore point."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, cast

from sqlalchemy.orm import Session

from holdfast.api.runs_shown import (
    bottleneck_of,
    can_retry,
    disks_of,
    is_active,
    percent,
    plan_of,
)
from holdfast.api.schemas.backups import BackupJob, BackupType
from holdfast.api.schemas.runs import RunStateName
from holdfast.catalog import repositories
from holdfast.catalog.models import RestorePoint, Run
from holdfast.catalog.points import points_of_runs


def backup_jobs(session: Session, runs: Sequence[Run], now: datetime) -> list[BackupJob]:
    """`now`: by it a point is immutable still, or not any more."""
    points = points_of_runs(session, [run.id for run in runs])
    names = repositories.names_of_repositories(session)
    places = {row.id: row.location for row in repositories.list_repositories(session)}
    return [
        with_immutability(
            _job(
                run,
                points.get(run.id),
                names.get(run.repository_id or "", ""),
                places.get(run.repository_id or "", ""),
            ),
            locked_now(points.get(run.id), now),
        )
        for run in runs
    ]


def locked_now(point: RestorePoint | None, now: datetime) -> datetime | None:
    """By what is on record here: deleting asks the storage."""
    until = point.locked_until if point is not None else None
    return until if until is not None and until > now else None


def with_immutability(job: BackupJob, until: datetime | None) -> BackupJob:
    if until is None:
        return job
    reason = job.cannot_delete_reason or f"it is immutable until {until:%Y-%m-%d %H:%M} UTC"
    return job.model_copy(
        update={
            "immutable_until": until,
            "can_delete": False,
            "cannot_delete_reason": reason,
        }
    )


def cannot_delete(run: Run, point: RestorePoint | None) -> str:
    """Why a backup cannot be deleted, in words; empty when it can."""
    if is_active(run):
        return "it is running: cancel it first"
    if point is not None and point.held:
        return f"it is held: {point.held}"
    return ""


def _job(run: Run, point: RestorePoint | None, name: str, place: str) -> BackupJob:
    refused = cannot_delete(run, point)
    result = run.result
    return BackupJob(
        id=run.id,
        vm_context_id=run.vm_id,
        vm_name=run.vm_name,
        backup_type=_type(run, point),
        status=cast("RunStateName", run.state),
        repository_id=run.repository_id,
        file_path=f"{place}/points/{point.id}" if point else "",
        bytes_transferred=run.done_bytes,
        total_bytes=run.total_bytes,
        created_at=run.created_at,
        completed_at=run.completed_at,
        error_message=run.error_message or None,
        backup_id=run.id,
        vm_id=run.vm_id,
        repository_name=name,
        point_id=point.id if point else None,
        phase=run.phase,
        progress_percent=percent(run),
        throughput_bps=run.throughput_bps if is_active(run) else 0,
        eta_seconds=run.eta_seconds if is_active(run) else None,
        started_at=run.started_at,
        size_bytes=point.size_bytes if point else int(result.get("size_bytes") or 0),
        stored_bytes=point.stored_bytes if point else run.stored_bytes,
        parent_id=point.parent_id if point else None,
        plan=plan_of(run),
        disks=disks_of(run),
        bottleneck=bottleneck_of(run),
        consistency=point.consistency if point else str(result.get("consistency") or ""),
        tags=[str(tag) for tag in (point.tags if point else run.request.get("tags") or [])],
        held=point.held if point else "",
        suspect=point.suspect if point else "",
        damaged=point.damaged if point else "",
        notes=[str(note) for note in (point.notes if point else [])],
        error_code=run.error_code or None,
        error_hint=run.error_hint or None,
        attempt=run.attempt,
        not_before=run.not_before,
        created_by=run.created_by,
        imported=run.imported,
        can_cancel=is_active(run) and run.cancel_requested_at is None,
        can_retry=can_retry(run),
        can_delete=not refused,
        cannot_delete_reason=refused,
        can_browse=point is not None and not point.damaged,
    )


def _type(run: Run, point: RestorePoint | None) -> BackupType:
    shown = point.captured_as if point else run.backup_type
    return cast("Literal['full', 'incremental']", shown or "incremental")
