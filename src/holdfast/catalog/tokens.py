"""API tokens for machines: `hf_<id>_<secret>`, of which a hash of the secret is kept. A token acts
within what its owner may do at the moment of use."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.models import ApiToken, RoleGrant, User
from holdfast.catalog.paging import PageOf, PageRequest, read_page
from holdfast.catalog.sessions import hash_secret
from holdfast.catalog.users import access_of, grant_of, grant_row
from holdfast.core.clock import Clock
from holdfast.core.ids import is_uuid, uuid7
from holdfast.policy.access import Access, Grant

PREFIX = "hf_"
_USED_EVERY = timedelta(minutes=1)


def add_token(
    session: Session,
    owner: User,
    *,
    name: str,
    grants: Sequence[Grant],
    expires_at: datetime | None,
    clock: Clock,
) -> tuple[ApiToken, str]:
    """The row, and the token to show once."""
    token_id, secret = str(uuid7(clock)), secrets.token_urlsafe(32)
    token = ApiToken(
        id=token_id,
        name=name,
        user_id=owner.id,
        secret_hash=hash_secret(secret),
        created_at=clock.now(),
        expires_at=expires_at,
    )
    session.add(token)
    session.flush()
    session.add_all(grant_row(grant, clock, token_id=token_id) for grant in dict.fromkeys(grants))
    session.flush()
    return token, f"{PREFIX}{token_id}_{secret}"


def find_token(session: Session, token_id: str) -> ApiToken:
    """Raises NotInCatalogue."""
    token = session.get(ApiToken, token_id)
    if token is None:
        raise NotInCatalogue(kind="token", id=token_id)
    return token


def grants_of_token(session: Session, token_id: str) -> list[Grant]:
    rows = session.scalars(
        select(RoleGrant).where(RoleGrant.token_id == token_id).order_by(RoleGrant.id)
    )
    return [grant_of(row) for row in rows]


def authenticate_token(
    session: Session, presented: str, now: datetime
) -> tuple[ApiToken, Access] | None:
    """The token if it is genuine, alive, and its owner enabled; with what it may do now."""
    token_id, _, secret = presented.removeprefix(PREFIX).partition("_")
    if not presented.startswith(PREFIX) or not is_uuid(token_id):
        return None
    row = session.execute(
        select(ApiToken, User)
        .join(User, User.id == ApiToken.user_id)
        .where(ApiToken.id == token_id, User.disabled.is_(False))
    ).first()
    if row is None or not hmac.compare_digest(row[0].secret_hash, hash_secret(secret)):
        return None
    token = row[0]
    if not is_alive(token, now):
        return None
    return token, access_of_token(session, token)


def access_of_token(session: Session, token: ApiToken) -> Access:
    own = access_of(session, token.user_id)
    return Access(grants=grants_of_token(session, token.id), limit=own)


def is_alive(token: ApiToken, now: datetime) -> bool:
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now)


def needs_use_mark(token: ApiToken, now: datetime) -> bool:
    return token.last_used_at is None or now - token.last_used_at >= _USED_EVERY


def list_tokens(session: Session, page: PageRequest, *, owner_id: str | None) -> PageOf[ApiToken]:
    """Of one owner, or all; newest first."""
    query = select(ApiToken)
    if owner_id is not None:
        query = query.where(ApiToken.user_id == owner_id)
    return read_page(session, query, [ApiToken.created_at.desc(), ApiToken.id], page)
