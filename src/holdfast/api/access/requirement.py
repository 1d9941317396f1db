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
        access = caller.access
        allowed = (
            access.allows_everywhere(self.permission)
            if self.everywhere
            else access.allows(self.permission)
        )
        if not allowed:
            raise NotAllowed(name=caller.name, permission=self.permission.value)


class Public:
    """Marks a route that needs no sign-in."""

    def __call__(self) -> None: ...


def requires(permission: Permission, *, everywhere: bool = False) -> Any:
    """For `dependencies=[…]` of a route or a router."""
    return Depends(Requirement(permission, everywhere=everywhere))


def public() -> Any:
    """For `dependencies=[…]` of a route that anyone may call."""
    return Depends(Public())
