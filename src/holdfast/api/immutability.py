"""Until when one restore point cannot be deleted by anybody."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from holdfast.api.backups_shown import locked_now
from holdfast.api.context import ServiceContext
from holdfast.catalog.models import Repository, RestorePoint
from holdfast.core.errors import HoldfastError
from holdfast.repository.locking import points_locked_until


def immutable_until(
    context: ServiceContext, row: Repository, point: RestorePoint
) -> datetime | None:
    """By what is on record, for no lock is ever shortened; where a rule says that there should be
    one and none is on record, by the storage itself. None also when that cannot be asked now:
    deleting asks it again."""
    recorded = locked_now(point, context.clock.now())
    if recorded is not None or not row.immutable_days or row.state == "offline":
        return recorded
    with suppress(HoldfastError):
        opened = context.repositories.get(row)
        return points_locked_until(opened.store, opened.locks, [point.id]).get(point.id)
    return None
