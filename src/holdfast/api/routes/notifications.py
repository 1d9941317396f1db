"""Where messages go when something happened. Addresses are write-only."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session

from holdfast.api.access import Caller, Principal, requires
from holdfast.api.context import Context, ServiceContext
from holdfast.api.paging import ShortPage, part_of
from holdfast.api.schemas.common import Page
from holdfast.api.schemas.system import (
    NotificationBody,
    NotificationEvent,
    NotificationInfo,
    NotificationTest,
)
from holdfast.catalog import notifications
from holdfast.catalog.audit import record
from holdfast.catalog.inventory import flush_unique
from holdfast.catalog.models import NotificationTarget
from holdfast.catalog.waiting_messages import count_waiting
from holdfast.core.errors import InvalidInput
from holdfast.core.ids import uuid7
from holdfast.jobs.notifications import COLUMN, TABLE, Notifications, service_of
from holdfast.policy.access import Permission

router = APIRouter(prefix="/notifications", tags=["notifications"])
NotificationId = Annotated[str, Path(max_length=100)]
_MANAGE = [requires(Permission.SYSTEM_MANAGE, everywhere=True)]


@router.get("", dependencies=_MANAGE)
def list_notifications(context: Context, page: ShortPage) -> Page[NotificationInfo]:
    with context.database.reading() as session:
        waiting = count_waiting(session)
        items = [_info(row, waiting.get(row.id, 0)) for row in notifications.list_targets(session)]
    part = part_of(items, page)
    return Page(items=list(part.rows), total=part.total, next_cursor=part.next_cursor)


@router.post("", status_code=201, dependencies=_MANAGE)
def create_notification(
    body: NotificationBody, context: Context, caller: Caller
) -> NotificationInfo:
    """Add an address, and which events it hears of."""
    if body.url is None:
        raise InvalidInput(what="url", problem="say where messages go: an Apprise URL")
    url = body.url.get_secret_value()
    row = NotificationTarget(
        id=str(uuid7(context.clock)),
        service=service_of(url),
        created_at=context.clock.now(),
        last_error="",
    )
    _fill(row, body, context)
    with context.database.writing() as session:
        session.add(row)
        flush_unique(session, kind="notification", name=body.name)
        _record(session, context, caller, row, "create")
        return _info(row, 0)


@router.patch("/{notification_id}", dependencies=_MANAGE)
def update_notification(
    notification_id: NotificationId, body: NotificationBody, context: Context, caller: Caller
) -> NotificationInfo:
    """Change it. The address stays when it is left out."""
    service = service_of(body.url.get_secret_value()) if body.url else None
    with context.database.writing() as session:
        row = notifications.find_target(session, notification_id)
        row.service = service or row.service
        _fill(row, body, context)
        flush_unique(session, kind="notification", name=body.name)
        _record(session, context, caller, row, "update")
        return _info(row, count_waiting(session).get(row.id, 0))


@router.delete("/{notification_id}", status_code=204, dependencies=_MANAGE)
def delete_notification(notification_id: NotificationId, context: Context, caller: Caller) -> None:
    with context.database.writing() as session:
        row = notifications.find_target(session, notification_id)
        _record(session, context, caller, row, "delete")
        session.delete(row)


@router.post("/{notification_id}/test", dependencies=_MANAGE)
def test_notification(
    notification_id: NotificationId, context: Context, caller: Caller
) -> NotificationTest:
    """Send a test message now, also when it is switched off."""
    with context.database.writing() as session:
        row = notifications.find_target(session, notification_id)
        _record(session, context, caller, row, "test")
        session.flush()
        session.expunge(row)
    problem = Notifications(context.database, context.sealing, context.clock).test(row)
    message = problem or "The message was handed over; look whether it has arrived."
    return NotificationTest(ok=not problem, message=message)


def _fill(row: NotificationTarget, body: NotificationBody, context: ServiceContext) -> None:
    row.name, row.enabled = body.name, body.enabled
    row.events = list(dict.fromkeys(body.events))
    if body.url is not None:
        url = body.url.get_secret_value().encode()
        row.sealed_url = context.sealing.seal(TABLE, row.id, COLUMN, url)
        row.last_error = ""


def _info(row: NotificationTarget, waiting: int) -> NotificationInfo:
    return NotificationInfo(
        id=row.id,
        name=row.name,
        service=row.service,
        events=cast("list[NotificationEvent]", list(row.events)),
        enabled=row.enabled,
        created_at=row.created_at,
        last_sent_at=row.last_sent_at,
        last_error=row.last_error,
        waiting=waiting,
    )


def _record(
    session: Session, context: ServiceContext, caller: Principal, row: NotificationTarget, what: str
) -> None:
    record(
        session,
        caller,
        f"notification.{what}",
        clock=context.clock,
        object_kind="notification",
        object_id=row.id,
        details={"name": row.name, "service": row.service},
    )
