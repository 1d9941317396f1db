"""The settings of the service that routes need, with their defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from holdfast.catalog.settings import read_setting, write_setting
from holdfast.core.clock import Clock

KEY = "service"
RESTORE_ROOTS = (Path("/var/lib/holdfast/restores"), Path("/var/lib/libvirt/images"))
"""Folders below which disk images may be written on request of the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Changed while the service runs."""

    protected_within_hours: int = 24
    platform_limit: int = 4
    repository_limit: int = 4
    mount_limit: int = 20
    mount_idle_minutes: int = 60
    retry_attempts: int = 3
    retry_delay_seconds: int = 60
    log_keep_days: int = 90

    def stale_before(self, now: datetime) -> datetime:
        """A VM whose newest point is older than this is not protected any more."""
        return now - timedelta(hours=self.protected_within_hours)


def runtime_settings(session: Session) -> RuntimeSettings:
    kept = read_setting(session, KEY)
    known = {item.name for item in fields(RuntimeSettings)}
    return RuntimeSettings(**{name: value for name, value in kept.items() if name in known})


def change_runtime_settings(
    session: Session, changes: dict[str, int], clock: Clock
) -> RuntimeSettings:
    changed = RuntimeSettings(**{**asdict(runtime_settings(session)), **changes})
    write_setting(session, KEY, asdict(changed), clock)
    return changed
