"""Where messages go, and which conditions were told already. Addresses are sealed by whoever
writes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.models import NotificationTarget
from holdfast.catalog.settings import read_setting, write_setting
from holdfast.core.clock import Clock

_TOLD = "notifications.told"


def list_targets(session: Session) -> Sequence[NotificationTarget]:
    return session.scalars(
        select(NotificationTarget).order_by(NotificationTarget.name, NotificationTarget.id)
    ).all()


def find_target(session: Session, target_id: str) -> NotificationTarget:
    """Raises NotInCatalogue."""
    row = session.get(NotificationTarget, target_id)
    if row is None:
        raise NotInCatalogue(kind="notification", id=target_id)
    return row


def targets_of(session: Session, event: str) -> Sequence[NotificationTarget]:
    """Those that are switched on and want the event."""
    rows = session.scalars(select(NotificationTarget).where(NotificationTarget.enabled.is_(True)))
    return [row for row in rows if event in row.events]


def record_sent(session: Session, target_id: str, problem: str, now: datetime) -> None:
    """`problem` is empty when it was delivered."""
    row = session.get(NotificationTarget, target_id)
    if row is None:
        return
    row.last_error = problem
    if not problem:
        row.last_sent_at = now


def newly_true(session: Session, event: str, present: Collection[str], clock: Clock) -> list[str]:
    """Of the objects for which a condition holds now, those for which it did not the last time;
    asked within a writing transaction by one process at a time. What holds no longer may come
    anew."""
    told = read_setting(session, _TOLD)
    before = {str(item) for item in told.get(event, [])}
    now = set(present)
    if now != before:
        write_setting(session, _TOLD, {**told, event: sorted(now)}, clock)
    return sorted(now - before)
