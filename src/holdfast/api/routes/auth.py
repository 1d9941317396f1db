"""Sign-in and the caller's own account."""

from __future__ import annotations

from typing import Annotated

import segno
from fastapi import APIRouter, Path, Request, Response, status
from pydantic import SecretStr
from pyotp import random_base32
from pyotp.totp import TOTP

from holdfast import __version__
from holdfast.api.access import Caller, Principal, public, signed_in
from holdfast.api.access.cookies import (
    clear_session_cookie,
    session_secret,
    set_session_cookie,
)
from holdfast.api.access.passwords import require_acceptable
from holdfast.api.access.requirement import NotSignedIn
from holdfast.api.access.sign_in import (
    SignedInAs,
    SignIn,
    SignInOver,
    WrongCode,
    WrongCredentials,
    take_code,
)
from holdfast.api.access.views import user_info
from holdfast.api.context import Context, ServiceContext
from holdfast.api.schemas.access import (
    LoginRequest,
    PasswordChange,
    SecondFactorRequest,
    SessionInfo,
    SessionSummary,
    SignInMethods,
    TotpDisable,
    TotpSetup,
)
from holdfast.api.schemas.common import Page
from holdfast.catalog import audit, sessions, users
from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.settings import read_setting
from holdfast.core.errors import Category, HoldfastError
from holdfast.policy.access import Access

router = APIRouter(prefix="/auth", tags=["auth"])
_SHOWN_ID = 32


class SecondFactorActive(HoldfastError):
    code = "second_factor_active"
    category = Category.CONFLICT
    template = "a second factor is set up already"
    hint = "Remove it first, then set up the new one"


class SignsInElsewhere(HoldfastError):
    code = "signs_in_elsewhere"
    category = Category.CONFLICT
    template = "this account signs in through single sign-on and has no password here"
    hint = "Change password and second factor at the identity provider"


def signing(context: ServiceContext) -> SignIn:
    return SignIn(context.database, context.clock, context.sealing, context.passwords)


@router.get("/methods", dependencies=[public()])
def sign_in_methods(context: Context) -> SignInMethods:
    """What the sign-in page offers."""
    with context.database.reading() as session:
        oidc = read_setting(session, "auth.oidc")
    enabled = bool(oidc.get("enabled"))
    return SignInMethods(
        password=True,
        oidc=enabled,
        oidc_name=str(oidc.get("name", "")) if enabled else "",
        version=__version__,
    )


@router.post("/login", dependencies=[public()])
def login(
    body: LoginRequest, request: Request, response: Response, context: Context
) -> SessionInfo:
    """Begin a session. `state` says whether a second factor or a new password comes next."""
    signed = signing(context).by_password(
        body.name, body.password.get_secret_value(), address_of(request), agent_of(request)
    )
    return _answer(context, signed, request, response)


@router.post("/second-factor", dependencies=[public()])
def second_factor(
    body: SecondFactorRequest, request: Request, response: Response, context: Context
) -> SessionInfo:
    """Finish a sign-in that asked for a code."""
    secret = session_secret(request.url.scheme, request.headers)
    if secret is None:
        raise SignInOver
    signed = signing(context).by_code(
        sessions.hash_secret(secret), body.code, address_of(request), agent_of(request)
    )
    return _answer(context, signed, request, response)


@router.get("/session", dependencies=[public()])
def current_session(request: Request, context: Context) -> SessionInfo:
    """Who is signed in and what they may do; 401 when nobody is."""
    principal = getattr(request.state, "principal", None)
    if isinstance(principal, Principal):
        return session_info(context, principal.user_id, principal.access, principal.session_hash)
    secret = session_secret(request.url.scheme, request.headers)
    if secret is not None:
        with context.database.reading() as session:
            found = sessions.find_session(
                session, sessions.hash_secret(secret), context.clock.now()
            )
        if found is not None and not found[0].complete:
            return SessionInfo(state="second_factor_required", expires_at=found[0].expires_at)
    raise NotSignedIn


@router.post("/logout", dependencies=[public()], status_code=status.HTTP_204_NO_CONTENT)
def logout(request: Request, response: Response, context: Context) -> None:
    """End this session."""
    secret = session_secret(request.url.scheme, request.headers)
    if secret is not None:
        principal = getattr(request.state, "principal", None)
        with context.database.writing() as session:
            sessions.end_session(session, sessions.hash_secret(secret))
            if isinstance(principal, Principal):
                audit.record(session, principal, "auth.logout", clock=context.clock)
    clear_session_cookie(request, response)


@router.post(
    "/password",
    dependencies=[signed_in(before_password_change=True)],
    status_code=status.HTTP_204_NO_CONTENT,
)
def change_password(body: PasswordChange, caller: Caller, context: Context) -> None:
    """Choose a new password. All other sessions of the account end."""
    new = body.new_password.get_secret_value()
    with context.database.reading() as session:
        user = users.find_user(session, caller.user_id)
    _require_own_password(context, caller, user.password_hash, body.current_password)
    require_acceptable(new, user.name)
    hashed = context.passwords.hash(new)
    with context.database.writing() as session:
        user = users.find_user(session, caller.user_id)
        user.password_hash, user.must_change_password = hashed, False
        sessions.end_sessions_of(session, user.id, but=caller.session_hash)
        audit.record(session, caller, "auth.password_change", clock=context.clock)


@router.post("/totp", dependencies=[signed_in()])
def set_up_second_factor(caller: Caller, context: Context) -> TotpSetup:
    """A new secret for an authenticator app; it counts once a code confirmed it."""
    secret = random_base32()
    with context.database.writing() as session:
        user = users.find_user(session, caller.user_id)
        if user.password_hash is None:
            raise SignsInElsewhere
        if user.totp_confirmed:
            raise SecondFactorActive
        user.totp_sealed = context.sealing.seal(
            "user_account", user.id, "totp_sealed", secret.encode()
        )
        uri = TOTP(secret, name=user.name, issuer="Holdfast").provisioning_uri()
    return TotpSetup(
        secret=secret, uri=uri, qr_svg=segno.make(uri, error="m").svg_inline(scale=4, border=2)
    )


@router.post("/totp/confirm", dependencies=[signed_in()], status_code=status.HTTP_204_NO_CONTENT)
def confirm_second_factor(body: SecondFactorRequest, caller: Caller, context: Context) -> None:
    """From now on every sign-in asks for a code."""
    with context.database.writing() as session:
        user = users.find_user(session, caller.user_id)
        if user.totp_confirmed:
            raise SecondFactorActive
        if not take_code(user, context.sealing, body.code, context.clock):
            raise WrongCode
        user.totp_confirmed = True
        sessions.end_sessions_of(session, user.id, but=caller.session_hash)
        audit.record(session, caller, "auth.second_factor_on", clock=context.clock)


@router.post("/totp/disable", dependencies=[signed_in()], status_code=status.HTTP_204_NO_CONTENT)
def disable_second_factor(body: TotpDisable, caller: Caller, context: Context) -> None:
    """Remove the second factor; needs the password again."""
    with context.database.reading() as session:
        user = users.find_user(session, caller.user_id)
    _require_own_password(context, caller, user.password_hash, body.current_password)
    with context.database.writing() as session:
        user = users.find_user(session, caller.user_id)
        user.totp_sealed, user.totp_confirmed = None, False
        audit.record(session, caller, "auth.second_factor_off", clock=context.clock)


@router.get("/sessions", dependencies=[signed_in()])
def list_own_sessions(caller: Caller, context: Context) -> Page[SessionSummary]:
    """Where the account is signed in."""
    with context.database.reading() as session:
        rows = sessions.sessions_of(session, caller.user_id, context.clock.now())
    items = [
        SessionSummary(
            id=row.id_hash[:_SHOWN_ID],
            address=row.address,
            agent=row.agent,
            created_at=row.created_at,
            seen_at=row.seen_at,
            expires_at=row.expires_at,
            current=row.id_hash == caller.session_hash,
        )
        for row in rows
    ]
    return Page[SessionSummary](items=items, total=len(items))


@router.delete(
    "/sessions/{session_id}",
    dependencies=[signed_in()],
    status_code=status.HTTP_204_NO_CONTENT,
)
def end_own_session(
    session_id: Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")], caller: Caller, context: Context
) -> None:
    """Sign out there."""
    with context.database.writing() as session:
        rows = sessions.sessions_of(session, caller.user_id, context.clock.now())
        found = next((row for row in rows if row.id_hash[:_SHOWN_ID] == session_id), None)
        if found is None:
            raise NotInCatalogue(kind="session", id=session_id)
        sessions.end_session(session, found.id_hash)
        audit.record(session, caller, "auth.session_end", clock=context.clock)


def session_info(
    context: ServiceContext, user_id: str, access: Access, session_hash: str | None
) -> SessionInfo:
    with context.database.reading() as session:
        user = users.find_user(session, user_id)
        grants = users.grants_of(session, user_id)
        row = session.get(sessions.SessionRow, session_hash) if session_hash else None
    return SessionInfo(
        state="password_change_required" if user.must_change_password else "signed_in",
        user=user_info(user, grants),
        permissions=sorted(permission.value for permission in access.permissions),
        expires_at=row.expires_at if row is not None else None,
    )


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def agent_of(request: Request) -> str:
    return request.headers.get("user-agent", "")


def _answer(
    context: ServiceContext, signed: SignedInAs, request: Request, response: Response
) -> SessionInfo:
    set_session_cookie(request, response, signed.secret)
    with context.database.reading() as session:
        found = sessions.find_session(session, signed.session_hash, context.clock.now())
        if found is None:
            raise NotSignedIn
        row, user = found
        access = users.access_of(session, user.id)
    if signed.state == "second_factor_required":
        return SessionInfo(state="second_factor_required", expires_at=row.expires_at)
    return session_info(context, user.id, access, row.id_hash)


def _require_own_password(
    context: ServiceContext, caller: Principal, stored: str | None, given: SecretStr
) -> None:
    """Guarded by the same brake as a sign-in. Raises WrongCredentials, SignsInElsewhere."""
    if stored is None:
        raise SignsInElsewhere
    key = f"own:{caller.user_id}"
    with context.database.writing() as session:
        wait = sessions.begin_attempt(session, key, 10, context.clock.now())
    sessions.refuse_after(wait)
    if not context.passwords.verify(given.get_secret_value(), stored):
        with context.database.writing() as session:
            audit.record(
                session, caller, "auth.password_check", clock=context.clock, outcome="denied"
            )
        raise WrongCredentials
    with context.database.writing() as session:
        sessions.forgive(session, key)
