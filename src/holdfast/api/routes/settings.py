"""Settings that are changed while the service runs, and what this service is."""

from __future__ import annotations

import platform
import socket

from fastapi import APIRouter

from holdfast import __version__
from holdfast.api.access import Caller, requires, signed_in
from holdfast.api.context import Context
from holdfast.api.runtime_settings import (
    RESTORE_ROOTS,
    RuntimeSettings,
    change_runtime_settings,
    runtime_settings,
)
from holdfast.api.schemas.system import About, ServiceSettings, ServiceSettingsUpdate
from holdfast.catalog.audit import record
from holdfast.core.clock import SystemClock
from holdfast.policy.access import Permission

router = APIRouter(tags=["settings"])
_MANAGE = [requires(Permission.SYSTEM_MANAGE, everywhere=True)]
STARTED_AT = SystemClock().now()


@router.get("/settings", dependencies=_MANAGE)
def get_settings(context: Context) -> ServiceSettings:
    with context.database.reading() as session:
        return _shown(runtime_settings(session))


@router.patch("/settings", dependencies=_MANAGE)
def update_settings(
    body: ServiceSettingsUpdate, context: Context, caller: Caller
) -> ServiceSettings:
    """Change those that are sent."""
    changes = body.model_dump(exclude_none=True)
    with context.database.writing() as session:
        changed = change_runtime_settings(session, changes, context.clock)
        record(
            session,
            caller,
            "settings.update",
            clock=context.clock,
            object_kind="settings",
            details=changes,
        )
    return _shown(changed)


@router.get("/system/about", dependencies=[signed_in()])
def get_about(context: Context) -> About:
    return About(
        version=__version__,
        licence="AGPL-3.0-or-later",
        started_at=STARTED_AT,
        database="sqlite" if context.database.is_sqlite else "postgresql",
        host=socket.gethostname(),
        python=platform.python_version(),
    )


def _shown(settings: RuntimeSettings) -> ServiceSettings:
    return ServiceSettings(
        protected_within_hours=settings.protected_within_hours,
        platform_limit=settings.platform_limit,
        repository_limit=settings.repository_limit,
        mount_limit=settings.mount_limit,
        mount_idle_minutes=settings.mount_idle_minutes,
        restore_roots=[str(root) for root in RESTORE_ROOTS],
        retry_attempts=settings.retry_attempts,
        retry_delay_seconds=settings.retry_delay_seconds,
        log_keep_days=settings.log_keep_days,
    )
