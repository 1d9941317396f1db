"""Tokens for machines. Everybody makes their own, within what they may do; who manages access sees
and revokes all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, status
from sqlalchemy.orm import Session

from holdfast.api.access import Caller, signed_in
from holdfast.api.access.views import grant_info, parse_grants
from holdfast.api.context import Context, ServiceContext
from holdfast.api.schemas.access import TokenCreate, TokenCreated, TokenInfo
from holdfast.api.schemas.common import Id, Page
from holdfast.catalog import audit, tokens, users
from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.models import ApiToken, User
from holdfast.catalog.notices import Change, announce
from holdfast.catalog.paging import PageRequest
from holdfast.policy.access import Permission

router = APIRouter(prefix="/tokens", tags=["access"], dependencies=[signed_in()])


@router.get("")
def list_tokens(
    caller: Caller,
    context: Context,
    everybody: bool = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[TokenInfo]:
    """The caller's own; with `everybody` all, for who manages access."""
    everybody = everybody and caller.access.allows_everywhere(Permission.ACCESS_MANAGE)
    with context.database.reading() as session:
        page = tokens.list_tokens(
            session,
            PageRequest(limit=limit, cursor=cursor),
            owner_id=None if everybody else caller.user_id,
        )
        names = _names(session, page.rows)
        items = [_info(session, token, names[token.user_id]) for token in page.rows]
    return Page[TokenInfo](items=items, total=page.total, next_cursor=page.next_cursor)


@router.post("", status_code=status.HTTP_201_CREATED)
def create_token(body: TokenCreate, caller: Caller, context: Context) -> TokenCreated:
    """The token itself is in this answer only."""
    grants = parse_grants(body.grants)
    users.require_within(grants, caller.access)
    now = context.clock.now()
    expires_at = now + timedelta(days=body.expires_in_days) if body.expires_in_days else None
    with context.database.writing() as session:
        owner = users.find_user(session, caller.user_id)
        token, secret = tokens.add_token(
            session,
            owner,
            name=body.name,
            grants=grants,
            expires_at=expires_at,
            clock=context.clock,
        )
        audit.record(
            session,
            caller,
            "token.create",
            clock=context.clock,
            object_kind="token",
            object_id=token.id,
            details={"name": token.name},
        )
        _announce(context, session, token, "created")
        info = _info(session, token, owner.name)
    return TokenCreated(**info.model_dump(), token=secret)


@router.delete("/{token_id}", status_code=status.HTTP_204_NO_CONTENT)
def revoke_token(token_id: Id, caller: Caller, context: Context) -> None:
    """It stops working at once."""
    with context.database.writing() as session:
        token = tokens.find_token(session, token_id)
        manages = caller.access.allows_everywhere(Permission.ACCESS_MANAGE)
        if token.user_id != caller.user_id and not manages:
            raise NotInCatalogue(kind="token", id=token_id)
        if token.revoked_at is None:
            token.revoked_at = context.clock.now()
        audit.record(
            session,
            caller,
            "token.revoke",
            clock=context.clock,
            object_kind="token",
            object_id=token.id,
            details={"name": token.name},
        )
        _announce(context, session, token, "removed")


def _announce(context: ServiceContext, session: Session, token: ApiToken, action: Change) -> None:
    announce(session, "token", token.id, action, clock=context.clock, user_id=token.user_id)


def _names(session: Session, rows: Sequence[ApiToken]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for token in rows:
        if token.user_id not in found:
            user = session.get(User, token.user_id)
            found[token.user_id] = user.name if user is not None else ""
    return found


def _info(session: Session, token: ApiToken, owner_name: str) -> TokenInfo:
    return TokenInfo(
        id=token.id,
        name=token.name,
        user_id=token.user_id,
        user_name=owner_name,
        grants=[grant_info(grant) for grant in tokens.grants_of_token(session, token.id)],
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
    )
