"""Messages that could not be delivered: kept over restarts, tried again for a day, at growing
pauses. Addresses are not among what is kept.

Enter at `put_off` and `take_due`, within a writing transaction after `serialise(…, WAITING)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from holdfast.catalog.settings import read_setting, write_setting
from holdfast.core.clock import Clock, format_time, parse_time
from holdfast.core.ids import uuid7

WAITING = "notifications.waiting"
PAUSES = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=18),
)
"""Before each further try; after the last one the message is given up."""
_MOST = 200
"""Of all targets; the oldest go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingMessage:
    id: str
    target_id: str
    event: str
    title: str
    body: str
    bad: bool
    tries: int
    """Further tries that were begun."""
    next_at: str


def put_off(
    session: Session, target_id: str, *, event: str, title: str, body: str, bad: bool, clock: Clock
) -> datetime:
    """When it is tried again."""
    next_at = clock.now() + PAUSES[0]
    message = WaitingMessage(
        id=str(uuid7(clock)),
        target_id=target_id,
        event=event,
        title=title,
        body=body,
        bad=bad,
        tries=0,
        next_at=format_time(next_at),
    )
    _write(session, [*_read(session), message][-_MOST:], clock)
    return next_at


def take_due(session: Session, clock: Clock) -> list[tuple[WaitingMessage, datetime | None]]:
    """Those whose turn it is, each with the time of the try after this one; None for the last.
    All but the last stay until `settle` says that they were delivered: what a process that dies in
    between took is tried again."""
    now = clock.now()
    due: list[tuple[WaitingMessage, datetime | None]] = []
    kept: list[WaitingMessage] = []
    for message in _read(session):
        if parse_time(message.next_at) > now:
            kept.append(message)
            continue
        tries = message.tries + 1
        next_at = now + PAUSES[tries] if tries < len(PAUSES) else None
        due.append((message, next_at))
        if next_at is not None:
            kept.append(replace(message, tries=tries, next_at=format_time(next_at)))
    if due:
        _write(session, kept, clock)
    return due


def settle(session: Session, message_id: str, clock: Clock) -> None:
    """It was delivered, or nobody wants it any more."""
    _write(session, [item for item in _read(session) if item.id != message_id], clock)


def count_waiting(session: Session) -> Mapping[str, int]:
    """By target."""
    counts: dict[str, int] = {}
    for message in _read(session):
        counts[message.target_id] = counts.get(message.target_id, 0) + 1
    return counts


def _read(session: Session) -> list[WaitingMessage]:
    stored: list[Any] = read_setting(session, WAITING).get("messages", [])
    return [WaitingMessage(**item) for item in stored]


def _write(session: Session, messages: list[WaitingMessage], clock: Clock) -> None:
    document = {"messages": [asdict(message) for message in messages]}
    write_setting(session, WAITING, document, clock)
