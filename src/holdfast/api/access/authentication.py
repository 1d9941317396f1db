"""Who asks: finds the principal behind a session cookie or a token, for HTTP and for live events.
Looks into the database each time, so that revoking acts at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from holdfast.api.access.cookies import session_secret
from holdfast.api.access.requirement import Principal
from holdfast.catalog import sessions, tokens, users
from holdfast.catalog.database import Database
from holdfast.catalog.models import ApiToken, User
from holdfast.core.clock import Clock

_BEARER = "bearer "


def bearer_token(headers: Mapping[str, str]) -> str | None:
    value = headers.get("authorization", "")
    return value[len(_BEARER) :].strip() if value.lower().startswith(_BEARER) else None


def authenticate(
    database: Database, clock: Clock, *, scheme: str, headers: Mapping[str, str], address: str
) -> Principal | None:
    """A token before a cookie. None for whoever is not signed in, or not completely. Blocking."""
    presented = bearer_token(headers)
    if presented is not None:
        return by_token(database, clock, presented, address)
    secret = session_secret(scheme, headers)
    if secret is None:
        return None
    return by_session(database, clock, sessions.hash_secret(secret), address)


def by_token(database: Database, clock: Clock, presented: str, address: str) -> Principal | None:
    now = clock.now()
    with database.reading() as session:
        found = tokens.authenticate_token(session, presented, now)
        if found is None:
            return None
        token, access = found
        owner = users.find_user(session, token.user_id)
        principal = Principal(
            kind="token",
            id=token.id,
            name=f"{owner.name}/{token.name}",
            user_id=owner.id,
            access=access,
            address=address,
        )
        mark = tokens.needs_use_mark(token, now)
    if mark:
        with database.writing() as session:
            tokens.find_token(session, principal.id).last_used_at = now
    return principal


def by_session(
    database: Database, clock: Clock, id_hash: str, address: str, *, touch: bool = True
) -> Principal | None:
    now = clock.now()
    with database.reading() as session:
        found = sessions.find_session(session, id_hash, now)
        if found is None or not found[0].complete:
            return None
        row, user = found
        principal = Principal(
            kind="user",
            id=user.id,
            name=user.name,
            user_id=user.id,
            access=users.access_of(session, user.id),
            address=address,
            session_hash=id_hash,
            must_change_password=user.must_change_password,
        )
        needs_touch = touch and sessions.needs_touch(row, now)
    if needs_touch:
        with database.writing() as session:
            sessions.touch(session, id_hash, now)
    return principal


def refreshed_token(database: Database, clock: Clock, before: Principal) -> Principal | None:
    """The same token as it is now, for a connection that is open already."""
    with database.reading() as session:
        token = session.get(ApiToken, before.id)
        owner = session.get(User, token.user_id) if token is not None else None
        if token is None or owner is None or owner.disabled:
            return None
        if not tokens.is_alive(token, clock.now()):
            return None
        return replace(before, access=tokens.access_of_token(session, token))
