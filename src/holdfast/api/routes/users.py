"""Users and their roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, status

from holdfast.api.access import Caller, Principal, requires
from holdfast.api.access.passwords import generate_password, require_acceptable
from holdfast.api.access.views import parse_grants, user_info
from holdfast.api.context import Context, ServiceContext
from holdfast.api.routes.auth import SignsInElsewhere
from holdfast.api.schemas.access import UserCreate, UserCreated, UserInfo, UserUpdate, UserUpdated
from holdfast.api.schemas.common import Id, Page
from holdfast.catalog import audit, sessions, users
from holdfast.catalog.models import User
from holdfast.catalog.notices import Change, announce
from holdfast.catalog.paging import PageRequest
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Access, Grant, Permission, ScopeKind

router = APIRouter(
    prefix="/users", tags=["access"], dependencies=[requires(Permission.ACCESS_MANAGE)]
)
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=100)]


@router.get("")
def list_users(
    context: Context,
    text: Annotated[str, Query(max_length=200)] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[UserInfo]:
    with context.database.reading() as session:
        page = users.list_users(session, PageRequest(limit=limit, cursor=cursor), text=text)
        grants = users.grants_of_users(session, [user.id for user in page.rows])
    items = [user_info(user, grants[user.id]) for user in page.rows]
    return Page[UserInfo](items=items, total=page.total, next_cursor=page.next_cursor)


@router.post("", status_code=status.HTTP_201_CREATED)
def create_user(body: UserCreate, caller: Caller, context: Context) -> UserCreated:
    """Without a password one is made, which this answer shows once."""
    generated = body.password is None
    password = body.password.get_secret_value() if body.password else generate_password()
    require_acceptable(password, body.name)
    grants = parse_grants(body.grants)
    users.require_within(grants, caller.access)
    hashed = context.passwords.hash(password)
    with context.database.writing() as session:
        user = users.add_user(
            session,
            name=body.name,
            display_name=body.display_name,
            password_hash=hashed,
            grants=grants,
            clock=context.clock,
            must_change_password=True,
        )
        _record(context, session, caller, "user.create", user, {"grants": _words(grants)})
        _announce(context, session, user, "created")
    info = user_info(user, grants)
    return UserCreated(**info.model_dump(), password=password if generated else None)


@router.get("/{user_id}")
def get_user(user_id: Id, context: Context) -> UserInfo:
    with context.database.reading() as session:
        user = users.find_user(session, user_id)
        return user_info(user, users.grants_of(session, user_id))


@router.patch("/{user_id}")
def update_user(user_id: Id, body: UserUpdate, caller: Caller, context: Context) -> UserUpdated:
    """What is left out stays. Disabling and a new password end the user's sessions at once."""
    password = generate_password() if body.reset_password else None
    hashed = context.passwords.hash(password) if password else None
    with context.database.writing() as session:
        user = users.find_user(session, user_id)
        _require_above(caller, Access(grants=users.grants_of(session, user.id)))
        if body.grants is not None:
            _change_grants(context, session, caller, user, parse_grants(body.grants))
        if body.disabled is not None:
            if body.disabled:
                users.require_administrator_besides(session, user)
                sessions.end_sessions_of(session, user.id)
            user.disabled = body.disabled
        if body.display_name is not None:
            user.display_name = body.display_name
        if hashed is not None:
            if user.oidc_subject is not None:
                raise SignsInElsewhere
            user.password_hash, user.must_change_password = hashed, True
            sessions.end_sessions_of(session, user.id)
            sessions.forgive(session, f"name:{user.name}")
        if body.reset_totp:
            user.totp_sealed, user.totp_confirmed = None, False
            sessions.forgive(session, f"code:{user.id}")
        session.flush()
        grants = users.grants_of(session, user.id)
        changes = sorted(body.model_dump(exclude_unset=True, exclude={"grants"}))
        details = {"changed": changes, "disabled": user.disabled, "grants": _words(grants)}
        _record(context, session, caller, "user.update", user, details)
        _announce(context, session, user, "changed")
    return UserUpdated(**user_info(user, grants).model_dump(), password=password)


@router.delete("/{user_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete_user(user_id: Id, caller: Caller, context: Context) -> None:
    """With sessions and tokens. The last administrator stays."""
    with context.database.writing() as session:
        user = users.find_user(session, user_id)
        _require_above(caller, Access(grants=users.grants_of(session, user.id)))
        if user.id == caller.user_id:
            raise InvalidInput(what="user_id", problem="is your own account: ask another")
        users.remove_user(session, user)
        _record(context, session, caller, "user.delete", user, {})
        _announce(context, session, user, "removed")


def _require_above(caller: Principal, theirs: Access) -> None:
    """Who may less than another must not take over their account. Raises GrantExceedsOwn."""
    users.require_within(theirs.grants, caller.access)


def _change_grants(
    context: ServiceContext,
    session: sessions.Session,
    caller: Principal,
    user: User,
    grants: list[Grant],
) -> None:
    users.require_within(grants, caller.access)
    stays = any(
        grant.role.value == "administrator" and grant.scope is ScopeKind.ALL for grant in grants
    )
    if not stays:
        users.require_administrator_besides(session, user)
    users.set_grants(session, user, grants, context.clock)


def _record(
    context: ServiceContext,
    session: sessions.Session,
    caller: Principal,
    action: str,
    user: User,
    details: Mapping[str, object],
) -> None:
    audit.record(
        session,
        caller,
        action,
        clock=context.clock,
        object_kind="user",
        object_id=user.id,
        details={"name": user.name, **details},
    )


def _announce(
    context: ServiceContext, session: sessions.Session, user: User, action: Change
) -> None:
    announce(session, "user", user.id, action, clock=context.clock, user_id=user.id)


def _words(grants: list[Grant]) -> list[str]:
    return [f"{grant.role.value}:{grant.scope.value}:{grant.value}" for grant in grants]
