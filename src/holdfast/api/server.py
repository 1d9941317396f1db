"""Runs the application on one port: uvicorn, with limits on what clients may make it wait for.
Enter at `serve`."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from holdfast.core.errors import Category, HoldfastError, InvalidInput

_HEAD_WITHIN_S = 15.0
_LONGEST_HEAD = 32 * 1024
_CONNECTIONS = 2000
_STOP_WITHIN_S = 10
_SWITCH_S = 0.0005
"""A thread that computes lets others go on after this. The event loop asks for its turn several
times a request: with Python's five milliseconds each a busy service answers ten times later."""


@dataclass(kw_only=True, eq=False)
class PlainHttpRefused(HoldfastError):
    code = "plain_http_refused"
    category = Category.USAGE
    template = "{address} is not this host alone, and without TLS passwords would travel in clear"
    hint = (
        "Give --tls-cert and --tls-key, or put a proxy with TLS in front of 127.0.0.1, or say "
        "--insecure-plain-http on a network that you trust"
    )
    address: str


@dataclass(kw_only=True, eq=False)
class CannotListen(HoldfastError):
    code = "cannot_listen"
    template = "cannot listen on {address}: {problem}"
    hint = "Another program may use the port: choose another with --listen"
    address: str
    problem: str


@dataclass(kw_only=True, eq=False)
class TlsFilesUnusable(HoldfastError):
    code = "tls_files_unusable"
    template = "certificate {certificate} and key {key} cannot be used: {problem}"
    hint = "Both are PEM; the certificate file holds the whole chain, the key has no passphrase"
    certificate: str
    key: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    host: str
    port: int
    """0 for any free one."""
    certificate: Path | None = None
    key: Path | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def with_tls(self) -> bool:
        return self.certificate is not None

    def url(self, port: int) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.with_tls else 'http'}://{shown}:{port}/"


def parse_listen(
    text: str, *, certificate: Path | None, key: Path | None, insecure_plain_http: bool
) -> Listen:
    """`HOST:PORT`. Raises InvalidInput, PlainHttpRefused."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(what="--listen", problem="is not HOST:PORT")
    if (certificate is None) != (key is None):
        raise InvalidInput(what="--tls-cert", problem="and --tls-key go together")
    if certificate is None and not insecure_plain_http and not _is_loopback(host):
        raise PlainHttpRefused(address=text)
    return Listen(host=host, port=int(port), certificate=certificate, key=key)


def bind(listen: Listen) -> socket.socket:
    """Raises CannotListen."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        bound = socket.create_server((listen.host, listen.port), family=family, backlog=512)
    except OSError as error:
        problem = error.strerror or str(error)
        raise CannotListen(address=listen.address, problem=problem) from error
    # Connections inherit it. Without it an answer's body waits until its head was acknowledged,
    # forty milliseconds as a rule: asyncio sets it only where the protocol is named.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def serve(
    app: FastAPI,
    listen: Listen,
    bound: socket.socket,
    *,
    trusted_proxies: Sequence[str],
    on_ready: Callable[[], None],
) -> None:
    """Until SIGINT or SIGTERM; requests that run then have ten seconds. Raises
    TlsFilesUnusable."""
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="websockets-sansio",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        ssl_certfile=listen.certificate,
        ssl_keyfile=listen.key,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        ws_max_size=64 * 1024,
        # Events are small and go to hundreds: packing each for each costs more than the bytes.
        ws_per_message_deflate=False,
    )
    try:
        config.load()
    except OSError as error:
        raise TlsFilesUnusable(
            certificate=str(listen.certificate),
            key=str(listen.key),
            problem=error.strerror or str(error),
        ) from error
    sys.setswitchinterval(_SWITCH_S)
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, on_ready).run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


class PatientProtocol(H11Protocol):
    """Closes a connection whose request line and headers do not arrive in time: many slow ones
    would else hold every place."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and (not self._in_request()):
            self._expect_head()
        super().data_received(data)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before or self.transport.is_closing():
            self._stop_timer()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._stop_timer()
        super().handle_websocket_upgrade(event)

    def _in_request(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_WITHIN_S, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
