"""Single sign-on: its settings, and the way to the provider and back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse

from holdfast.api.access import Caller, public, requires
from holdfast.api.access.cookies import set_session_cookie
from holdfast.api.access.oidc import (
    OidcConfiguration,
    OidcOff,
    OidcRefused,
    OidcSignIn,
    read_configuration,
    take_in,
    write_configuration,
)
from holdfast.api.context import Context, ServiceContext
from holdfast.api.routes.auth import address_of, agent_of, signing
from holdfast.api.schemas.access import OidcSettings, OidcUpdate
from holdfast.catalog import audit
from holdfast.catalog.audit import PlainActor
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission

router = APIRouter(prefix="/auth/oidc", tags=["auth"])
_COOKIE = "holdfast-oidc"
_PATH = "/api/v1/auth/oidc"


@router.get("", dependencies=[requires(Permission.ACCESS_MANAGE)])
def get_oidc_settings(context: Context) -> OidcSettings:
    return _settings(context)


@router.put("", dependencies=[requires(Permission.ACCESS_MANAGE)])
def update_oidc_settings(body: OidcUpdate, caller: Caller, context: Context) -> OidcSettings:
    """The secret is kept when left out, unless the issuer changes: it would go to another host."""
    with context.database.writing() as session:
        before = read_configuration(session, context.sealing)
        secret = body.client_secret.get_secret_value() if body.client_secret else None
        if secret is None and before.client_secret and body.issuer != before.issuer:
            problem = "is needed again, because the issuer changes"
            raise InvalidInput(what="client_secret", problem=problem)
        wanted = OidcConfiguration(
            enabled=body.enabled,
            name=body.name,
            issuer=body.issuer,
            client_id=body.client_id,
            client_secret=before.client_secret if secret is None else secret,
            claim=body.claim,
            role_map=dict(body.role_map),
        )
        write_configuration(session, context.sealing, wanted, context.clock)
        audit.record(
            session,
            caller,
            "auth.oidc_update",
            clock=context.clock,
            details={"issuer": body.issuer, "enabled": body.enabled, "roles": wanted.role_map},
        )
    return _settings(context)


@router.get(
    "/start",
    dependencies=[public()],
    response_class=RedirectResponse,
    status_code=303,
)
def start_single_sign_on(
    request: Request,
    context: Context,
    next: Annotated[str, Query(max_length=500)] = "/",
) -> RedirectResponse:
    """Send the browser to the identity provider."""
    departure = _sign_in(context).depart(_redirect_uri(request), _own_path(next))
    response = RedirectResponse(departure.url, status_code=303)
    # Lax: the way back from the provider is another site's.
    response.set_cookie(
        _COOKIE,
        departure.sealed,
        max_age=600,
        path=_PATH,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


@router.get(
    "/callback",
    dependencies=[public()],
    response_class=RedirectResponse,
    status_code=303,
)
def finish_single_sign_on(
    request: Request,
    context: Context,
    code: Annotated[str, Query(max_length=4000)] = "",
    state: Annotated[str, Query(max_length=500)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
) -> RedirectResponse:
    """Where the provider sends the browser back to."""
    query = {"code": code, "state": state, "error": error}
    address = address_of(request)
    try:
        arrival = _sign_in(context).arrive(
            _redirect_uri(request), query, request.cookies.get(_COOKIE, "")
        )
        with context.database.writing() as session:
            user_id = take_in(session, arrival, context.clock).id
    except OidcRefused as refused:
        actor = PlainActor(kind="anonymous", name="single sign-on", address=address)
        with context.database.writing() as session:
            audit.record(
                session,
                actor,
                "auth.login",
                clock=context.clock,
                outcome="denied",
                details={"problem": refused.problem},
            )
        raise
    signed = signing(context).begin_external(user_id, address, agent_of(request))
    response = RedirectResponse(arrival.next, status_code=303)
    response.delete_cookie(_COOKIE, path=_PATH)
    set_session_cookie(request, response, signed.secret)
    return response


def _settings(context: ServiceContext) -> OidcSettings:
    with context.database.reading() as session:
        found = read_configuration(session, context.sealing)
    return OidcSettings.model_validate(
        {
            "enabled": found.enabled,
            "name": found.name,
            "issuer": found.issuer,
            "client_id": found.client_id,
            "has_secret": bool(found.client_secret),
            "claim": found.claim,
            "role_map": dict(found.role_map),
        }
    )


def _sign_in(context: ServiceContext) -> OidcSignIn:
    with context.database.reading() as session:
        configuration = read_configuration(session, context.sealing)
    if not configuration.enabled:
        raise OidcOff
    return OidcSignIn(configuration, context.sealing, context.clock)


def _redirect_uri(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{_PATH}/callback"


def _own_path(path: str) -> str:
    """Only a page of ours, whatever the address says."""
    inside = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if inside and path.isprintable() else "/"
