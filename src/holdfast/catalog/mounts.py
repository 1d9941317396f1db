"""Queries on restore mounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.models import RestoreMount
from holdfast.core.errors import Category, HoldfastError, Retry


@dataclass(kw_only=True, eq=False)
class TooManyMounts(HoldfastError):
    code = "too_many_mounts"
    category = Category.CONFLICT
    retry = Retry.LATER
    template = "{count} restore points are open for browsing, which is the limit"
    hint = "Close one under Active mounts, or wait for one to expire"
    count: int


@dataclass(kw_only=True, eq=False)
class MountExpired(HoldfastError):
    code = "mount_expired"
    category = Category.NOT_FOUND
    template = "the mount {mount_id} has expired or was closed"
    hint = "Open the restore point again; nothing was lost"
    mount_id: str


def find_same(
    session: Session, run_id: str, disks: Sequence[str], user_id: str, now: datetime
) -> RestoreMount | None:
    """The user's living mount of the same disks of the same point."""
    rows = session.scalars(
        select(RestoreMount).where(
            RestoreMount.run_id == run_id,
            RestoreMount.created_by == user_id,
            RestoreMount.expires_at > now,
            RestoreMount.state == "mounted",
        )
    )
    return next((row for row in rows if list(row.disks) == list(disks)), None)


def find_mount(session: Session, mount_id: str, user_id: str | None, now: datetime) -> RestoreMount:
    """`user_id` None: whoever's it is. Raises MountExpired, also for another user's."""
    row = session.get(RestoreMount, mount_id)
    if row is None or row.expires_at <= now or (user_id is not None and row.created_by != user_id):
        raise MountExpired(mount_id=mount_id)
    return row


def list_mounts(session: Session, user_id: str | None, now: datetime) -> Sequence[RestoreMount]:
    """Newest first."""
    query = select(RestoreMount).where(RestoreMount.expires_at > now)
    if user_id is not None:
        query = query.where(RestoreMount.created_by == user_id)
    return session.scalars(query.order_by(RestoreMount.created_at.desc())).all()


def require_room(session: Session, limit: int, now: datetime) -> None:
    """Raises TooManyMounts."""
    count = (
        session.scalar(
            select(func.count()).select_from(RestoreMount).where(RestoreMount.expires_at > now)
        )
        or 0
    )
    if count >= limit:
        raise TooManyMounts(count=count)


def slide(session: Session, mount_id: str, now: datetime, idle: timedelta) -> None:
    """It was used: it lives on from now."""
    row = session.get(RestoreMount, mount_id)
    if row is None:
        raise NotInCatalogue(kind="mount", id=mount_id)
    row.used_at, row.expires_at = now, now + idle


def slide_all(session: Session, mount_ids: Sequence[str], now: datetime, idle: timedelta) -> None:
    """They are in use. What is no mount is passed over."""
    for mount_id in mount_ids:
        row = session.get(RestoreMount, mount_id)
        if row is not None:
            row.used_at, row.expires_at = now, now + idle
    session.flush()


def has_expired(session: Session, now: datetime) -> bool:
    query = select(RestoreMount.id).where(RestoreMount.expires_at <= now).limit(1)
    return session.scalar(query) is not None


def remove_expired(session: Session, now: datetime) -> dict[str, str]:
    """Whose each of them was, by its id."""
    expired = select(RestoreMount.id, RestoreMount.created_by).where(RestoreMount.expires_at <= now)
    gone = {mount_id: owner for mount_id, owner in session.execute(expired)}  # noqa: C416 - rows are no pairs to pyright
    if gone:
        session.execute(delete(RestoreMount).where(RestoreMount.id.in_(gone)))
    return gone
