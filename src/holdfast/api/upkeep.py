"""What the service does by itself: ends mounts that have expired, looks whether repositories are
there, has locks renewed, and tells of what has come about without a run. Enter at `Upkeep.start`.

Several processes of the service may do this side by side: what was told is kept in the catalogue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from holdfast.api.runtime_settings import runtime_settings
from holdfast.catalog import inventory, mounts, notifications, repositories
from holdfast.catalog.database import serialise
from holdfast.catalog.models import Repository, VirtualMachine
from holdfast.catalog.notices import announce
from holdfast.catalog.points import count_damaged
from holdfast.core.errors import HoldfastError
from holdfast.core.units import format_bytes
from holdfast.jobs.lock_schedule import queue_due_locks
from holdfast.jobs.notifications import Message, Notifications

if TYPE_CHECKING:
    from holdfast.api.context import ServiceContext

_MOUNTS_S, _WATCH_S = 5.0, 60.0
_NEARLY_FULL = 0.1
"""Of the file system it is on, left."""
_SHOWN = 20
_log: Any = structlog.get_logger("holdfast.upkeep")


class Upkeep:
    """Starts and stops with the application."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._forever(end_expired_mounts, _MOUNTS_S)),
            asyncio.create_task(self._forever(watch, _WATCH_S)),
            asyncio.create_task(self._forever(renew_locks, _WATCH_S)),
            asyncio.create_task(self._forever(retry_messages, _WATCH_S)),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forever(self, step: Callable[[ServiceContext], object], pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await run_in_threadpool(step, self._context)
            except HoldfastError as error:
                _log.warning("upkeep pauses", problem=str(error))
            except Exception as error:  # noqa: BLE001 - one bad row must not end it for good
                _log.error("upkeep", exc_info=error)


def renew_locks(context: ServiceContext) -> list[str]:
    """Queue the runs that are due; their ids."""
    return queue_due_locks(context.database, context.clock)


def retry_messages(context: ServiceContext) -> int:
    """Try again to deliver what could not be delivered; how many were."""
    return Notifications(context.database, context.sealing, context.clock).retry_due()


def end_expired_mounts(context: ServiceContext) -> list[str]:
    """Their ids. What is being read from right now, a long download, is in use and lives on."""
    now = context.clock.now()
    busy = [item for item in context.mounts.served_ids() if context.mounts.is_busy(item)]
    with context.database.reading() as session:
        if not busy and not mounts.has_expired(session, now):
            return []
    with context.database.writing() as session:
        idle = timedelta(minutes=runtime_settings(session).mount_idle_minutes)
        mounts.slide_all(session, busy, now, idle)
        gone = mounts.remove_expired(session, now)
        for mount_id, owner in gone.items():
            announce(session, "mount", mount_id, "removed", clock=context.clock, user_id=owner)
    for mount_id in gone:
        context.mounts.end(mount_id)
    return list(gone)


def watch(context: ServiceContext) -> list[Message]:
    """Look, and tell whoever wants to know of what is new. Returns what was told."""
    for repository_id in _repository_ids(context):
        look_at_repository(context, repository_id)
    messages: list[Message] = []
    with context.database.writing() as session:
        serialise(session, "notifications")
        messages += _offline(session, context)
        messages += _nearly_full(session, context)
        messages += _damaged_points(session, context)
        messages += _unprotected(session, context)
    told = Notifications(context.database, context.sealing, context.clock)
    for message in messages:
        told.tell(message)
    return messages


def look_at_repository(context: ServiceContext, repository_id: str) -> None:
    """Whether it is there, noted when that has changed."""
    with context.database.reading() as session:
        row = session.get(Repository, repository_id)
        if row is None:
            return
        session.expunge(row)
    problem = ""
    try:
        context.repositories.get(row)
    except HoldfastError as error:
        problem = error.message
    state = "offline" if problem else "online"
    if (row.state, row.state_message) == (state, problem):
        return
    with context.database.writing() as session:
        found = session.get(Repository, repository_id)
        if found is None:
            return
        found.state, found.state_message = state, problem
        found.state_at = context.clock.now()
        announce(session, "repository", repository_id, "changed", clock=context.clock)


def _repository_ids(context: ServiceContext) -> list[str]:
    with context.database.reading() as session:
        return [row.id for row in repositories.list_repositories(session)]


def _offline(session: Session, context: ServiceContext) -> list[Message]:
    rows = {
        row.id: f"{row.name}: {row.state_message}"
        for row in repositories.list_repositories(session)
        if row.state == "offline"
    }
    new = notifications.newly_true(session, "repository_offline", rows, context.clock)
    return _message(
        "repository_offline", "Holdfast: a repository is offline", [rows[item] for item in new]
    )


def _damaged_points(session: Session, context: ServiceContext) -> list[Message]:
    counts = count_damaged(session)
    rows = {
        row.id: f"{row.name}: {counts[row.id]} restore points cannot be read"
        for row in repositories.list_repositories(session)
        if counts.get(row.id)
    }
    new = notifications.newly_true(session, "points_damaged", rows, context.clock)
    title = "Holdfast: restore points cannot be read"
    return _message("integrity_problem", title, [rows[item] for item in new])


def _nearly_full(session: Session, context: ServiceContext) -> list[Message]:
    rows = {
        row.id: f"{row.name}: {format_bytes(row.available_bytes)} left of "
        f"{format_bytes(row.total_bytes)}"
        for row in repositories.list_repositories(session)
        if row.total_bytes
        and row.available_bytes is not None
        and row.available_bytes < _NEARLY_FULL * row.total_bytes
    }
    new = notifications.newly_true(session, "repository_nearly_full", rows, context.clock)
    title = "Holdfast: a repository is nearly full"
    return _message("repository_nearly_full", title, [rows[item] for item in new])


def _unprotected(session: Session, context: ServiceContext) -> list[Message]:
    """VMs without a recent backup, those that were added only lately left out."""
    stale_before = runtime_settings(session).stale_before(context.clock.now())
    rows: dict[str, str] = {}
    for state in ("stale", "unprotected"):
        query = select(VirtualMachine.id, VirtualMachine.name).where(
            VirtualMachine.managed.is_(True),
            VirtualMachine.added_at < stale_before,
            inventory.protection_is(state, stale_before),
        )
        for vm_id, name in session.execute(query):
            rows[vm_id] = name
    new = notifications.newly_true(session, "vm_unprotected", rows, context.clock)
    title = "Holdfast: VMs without a recent backup"
    return _message("vm_unprotected", title, sorted(rows[item] for item in new))


def _message(event: str, title: str, lines: list[str]) -> list[Message]:
    """One message for all of them; none for none."""
    if not lines:
        return []
    more = len(lines) - _SHOWN
    shown = [*lines[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return [Message(event=event, title=title, body="\n".join(shown), bad=True)]
