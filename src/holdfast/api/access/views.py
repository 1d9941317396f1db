"""Rows of users, tokens and sessions as the API shows them; grants as it takes them."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.api.schemas.access import GrantBody, GrantInfo, UserInfo
from holdfast.catalog.models import User
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Grant, Role, ScopeKind


def grant_info(grant: Grant) -> GrantInfo:
    return GrantInfo(
        role=grant.role.value,
        scope_kind=grant.scope.value,
        scope_value=grant.value,
    )


def parse_grants(bodies: Sequence[GrantBody]) -> list[Grant]:
    """Raises InvalidInput for a scope without a value, or all with one."""
    grants: list[Grant] = []
    for at, body in enumerate(bodies):
        scope = ScopeKind(body.scope_kind)
        if (scope is ScopeKind.ALL) == bool(body.scope_value):
            problem = "`all` takes no scope_value, `group` and `tag` need one"
            raise InvalidInput(what=f"grants.{at}.scope_value", problem=problem)
        if scope is not ScopeKind.ALL and Role(body.role) is Role.ADMINISTRATOR:
            problem = "an administrator is one of everything"
            raise InvalidInput(what=f"grants.{at}.scope_kind", problem=problem)
        grants.append(Grant(role=Role(body.role), scope=scope, value=body.scope_value))
    return grants


def user_info(user: User, grants: Sequence[Grant]) -> UserInfo:
    return UserInfo(
        id=user.id,
        name=user.name,
        display_name=user.display_name,
        grants=[grant_info(grant) for grant in grants],
        disabled=user.disabled,
        totp_enabled=user.totp_confirmed,
        must_change_password=user.must_change_password,
        external=user.oidc_subject is not None,
        created_at=user.created_at,
        last_login_at=user.last_login_at,
    )
