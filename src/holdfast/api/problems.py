"""Errors on the wire: RFC 9457 problem documents. Every HoldfastError becomes one with its code,
message and advice; anything unexpected is logged with the request's id and says nothing of the
inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from holdfast.api.access.oidc import OidcProviderFailed, OidcRefused
from holdfast.api.access.requirement import (
    CrossSiteRequest,
    NotAllowed,
    NotSignedIn,
    PasswordChangeRequired,
    Principal,
)
from holdfast.api.access.sign_in import SignInOver, WrongCode, WrongCredentials
from holdfast.api.schemas.common import FieldProblem, Problem
from holdfast.catalog import audit
from holdfast.catalog.database import DatabaseUnavailable
from holdfast.catalog.sessions import TooManyAttempts
from holdfast.catalog.users import GrantExceedsOwn
from holdfast.core.errors import Category, HoldfastError, Retry

MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger("holdfast.api")

_BY_CLASS: dict[type[HoldfastError], int] = {
    NotSignedIn: 401,
    NotAllowed: 403,
    PasswordChangeRequired: 403,
    CrossSiteRequest: 403,
    GrantExceedsOwn: 403,
    TooManyAttempts: 429,
    WrongCredentials: 401,
    WrongCode: 401,
    SignInOver: 401,
    OidcRefused: 403,
    OidcProviderFailed: 503,
    DatabaseUnavailable: 503,
}
_BY_CATEGORY = {
    Category.USAGE: 422,
    Category.CONFLICT: 409,
    Category.NOT_FOUND: 404,
    Category.INTEGRITY: 409,
    Category.INTERRUPTED: 503,
}


def status_of(error: HoldfastError) -> int:
    """By class, by category, else by whether it passes by itself."""
    for kind in type(error).__mro__:
        if kind in _BY_CLASS:
            return _BY_CLASS[kind]
    known = _BY_CATEGORY.get(error.category)
    if known is not None:
        return known
    return 503 if error.retry is not Retry.NEVER else 422


def problem_response(error: HoldfastError, request_id: str) -> Response:
    status = status_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, TooManyAttempts):
        headers["Retry-After"] = str(error.retry_after_s)
    elif status == 503:
        headers["Retry-After"] = "5"
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="holdfast"'
    message, advice = error.message, error.advice
    detail = f"{_sentence(message)} {_sentence(advice)}" if advice else _sentence(message)
    return plain_problem(
        status=status,
        code=error.code,
        detail=detail,
        request_id=request_id,
        params={name: _plain(value) for name, value in error.params.items()},
        retry=error.retry.value,
        headers=headers,
    )


def plain_problem(
    *,
    status: int,
    code: str,
    detail: str,
    request_id: str,
    params: Mapping[str, Any] | None = None,
    fields: Sequence[FieldProblem] = (),
    retry: str = "never",
    headers: Mapping[str, str] | None = None,
) -> Response:
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        params=dict(params or {}),
        fields=list(fields),
        retry=cast("Any", retry),
        request_id=request_id,
    )
    return JSONResponse(
        problem.model_dump(mode="json"),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def request_id_of(request: Request) -> str:
    return cast("str", getattr(request.state, "request_id", ""))


def unexpected(error: BaseException, request_id: str, where: str) -> Response:
    """Logged with everything, answered with nothing but the id to look for."""
    _log.error("unexpected error", request_id=request_id, where=where, exc_info=error)
    return plain_problem(
        status=500,
        code="internal_error",
        detail="Something unexpected happened inside the service. "
        f"Its log says more under the request id {request_id}.",
        request_id=request_id,
        retry="later",
    )


def install(app: FastAPI) -> None:
    """The handlers for everything that routes raise on purpose."""

    async def holdfast_error(request: Request, error: Exception) -> Response:
        found = cast("HoldfastError", error)
        if isinstance(found, NotAllowed | GrantExceedsOwn):
            await run_in_threadpool(_record_denied, app, request, found)
        if found.code == "internal_error":
            return unexpected(error, request_id_of(request), request.url.path)
        return problem_response(found, request_id_of(request))

    async def invalid(request: Request, error: Exception) -> Response:
        found = cast("RequestValidationError", error)
        fields = [_field(item) for item in cast("Sequence[dict[str, Any]]", found.errors())]
        names = ", ".join(dict.fromkeys(field.field for field in fields if field.field))
        what = f"Check {names}" if names else "Check the body"
        return plain_problem(
            status=422,
            code="invalid_request",
            detail=f"The request is not as it should be. {what}: `fields` says what is wrong.",
            request_id=request_id_of(request),
            fields=fields[:50],
        )

    async def http(request: Request, error: Exception) -> Response:
        found = cast("HTTPException", error)
        code = {404: "not_found", 405: "method_not_allowed"}.get(found.status_code, "http_error")
        words = {404: "There is nothing at this address.", 405: "This address has no such method."}
        return plain_problem(
            status=found.status_code,
            code=code,
            detail=words.get(found.status_code, str(found.detail)),
            request_id=request_id_of(request),
            headers=dict(found.headers or {}),
        )

    app.add_exception_handler(HoldfastError, holdfast_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _record_denied(app: FastAPI, request: Request, error: HoldfastError) -> None:
    """What somebody signed in tried without the right to."""
    principal = getattr(request.state, "principal", None)
    if not isinstance(principal, Principal):
        return
    context = app.state.context
    route = request.scope.get("route")
    action = str(getattr(route, "name", "") or "request")[:100]
    with context.database.writing() as session:
        audit.record(
            session,
            principal,
            action,
            clock=context.clock,
            object_id=request.url.path,
            outcome="denied",
            details={"method": request.method, **error.params},
        )


def _field(item: Mapping[str, Any]) -> FieldProblem:
    """The place without where it came from, and pydantic's words without the value."""
    place = [str(part) for part in item.get("loc", ())]
    name = ".".join(place[1:] if place and place[0] in {"body", "query", "path"} else place)
    return FieldProblem(field=name, problem=str(item.get("msg", "is wrong")))


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
