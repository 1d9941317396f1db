"""Repositories as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from sqlalchemy.orm import Session

from holdfast.api.schemas.repositories import (
    DamagedPoint,
    LockModeName,
    RepositoryInfo,
    Storage,
)
from holdfast.catalog import repositories
from holdfast.catalog.models import Repository, RestorePoint
from holdfast.catalog.points import count_damaged

DAMAGED_HINT = (
    "If the storage keeps older versions or snapshots, bring points/<id> back from them. Otherwise "
    "delete such a point and copy it back from another repository that has it. No other point is "
    "affected"
)


def repository_infos(session: Session, rows: Sequence[Repository]) -> list[RepositoryInfo]:
    vms, damaged = repositories.count_vms(session), count_damaged(session)
    return [
        _info(row, vm_count=vms.get(row.id, 0), damaged_count=damaged.get(row.id, 0))
        for row in rows
    ]


def damaged_infos(row: Repository, known: Sequence[RestorePoint]) -> list[DamagedPoint]:
    """`known`: those with a row, which says what they were."""
    return [
        DamagedPoint(
            point_id=point.id,
            backup_id=point.run_id,
            vm_id=point.vm_id,
            vm_name=point.vm_name,
            captured_at=point.captured_at,
            problem=point.damaged,
        )
        for point in known
    ] + [
        DamagedPoint(
            point_id=str(item["id"]),
            backup_id=None,
            vm_id=None,
            vm_name="",
            captured_at=None,
            problem=str(item["problem"]),
        )
        for item in row.damaged_points
    ]


def storage_info(row: Repository) -> Storage:
    used, logical = row.used_bytes or 0, row.logical_bytes or 0
    total, available = row.total_bytes, row.available_bytes
    share = None
    if total and available is not None:
        share = round(100 * (total - available) / total, 1)
    return Storage(
        repository_id=row.id,
        total_bytes=total,
        used_bytes=used,
        available_bytes=available,
        used_percent=share,
        backup_count=row.backup_count or 0,
        logical_bytes=logical,
        dedup_ratio=_ratio(row),
        last_check_at=row.last_check_at,
        measured_at=row.measured_at or row.created_at,
    )


def _ratio(row: Repository) -> float | None:
    if not row.used_bytes or not row.logical_bytes:
        return None  # without a backup in it, its own records say nothing of deduplication
    return round(row.logical_bytes / row.used_bytes, 2)


def _info(row: Repository, *, vm_count: int, damaged_count: int) -> RepositoryInfo:
    return RepositoryInfo(
        id=row.id,
        name=row.name,
        type=cast("Literal['local', 's3']", row.kind),
        location=row.location,
        endpoint=str(row.settings.get("endpoint") or ""),
        region=str(row.settings.get("region") or ""),
        chunk_bytes=row.chunk_bytes,
        state=cast("Literal['unknown', 'online', 'offline']", row.state),
        state_message=row.state_message,
        state_at=row.state_at,
        total_bytes=row.total_bytes,
        available_bytes=row.available_bytes,
        used_bytes=row.used_bytes,
        logical_bytes=row.logical_bytes,
        dedup_ratio=_ratio(row),
        backup_count=row.backup_count or 0,
        vm_count=vm_count,
        measured_at=row.measured_at,
        last_check_at=row.last_check_at,
        last_check_result=row.last_check_result,
        immutable=row.is_immutable,
        immutable_message=row.immutable_message,
        immutable_days=row.immutable_days,
        immutable_mode=cast("LockModeName", row.immutable_mode) if row.immutable_days else None,
        immutable_tested_at=row.immutable_tested_at,
        locks_renewed_at=row.locks_renewed_at,
        damaged_count=damaged_count,
        created_at=row.created_at,
    )
