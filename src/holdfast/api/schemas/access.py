"""Sign-in, users, roles, tokens, audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from holdfast.api.schemas.common import Id, Input, Name, Output, Time

RoleName = Literal["viewer", "operator", "restore-operator", "administrator"]
Password = Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class GrantBody(Input):
    role: RoleName
    scope_kind: Literal["all", "group", "tag"] = "all"
    scope_value: Annotated[str, Field(max_length=64)] = ""


class GrantInfo(Output):
    role: RoleName
    scope_kind: Literal["all", "group", "tag"]
    scope_value: str


class LoginRequest(Input):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    password: Password


class SecondFactorRequest(Input):
    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class SessionInfo(Output):
    """`state` says what the browser must do next."""

    state: Literal["signed_in", "second_factor_required", "password_change_required"]
    user: UserInfo | None = None
    permissions: list[str] = Field(default_factory=list)
    """What the user may do at all; a permission may hold for some VMs only."""
    expires_at: Time | None = None


class PasswordChange(Input):
    current_password: Password
    new_password: Annotated[SecretStr, Field(min_length=12, max_length=1024)]


class TotpDisable(Input):
    current_password: Password


class TotpSetup(Output):
    """Shown once; `confirm` with a code makes it count."""

    secret: str
    uri: str
    """otpauth:// for an authenticator app."""
    qr_svg: str = ""


class SignInMethods(Output):
    """Public: what the sign-in page offers."""

    password: bool
    oidc: bool
    oidc_name: str = ""
    version: str


class UserInfo(Output):
    id: str
    name: str
    display_name: str
    grants: list[GrantInfo]
    disabled: bool
    totp_enabled: bool
    must_change_password: bool
    external: bool
    """Signs in through OIDC."""
    created_at: Time
    last_login_at: Time | None


class UserCreate(Input):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._@-]{0,99}$")]
    display_name: Annotated[str, Field(max_length=200)] = ""
    password: Annotated[SecretStr, Field(min_length=12, max_length=1024)] | None = None
    """None makes one, which the answer shows once."""
    grants: Annotated[list[GrantBody], Field(max_length=50)]


class UserCreated(UserInfo):
    password: str | None = None
    """Only when it was generated; to be changed at the first sign-in."""


class UserUpdate(Input):
    display_name: Annotated[str, Field(max_length=200)] | None = None
    disabled: bool | None = None
    grants: Annotated[list[GrantBody], Field(max_length=50)] | None = None
    reset_password: bool = False
    reset_totp: bool = False


class RoleInfo(Output):
    name: RoleName
    description: str
    permissions: list[str]
    scopable: bool
    """Whether a scope of tag or group makes sense for it."""


class UserUpdated(UserInfo):
    password: str | None = None
    """Only after `reset_password`; to be changed at the next sign-in."""


class TokenCreate(Input):
    name: Name
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = 365
    grants: Annotated[list[GrantBody], Field(min_length=1, max_length=50)]


class TokenInfo(Output):
    id: str
    name: str
    user_id: str
    user_name: str
    grants: list[GrantInfo]
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    revoked_at: Time | None


class TokenCreated(TokenInfo):
    token: str
    """Shown once."""


class SessionSummary(Output):
    """One sign-in of a user, to look through and end."""

    id: str
    address: str
    agent: str
    created_at: Time
    seen_at: Time
    expires_at: Time
    current: bool


class OidcSettings(Output):
    enabled: bool
    name: str
    issuer: str
    client_id: str
    has_secret: bool
    claim: str
    """Claim whose values choose roles."""
    role_map: dict[str, RoleName]
    """Value of the claim → role. Nobody without a mapped value gets in."""


class OidcUpdate(Input):
    enabled: bool
    name: Annotated[str, Field(max_length=100)] = "Single sign-on"
    issuer: Annotated[str, Field(max_length=500)]
    client_id: Annotated[str, Field(max_length=300)]
    client_secret: Annotated[SecretStr, Field(max_length=1000)] | None = None
    """Kept when left out; needed again when the issuer changes."""
    claim: Annotated[str, Field(max_length=100)] = "groups"
    role_map: Annotated[dict[str, RoleName], Field(max_length=100)] = Field(default_factory=dict)


class AuditInfo(Output):
    seq: int
    at: Time
    actor_kind: str
    actor_id: str
    actor_name: str
    address: str
    action: str
    object_kind: str
    object_id: str
    outcome: Literal["done", "denied", "failed"]
    details: dict[str, Any]
    hash: str


class AuditVerification(Output):
    """Result of following the hash chain from its beginning."""

    intact: bool
    entries: int
    first_broken_seq: int | None = None
    head_hash: str


class ScopeTarget(Input):
    id: Id


SessionInfo.model_rebuild()
