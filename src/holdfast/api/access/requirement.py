"""What a route requires, written on the route. `dependencies=[requires(Permission.VIEW)]` refuses
whoever does not have the permission for anything; which VMs it holds for is `caller.scope(...)`,
applied by the route's queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from fastapi import Depends, Request

from holdfast.core.errors import HoldfastError
from holdfast.policy.access import Access, Permission, VmScope


@dataclass(kw_only=True, eq=False)
class NotSignedIn(HoldfastError):
    code = "not_signed_in"
    template = "this needs a sign-in"
    hint = "Sign in, or send a token as `Authorization: Bearer hf_…`"


@dataclass(kw_only=True, eq=False)
class NotAllowed(HoldfastError):
    code = "not_allowed"
    template = "{name} may not do this: it needs the permission {permission}"
    hint = "Ask an administrator for a role that has it"
    name: str
    permission: str


@dataclass(kw_only=True, eq=False)
class PasswordChangeRequired(HoldfastError):
    code = "password_change_required"
    template = "{name} must choose a new password first"
    hint = "Change it at the sign-in page, or by POST /api/v1/auth/password"
    name: str


@dataclass(kw_only=True, eq=False)
class CrossSiteRequest(HoldfastError):
    code = "cross_site_request"
    template = "this request came from another site than the dashboard"
    hint = (
        "Behind a proxy that changes the Host header, name the dashboard's address in "
        "HOLDFAST_ALLOWED_ORIGINS; programs use a token instead of a cookie"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks."""

    kind: Literal["user", "token"]
    id: str
    """Of the user or the token."""
    name: str
    user_id: str
    access: Access
    address: str = ""
    session_hash: str | None = None
    must_change_password: bool = False
    """Until then, good for nothing but that."""

    def scope(self, permission: Permission) -> VmScope:
        return self.access.scope(permission)


def current_principal(request: Request) -> Principal:
    """Whom the authentication found. Raises NotSignedIn."""
    principal = cast("Principal | None", getattr(request.state, "principal", None))
    if principal is None:
        raise NotSignedIn
    return principal


Caller = Annotated[Principal, Depends(current_principal)]


class Requirement:
    """A permission that a route needs. `everywhere`: not only for some VMs."""

    def __init__(self, permission: Permission, *, everywhere: bool) -> None:
        self.permission = permission
        self.everywhere = everywhere

    def __call__(self, caller: Caller) -> None:
        if caller.must_change_password:
            raise PasswordChangeRequired(name=caller.name)
        access = caller.access
        allowed = (
            access.allows_everywhere(self.permission)
            if self.everywhere
            else access.allows(self.permission)
        )
        if not allowed:
            raise NotAllowed(name=caller.name, permission=self.permission.value)


class SignedIn:
    """Marks a route that is for everybody who is signed in, about themselves."""

    def __init__(self, *, before_password_change: bool) -> None:
        self.before_password_change = before_password_change

    def __call__(self, caller: Caller) -> None:
        if caller.must_change_password and not self.before_password_change:
            raise PasswordChangeRequired(name=caller.name)


class Public:
    """Marks a route that needs no sign-in."""

    def __call__(self) -> None: ...


def requires(permission: Permission, *, everywhere: bool = False) -> Any:
    """For `dependencies=[…]` of a route or a router."""
    return Depends(Requirement(permission, everywhere=everywhere))


def signed_in(*, before_password_change: bool = False) -> Any:
    """For `dependencies=[…]` of a route about the caller's own account."""
    return Depends(SignedIn(before_password_change=before_password_change))


def public() -> Any:
    """For `dependencies=[…]` of a route that anyone may call."""
    return Depends(Public())
