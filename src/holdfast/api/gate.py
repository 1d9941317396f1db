"""What every request passes before a route: an id, limits on size and time, who asks, where the
request comes from, repeated requests, and the headers of every answer.

A pure ASGI middleware around the whole application, so that nothing reaches a route, the live
events or the dashboard's files past it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.api.access.authentication import authenticate, bearer_token
from holdfast.api.access.cookies import cookie_name
from holdfast.api.access.origins import SAFE_METHODS, require_same_origin
from holdfast.api.access.requirement import Principal
from holdfast.api.idempotency import (
    LONGEST_KEY,
    Answer,
    Claim,
    IdempotentRequests,
    request_hash,
)
from holdfast.api.problems import plain_problem, problem_response, unexpected
from holdfast.core.errors import HoldfastError, InvalidInput

if TYPE_CHECKING:
    from holdfast.api.context import ServiceContext

LONGEST_BODY = 1024 * 1024
_BODY_WITHIN_S = 30.0
_LONGEST_TARGET = 16 * 1024
_log = structlog.get_logger("holdfast.access")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
STRICT_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HSTS = "max-age=31536000"


class _TooLarge(Exception):
    pass


class Gate:
    def __init__(self, app: ASGIApp, context: ServiceContext) -> None:
        self._app = app
        self._context = context
        self._idempotent = IdempotentRequests(context.database, context.sealing, context.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        answering = _Answering(scope, send, request_id)
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        started_s = time.monotonic()
        try:
            await self._http(scope, receive, answering)
        except HoldfastError as error:
            await _respond(problem_response(error, request_id), scope, answering)
        except Exception as error:  # noqa: BLE001 - the last place that can answer
            if answering.status and isinstance(error.__cause__, HoldfastError):
                # The server closes the connection: whoever downloads sees that it is not complete.
                _log.warning("answer broke off", path=scope["path"], problem=str(error.__cause__))
                return
            await _respond(unexpected(error, request_id, scope["path"]), scope, answering)
        finally:
            principal = state.get("principal")
            _log.debug(
                "request",
                request_id=request_id,
                method=scope["method"],
                path=scope["path"],
                status=answering.status,
                duration_ms=round((time.monotonic() - started_s) * 1000, 1),
                principal=principal.name if isinstance(principal, Principal) else "",
            )

    async def _http(self, scope: Scope, receive: Receive, send: _Answering) -> None:
        headers = Headers(scope=scope)
        request_id = str(scope["state"]["request_id"])
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > _LONGEST_TARGET:
            await _refuse(414, "address_too_long", "The address is too long.", scope, send)
            return
        live = str(scope["path"]).startswith("/socket.io")
        try:
            body = b"" if live else await _read_body(headers, receive)
        except _TooLarge:
            detail = f"The body is larger than {LONGEST_BODY} bytes, the most that is taken."
            await _refuse(413, "body_too_large", detail, scope, send)
            return
        except TimeoutError:
            await _refuse(408, "request_too_slow", "The body did not arrive in time.", scope, send)
            return
        if not live:
            receive = _replay(body, receive)
        self._check_origin(scope, headers)
        await self._identify(scope, headers)
        claim = None if live else await self._claim(scope, headers, body)
        if isinstance(claim, Answer):
            await _replay_answer(claim, scope, send, request_id)
            return
        if claim is None:
            await self._app(scope, receive, send)
            return
        await self._carry_out_once(claim, scope, receive, send)

    async def _carry_out_once(
        self, claim: Claim, scope: Scope, receive: Receive, send: _Answering
    ) -> None:
        send.keep_body()
        try:
            await self._app(scope, receive, send)
        except BaseException:
            await run_in_threadpool(self._idempotent.release, claim)
            raise
        await run_in_threadpool(self._idempotent.settle, claim, send.answer())

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._check_origin(scope, headers)
            await self._identify(scope, headers)
        except HoldfastError:
            await receive()
            await send({"type": "websocket.close", "code": 4403})
            return
        await self._app(scope, receive, send)

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Raises CrossSiteRequest."""
        websocket = scope["type"] == "websocket"
        unsafe = websocket or scope["method"] not in SAFE_METHODS
        live = str(scope["path"]).startswith("/socket.io")
        if bearer_token(headers) is not None or not (unsafe or live):
            return
        with_cookie = cookie_name(scope["scheme"]) in headers.get("cookie", "")
        require_same_origin(
            scope["scheme"],
            headers,
            self._context.settings.allowed_origins,
            must_say=with_cookie and unsafe,
        )

    async def _identify(self, scope: Scope, headers: Headers) -> None:
        client = scope.get("client")
        address = str(client[0]) if client else ""
        scope["state"]["address"] = address
        if "authorization" not in headers and "cookie" not in headers:
            return
        scope["state"]["principal"] = await run_in_threadpool(
            authenticate,
            self._context.database,
            self._context.clock,
            scheme=scope["scheme"],
            headers=headers,
            address=address,
        )

    async def _claim(self, scope: Scope, headers: Headers, body: bytes) -> Claim | Answer | None:
        key = headers.get("idempotency-key")
        principal = scope["state"].get("principal")
        if key is None or scope["method"] in SAFE_METHODS or not isinstance(principal, Principal):
            return None
        if not 1 <= len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
            problem = f"needs 1 to {LONGEST_KEY} printable characters"
            raise InvalidInput(what="Idempotency-Key", problem=problem)
        target = scope["path"] + "?" + scope["query_string"].decode("latin-1")
        hash_ = request_hash(scope["method"], target, body)
        return await run_in_threadpool(
            self._idempotent.claim, f"{principal.kind}:{principal.id}", key, hash_
        )


class _Answering:
    """The answer on its way out: adds what every answer carries, remembers status and, when asked
    to, the body."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._body: bytearray | None = None
        self._headers: dict[str, str] = {}
        self.status = 0

    def keep_body(self) -> None:
        self._body = bytearray()

    def answer(self) -> Answer:
        return Answer(status=self.status, headers=self._headers, body=bytes(self._body or b""))

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # Long polling sends them with capitals, which nothing after it would find.
            message["headers"] = [(name.lower(), value) for name, value in message["headers"]]
            self._complete(MutableHeaders(scope=message))
        elif message["type"] == "http.response.body" and self._body is not None:
            self._body += message.get("body", b"")
        await self._send(message)

    def _complete(self, headers: MutableHeaders) -> None:
        self._headers = dict(headers)
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Content-Security-Policy", STRICT_CSP)
        headers["X-Request-ID"] = self._request_id
        if str(self._scope["path"]).startswith("/api/"):
            headers.setdefault("Cache-Control", "no-store")
        if self._scope["scheme"] == "https":
            headers.setdefault("Strict-Transport-Security", _HSTS)


async def _read_body(headers: Headers, receive: Receive) -> bytes:
    """All of it. Raises _TooLarge, TimeoutError."""
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > LONGEST_BODY:
        raise _TooLarge
    body = bytearray()
    async with asyncio.timeout(_BODY_WITHIN_S):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            if len(body) > LONGEST_BODY:
                raise _TooLarge
            if not message.get("more_body", False):
                break
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then whatever comes: the end of the connection."""
    given = False

    async def again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


async def _respond(response: ASGIApp, scope: Scope, send: _Answering) -> None:
    if send.status == 0:  # else it broke off in the middle: the connection is closed by the server
        await response(scope, _nothing, send)


async def _refuse(status: int, code: str, detail: str, scope: Scope, send: _Answering) -> None:
    response = plain_problem(
        status=status,
        code=code,
        detail=detail,
        request_id=scope["state"]["request_id"],
        headers={"Connection": "close"},
    )
    await response(scope, _nothing, send)


async def _replay_answer(answer: Answer, scope: Scope, send: _Answering, request_id: str) -> None:
    from starlette.responses import Response

    headers = {**answer.headers, "Idempotent-Replay": "true", "X-Request-ID": request_id}
    await Response(answer.body, status_code=answer.status, headers=headers)(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
