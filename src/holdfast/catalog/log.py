"""The log that people read in the dashboard: lines of runs and workers, and how long they are kept.

Lines of a run are written with the run (`catalog.runs`), in the transaction that they tell of.
Free of secrets. Enter at `add_line`; whoever tidies up, at `forget_old_lines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from holdfast.catalog.models import LogEntry

Level = Literal["debug", "info", "warning", "error"]
MOST_LINES = 1_000_000
_AT_ONCE = 10_000
"""Deleted in one transaction: others wait for it."""


def add_line(
    session: Session,
    at: datetime,
    level: Level,
    message: str,
    *,
    source: Literal["service", "worker"],
    fields: Mapping[str, Any] | None = None,
) -> None:
    session.add(
        LogEntry(at=at, level=level, source=source, message=message, fields=dict(fields or {}))
    )


def forget_old_lines(
    session: Session, now: datetime, *, keep_days: int, most: int = MOST_LINES
) -> bool:
    """Delete lines older than that, and the oldest beyond `most`. True when more are left to be
    deleted in another transaction."""
    newest = session.scalar(select(func.max(LogEntry.seq))) or 0
    old = (LogEntry.at < now - timedelta(days=keep_days)) | (LogEntry.seq <= newest - most)
    seqs = session.scalars(
        select(LogEntry.seq).where(old).order_by(LogEntry.seq).limit(_AT_ONCE)
    ).all()
    if seqs:
        session.execute(delete(LogEntry).where(old, LogEntry.seq <= seqs[-1]))
    return len(seqs) == _AT_ONCE
