"""Whether the service and what it relies on work, from what the catalogue knows: nothing is
connected to for an answer. Enter at `health_checks`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.api.context import ServiceContext
from holdfast.api.schemas.system import HealthCheck
from holdfast.catalog.looks import disk_space
from holdfast.catalog.models import Platform, Repository, Worker
from holdfast.catalog.resources import list_workers
from holdfast.core.units import GIB, format_bytes

Status = Literal["ok", "degraded", "failing"]
WorkerState = Literal["alive", "stopping", "lost"]
LOST_AFTER = timedelta(seconds=30)
_LEAST_FREE = 1 * GIB
_ESSENTIAL = frozenset({"database"})


def worker_state(worker: Worker, now: datetime) -> WorkerState:
    """As far as another host's clock can be believed; who takes over dead ones counts by their
    own."""
    if now - worker.heartbeat_at > LOST_AFTER:
        return "lost"
    return "stopping" if worker.stopping else "alive"


def health_checks(session: Session, context: ServiceContext) -> list[HealthCheck]:
    return [
        HealthCheck(name="database", ok=True, message="it answers"),
        _workers(session, context.clock.now()),
        _repositories(session),
        _platforms(session),
        _state_folder(context),
    ]


def status_of(checks: Sequence[HealthCheck]) -> Status:
    if any(not check.ok and check.name in _ESSENTIAL for check in checks):
        return "failing"
    return "ok" if all(check.ok for check in checks) else "degraded"


def _workers(session: Session, now: datetime) -> HealthCheck:
    alive = sum(worker_state(item, now) == "alive" for item in list_workers(session))
    message = f"{alive} alive" if alive else "none is running: runs wait until one is started"
    return HealthCheck(name="workers", ok=alive > 0, message=message)


def _repositories(session: Session) -> HealthCheck:
    names = list(
        session.scalars(
            select(Repository.name).where(Repository.state == "offline").order_by(Repository.name)
        )
    )
    return HealthCheck(name="repositories", ok=not names, message=_named(names, "offline"))


def _platforms(session: Session) -> HealthCheck:
    names = list(
        session.scalars(
            select(Platform.name).where(Platform.state == "unreachable").order_by(Platform.name)
        )
    )
    return HealthCheck(name="platforms", ok=not names, message=_named(names, "unreachable"))


def _state_folder(context: ServiceContext) -> HealthCheck:
    _, available = disk_space(str(context.settings.state_root))
    free = available or 0
    message = f"{format_bytes(free)} free in {context.settings.state_root}"
    return HealthCheck(name="state folder", ok=free >= _LEAST_FREE, message=message)


def _named(names: Sequence[str], what: str) -> str:
    return f"{what}: {', '.join(names)}" if names else f"none is {what}"
