"""Queries on users and their roles. Two rules are kept here: one local administrator who can sign
in always remains, and nobody hands on more than they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NameTaken, NotInCatalogue
from holdfast.catalog.models import ApiToken, RoleGrant, User
from holdfast.catalog.models import Session as SessionRow
from holdfast.catalog.paging import PageOf, PageRequest, read_page
from holdfast.core.clock import Clock
from holdfast.core.errors import Category, HoldfastError
from holdfast.core.ids import uuid7
from holdfast.policy.access import Access, Grant, Role, ScopeKind


@dataclass(kw_only=True, eq=False)
class LastAdministrator(HoldfastError):
    code = "last_administrator"
    category = Category.CONFLICT
    template = "{name} is the last administrator who can sign in with a password here"
    hint = "Make another user administrator first"
    name: str


@dataclass(kw_only=True, eq=False)
class GrantExceedsOwn(HoldfastError):
    code = "grant_exceeds_own"
    template = "the role {role} would allow more than you may do yourself"
    hint = "Choose a role or a scope within your own"
    role: str


def find_user(session: Session, user_id: str) -> User:
    """Raises NotInCatalogue."""
    user = session.get(User, user_id)
    if user is None:
        raise NotInCatalogue(kind="user", id=user_id)
    return user


def find_user_by_name(session: Session, name: str) -> User | None:
    return session.scalar(select(User).where(User.name == name.lower()))


def find_external_user(session: Session, issuer: str, subject: str) -> User | None:
    return session.scalar(
        select(User).where(User.oidc_issuer == issuer, User.oidc_subject == subject)
    )


def list_users(session: Session, page: PageRequest, *, text: str = "") -> PageOf[User]:
    query = select(User)
    if text:
        query = query.where(
            User.name.contains(text.lower(), autoescape=True)
            | func.lower(User.display_name).contains(text.lower(), autoescape=True)
        )
    return read_page(session, query, [User.name, User.id], page)


def count_users(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(User)) or 0


def add_user(
    session: Session,
    *,
    name: str,
    display_name: str,
    password_hash: str | None,
    grants: Sequence[Grant],
    clock: Clock,
    must_change_password: bool = False,
    issuer: str | None = None,
    subject: str | None = None,
) -> User:
    """Raises NameTaken."""
    if find_user_by_name(session, name) is not None:
        raise NameTaken(kind="user", name=name)
    user = User(
        id=str(uuid7(clock)),
        name=name.lower(),
        display_name=display_name,
        password_hash=password_hash,
        must_change_password=must_change_password,
        disabled=False,
        totp_confirmed=False,
        totp_last_step=0,
        oidc_issuer=issuer,
        oidc_subject=subject,
        created_at=clock.now(),
    )
    session.add(user)
    session.flush()
    set_grants(session, user, grants, clock)
    return user


def grants_of_users(session: Session, user_ids: Sequence[str]) -> dict[str, list[Grant]]:
    found: dict[str, list[Grant]] = {user_id: [] for user_id in user_ids}
    rows = session.scalars(
        select(RoleGrant).where(RoleGrant.user_id.in_(user_ids)).order_by(RoleGrant.id)
    )
    for row in rows:
        found[row.user_id or ""].append(grant_of(row))
    return found


def grants_of(session: Session, user_id: str) -> list[Grant]:
    return grants_of_users(session, [user_id])[user_id]


def access_of(session: Session, user_id: str) -> Access:
    return Access(grants=grants_of(session, user_id))


def set_grants(session: Session, user: User, grants: Sequence[Grant], clock: Clock) -> None:
    session.execute(delete(RoleGrant).where(RoleGrant.user_id == user.id))
    session.add_all(grant_row(grant, clock, user_id=user.id) for grant in dict.fromkeys(grants))
    session.flush()


def grant_row(
    grant: Grant, clock: Clock, *, user_id: str | None = None, token_id: str | None = None
) -> RoleGrant:
    return RoleGrant(
        id=str(uuid7(clock)),
        user_id=user_id,
        token_id=token_id,
        role=grant.role.value,
        scope_kind=grant.scope.value,
        scope_value=grant.value,
    )


def grant_of(row: RoleGrant) -> Grant:
    return Grant(role=Role(row.role), scope=ScopeKind(row.scope_kind), value=row.scope_value)


def require_within(grants: Sequence[Grant], own: Access) -> None:
    """Raises GrantExceedsOwn."""
    for grant in grants:
        if not Access(grants=[grant]).within(own):
            raise GrantExceedsOwn(role=grant.role.value)


def require_administrator_besides(session: Session, user: User) -> None:
    """Before the user is removed, disabled or loses the role. Raises LastAdministrator when no
    other enabled local user is administrator of everything."""
    others = session.scalar(
        select(func.count(func.distinct(User.id)))
        .join(RoleGrant, RoleGrant.user_id == User.id)
        .where(
            User.id != user.id,
            User.disabled.is_(False),
            User.password_hash.is_not(None),
            RoleGrant.role == Role.ADMINISTRATOR.value,
            RoleGrant.scope_kind == ScopeKind.ALL.value,
        )
    )
    if not others and is_local_administrator(session, user):
        raise LastAdministrator(name=user.name)


def is_local_administrator(session: Session, user: User) -> bool:
    everything = Grant(role=Role.ADMINISTRATOR)
    return (
        not user.disabled
        and user.password_hash is not None
        and everything in grants_of(session, user.id)
    )


def remove_user(session: Session, user: User) -> None:
    """With sessions and tokens. Raises LastAdministrator."""
    require_administrator_besides(session, user)
    session.execute(delete(SessionRow).where(SessionRow.user_id == user.id))
    session.execute(delete(ApiToken).where(ApiToken.user_id == user.id))
    session.delete(user)
    session.flush()
