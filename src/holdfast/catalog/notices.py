"""What changed, for open pages. Enter at `announce`, in the transaction that changes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from holdfast.catalog.audit import lock_journal
from holdfast.catalog.models import Notice
from holdfast.core.clock import Clock

Change = Literal["created", "changed", "removed"]
_KEEP = timedelta(hours=1)


def announce(
    session: Session,
    noun: str,
    object_id: str,
    action: Change,
    *,
    clock: Clock,
    vm_id: str | None = None,
    user_id: str | None = None,
) -> None:
    """Becomes the event `<noun>_changed`. With a `user_id` only that user and who manages access
    are told, with a `vm_id` who sees the VM; without either everybody who may view, so it carries
    no more than the id. Call it last, like `audit.record`."""
    session.flush()
    lock_journal(session)
    session.add(
        Notice(
            at=clock.now(),
            noun=noun,
            object_id=object_id,
            action=action,
            vm_id=vm_id,
            user_id=user_id,
        )
    )
    session.flush()


def newest_seq(session: Session) -> int:
    return session.scalar(select(func.max(Notice.seq))) or 0


def notices_after(session: Session, seq: int) -> Sequence[Notice]:
    return session.scalars(
        select(Notice).where(Notice.seq > seq).order_by(Notice.seq).limit(1000)
    ).all()


def forget_old(session: Session, now: datetime) -> None:
    session.execute(delete(Notice).where(Notice.at < now - _KEEP))
