"""Until when restore points cannot be deleted by anybody, by what the storage itself says."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from holdfast.api.context import ServiceContext
from holdfast.api.schemas.backups import BackupJob
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.core.errors import HoldfastError
from holdfast.repository.locking import still_locked
from holdfast.repository.session import point_key


def immutable_until(context: ServiceContext, row: RepositoryRow, point_id: str) -> datetime | None:
    """None also when the storage cannot be asked now: deleting asks it again."""
    if row.state == "offline":
        return None
    with suppress(HoldfastError):
        opened = context.repositories.get(row)
        if opened.locks.has_ever_been:
            key = point_key(point_id)
            return still_locked(opened.store, [key], opened.store.now()).get(key)
    return None


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
