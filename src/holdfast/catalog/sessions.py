"""Browser sessions and the brake against guessing passwords. A session's id is random, given to the
browser once and kept only as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from holdfast.catalog.database import serialise
from holdfast.catalog.models import LoginThrottle, User
from holdfast.catalog.models import Session as SessionRow
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError, Retry

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=7)
SECOND_FACTOR_WITHIN = timedelta(minutes=5)
_SEEN_EVERY = timedelta(minutes=1)
_KEEP_ADDRESSES = timedelta(days=30)

WINDOW = timedelta(minutes=5)
_LONGEST_BLOCK = timedelta(minutes=15)
_FORGET_AFTER = timedelta(hours=1)


@dataclass(kw_only=True, eq=False)
class TooManyAttempts(HoldfastError):
    code = "too_many_attempts"
    retry = Retry.LATER
    template = "too many failed attempts"
    hint = (
        "Wait {retry_after_s} seconds. Locked out? On the service's host, "
        "`holdfast user reset-password NAME` sets a new password and lifts the limit"
    )
    retry_after_s: int


def hash_secret(secret: str) -> str:
    """SHA-256: fit for secrets that are random themselves, not for passwords."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def begin_session(
    session: Session,
    user: User,
    *,
    complete: bool,
    address: str,
    agent: str,
    clock: Clock,
) -> str:
    """The id for the cookie."""
    now = clock.now()
    secret = secrets.token_urlsafe(32)
    session.add(
        SessionRow(
            id_hash=hash_secret(secret),
            user_id=user.id,
            created_at=now,
            seen_at=now,
            expires_at=now + (IDLE if complete else SECOND_FACTOR_WITHIN),
            complete=complete,
            address=address[:64],
            agent="".join(c for c in agent if c.isprintable())[:300],
        )
    )
    session.flush()
    return secret


def find_session(session: Session, id_hash: str, now: datetime) -> tuple[SessionRow, User] | None:
    """If it is alive and its user may sign in."""
    row = session.execute(
        select(SessionRow, User)
        .join(User, User.id == SessionRow.user_id)
        .where(SessionRow.id_hash == id_hash, SessionRow.expires_at > now, User.disabled.is_(False))
    ).first()
    return (row[0], row[1]) if row else None


def needs_touch(row: SessionRow, now: datetime) -> bool:
    return row.complete and now - row.seen_at >= _SEEN_EVERY


def touch(session: Session, id_hash: str, now: datetime) -> None:
    """It was used: it lives on, up to its absolute end."""
    row = session.get(SessionRow, id_hash)
    if row is not None and row.complete:
        row.seen_at = now
        row.expires_at = min(now + IDLE, row.created_at + ABSOLUTE)


def sessions_of(session: Session, user_id: str, now: datetime) -> Sequence[SessionRow]:
    return session.scalars(
        select(SessionRow)
        .where(
            SessionRow.user_id == user_id,
            SessionRow.expires_at > now,
            SessionRow.complete.is_(True),
        )
        .order_by(SessionRow.seen_at.desc())
    ).all()


def end_session(session: Session, id_hash: str) -> None:
    session.execute(delete(SessionRow).where(SessionRow.id_hash == id_hash))


def end_sessions_of(session: Session, user_id: str, *, but: str | None = None) -> None:
    query = delete(SessionRow).where(SessionRow.user_id == user_id)
    session.execute(query.where(SessionRow.id_hash != but) if but else query)


def forget_old(session: Session, now: datetime) -> None:
    """Sessions stay for a while after their end: from where a user signed in is known by them."""
    session.execute(delete(SessionRow).where(SessionRow.expires_at < now - _KEEP_ADDRESSES))
    session.execute(
        delete(SessionRow).where(SessionRow.expires_at < now, SessionRow.complete.is_(False))
    )
    session.execute(delete(LoginThrottle).where(LoginThrottle.first_at < now - timedelta(days=1)))


def is_known_address(session: Session, user_id: str, address: str) -> bool:
    """Whether the user signed in from there before. The limit by name, which strangers could use
    to lock somebody out, does not hold there."""
    query = select(SessionRow.id_hash).where(
        SessionRow.user_id == user_id,
        SessionRow.address == address,
        SessionRow.complete.is_(True),
    )
    return session.execute(query.limit(1)).first() is not None


def begin_attempt(session: Session, key: str, limit: int, now: datetime) -> timedelta | None:
    """Count one attempt before it is judged, so that many at once are counted too. How long to
    wait, when it is one too many: beyond `limit` within the window, and each time for longer.
    The caller commits, then refuses."""
    serialise(session, key)
    row = session.get(LoginThrottle, key)
    if row is None:
        session.add(LoginThrottle(key=key, failures=1, first_at=now))
        session.flush()
        return None
    if row.blocked_until is not None and row.blocked_until > now:
        return row.blocked_until - now
    since = now - row.first_at
    if (since > WINDOW and row.failures <= limit) or since > _FORGET_AFTER:
        row.failures, row.first_at, row.blocked_until = 0, now, None
    row.failures += 1
    if row.failures <= limit:
        return None
    length = min(WINDOW * 2 ** min(row.failures - limit - 1, 4), _LONGEST_BLOCK)
    row.blocked_until = now + length
    session.flush()
    return length


def refuse_after(wait: timedelta | None) -> None:
    """Raises TooManyAttempts unless None."""
    if wait is not None:
        raise TooManyAttempts(retry_after_s=max(1, int(wait.total_seconds()) + 1))


def forgive(session: Session, key: str, *, one: bool = False) -> None:
    """After a success: all attempts counted by name, or the one that was no failure."""
    row = session.get(LoginThrottle, key)
    if row is None:
        return
    if one and row.failures > 1:
        row.failures -= 1
    else:
        session.delete(row)


def forget_attempts(session: Session, user_id: str, name: str) -> None:
    """All that is counted against a user, from wherever."""
    session.execute(
        delete(LoginThrottle).where(
            LoginThrottle.key.in_([f"name:{name}", f"code:{user_id}", f"own:{user_id}"])
            | LoginThrottle.key.startswith(f"name:{name}@", autoescape=True)
        )
    )
