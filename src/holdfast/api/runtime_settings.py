"""The settings of the service that routes need, with their defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from holdfast.catalog.resources import LIMITS_KEY, Limits, read_limits
from holdfast.catalog.settings import read_setting, write_setting
from holdfast.core.clock import Clock

KEY = "service"
OWN_RESTORE_ROOT = Path("/var/lib/holdfast/restores")
"""Made when it is first needed; the others are those of whom they belong to."""
VM_IMAGES = Path("/var/lib/libvirt/images")
"""Where the disks of whole VMs are restored to."""
RESTORE_ROOTS = (OWN_RESTORE_ROOT, VM_IMAGES)
"""Folders below which disk images may be written on request of the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Changed while the service runs."""

    platform_limit: int
    repository_limit: int
    retry_attempts: int
    retry_delay_seconds: int
    protected_within_hours: int = 24
    mount_limit: int = 20
    mount_idle_minutes: int = 60
    log_keep_days: int = 90

    def stale_before(self, now: datetime) -> datetime:
        """A VM whose newest point is older than this is not protected any more."""
        return now - timedelta(hours=self.protected_within_hours)


def runtime_settings(session: Session) -> RuntimeSettings:
    limits = asdict(read_limits(session))
    known = {item.name for item in fields(RuntimeSettings)} - set(limits)
    kept = {name: value for name, value in read_setting(session, KEY).items() if name in known}
    return RuntimeSettings(**limits, **kept)


def change_runtime_settings(
    session: Session, changes: dict[str, int], clock: Clock
) -> RuntimeSettings:
    """Limits and retries are written where workers read them before each run."""
    changed = RuntimeSettings(**{**asdict(runtime_settings(session)), **changes})
    of_workers = {item.name for item in fields(Limits)}
    for key, mine in ((LIMITS_KEY, True), (KEY, False)):
        values = asdict(changed).items()
        part = {name: value for name, value in values if (name in of_workers) is mine}
        write_setting(session, key, part, clock)
    return changed
