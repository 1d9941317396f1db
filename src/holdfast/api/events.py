"""Live events over Socket.IO at /socket.io: `run_progress` and `backup_progress` as runs go on,
`<noun>_changed` when a resource changed.

Each process of the service polls the catalogue five times a second and tells its own browsers, so
several processes need no broker between them. Every event goes only to those who may see what it is
about (`event_audience`); a connection ends when its session or token does. Enter at `Events`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import socketio  # pyright: ignore[reportMissingTypeStubs]
import structlog
from starlette.concurrency import run_in_threadpool

from holdfast.api.access.authentication import by_session, refreshed_token
from holdfast.api.access.requirement import Principal
from holdfast.api.event_audience import Audience, Labels, of_notice, of_run
from holdfast.api.event_payloads import changed, payloads
from holdfast.api.fan_out import EncodedEvent, FanOut
from holdfast.api.runtime_settings import runtime_settings
from holdfast.catalog import changes, log, notices, sessions
from holdfast.catalog.database import Database
from holdfast.catalog.models import Notice, Run
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError
from holdfast.policy.access import Permission, VmScope

_POLL_S = 0.2
_RECHECK_S = 1.0
_TIDY_S = 600.0
_LEAST_S = 0.45
"""Between two updates of a run that changed no state: at most two a second."""
_AT_MOST = 1000
"""Connections of one process."""
_PER_PRINCIPAL = 50
_log = structlog.get_logger("holdfast.events")

_refused: Any = cast("Any", socketio).exceptions.ConnectionRefusedError


@dataclass(slots=True)
class _Client:
    principal: Principal
    scope: VmScope


@dataclass(slots=True)
class _Shown:
    """What was last sent of a run."""

    state: str
    phase: str
    at_s: float


@dataclass(slots=True)
class _Seen:
    revision: int = 0
    notice: int = 0
    runs: dict[str, int] = field(default_factory=dict[str, int])
    shown: dict[str, _Shown] = field(default_factory=dict[str, _Shown])
    waiting: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class _Told:
    event: EncodedEvent
    audience: Audience


@dataclass(frozen=True, slots=True)
class _News:
    runs: Sequence[Run]
    notices: Sequence[Notice]
    labels: Labels


class Events:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        # The gate has judged origin and caller already; nothing comes here past it.
        self._server: Any = socketio.AsyncServer(
            async_mode="asgi",
            cors_allowed_origins=[],
            max_http_buffer_size=64 * 1024,
            ping_interval=10,
            ping_timeout=10,  # both together: when a browser notices a silent line
            logger=False,
            engineio_logger=False,
        )
        self.asgi: Any = socketio.ASGIApp(self._server, socketio_path="/socket.io")
        self._fan_out = FanOut(self._server)
        self._clients: dict[str, _Client] = {}
        self._seen = _Seen()
        self._tasks: list[asyncio.Task[None]] = []
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)

    async def start(self) -> None:
        """Begin to poll, from what is there now."""
        self._seen = await run_in_threadpool(self._present)
        self._tasks = [
            asyncio.create_task(self._forever(self.poll, _POLL_S)),
            asyncio.create_task(self._forever(self.recheck, _RECHECK_S)),
            asyncio.create_task(self._forever(self._tidy, _TIDY_S)),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sid in list(self._clients):
            with contextlib.suppress(Exception):
                await self._server.disconnect(sid)
        await self._server.shutdown()

    @property
    def connection_count(self) -> int:
        return len(self._clients)

    async def poll(self) -> None:
        """Tell what is new since the last time."""
        news = await run_in_threadpool(self._news)
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        told: list[_Told] = []
        for run in news.runs:
            if not self._is_due(run, now_s):
                self._seen.waiting.add(run.id)
                continue
            self._seen.waiting.discard(run.id)
            audience = of_run(run, news.labels)
            for event, payload in payloads(run, now):
                told.append(_Told(self._fan_out.encode(event, payload), audience))
        for notice in news.notices:
            event, payload = changed(notice)
            audience = of_notice(notice, news.labels)
            told.append(_Told(self._fan_out.encode(event, payload), audience))
        if told:
            await self._fan_out.send(self._by_client(told))

    async def recheck(self) -> None:
        """End connections whose session or token ended; take over changed rights."""
        clients = dict(self._clients)
        if not clients:
            return
        present = await run_in_threadpool(self._present_principals, clients)
        for sid, principal in present.items():
            if principal is None:
                self._clients.pop(sid, None)
                await self._server.disconnect(sid)
            elif sid in self._clients:
                self._clients[sid] = _Client(principal, principal.scope(Permission.VIEW))

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> bool:
        del auth
        scope = cast("dict[str, Any]", environ.get("asgi.scope", {}))
        principal = scope.get("state", {}).get("principal")
        if not isinstance(principal, Principal) or principal.must_change_password:
            raise _refused("not_signed_in")
        if not principal.access.allows(Permission.VIEW):
            raise _refused("not_allowed")
        of_theirs = sum(one.principal.id == principal.id for one in self._clients.values())
        if len(self._clients) >= _AT_MOST or of_theirs >= _PER_PRINCIPAL:
            raise _refused("too_many_connections")
        client = _Client(principal, principal.scope(Permission.VIEW))
        self._clients[sid] = client
        # Not awaited: what is sent before the handshake is answered would be lost.
        self._server.start_background_task(self._welcome, sid, client)
        return True

    async def _disconnect(self, sid: str, reason: object = None) -> None:
        del reason
        self._clients.pop(sid, None)

    async def _welcome(self, sid: str, client: _Client) -> None:
        """The present state of what runs."""
        runs = await run_in_threadpool(self._active, client.scope)
        now = self._clock.now()
        for run in runs:
            for event, payload in payloads(run, now):
                await self._server.emit(event, payload, to=sid)

    def _by_client(self, told: Sequence[_Told]) -> dict[str, Sequence[EncodedEvent]]:
        """Who sees all hears the same, unless it is somebody's own: judged once for all of them."""
        everything: list[EncodedEvent] | None = None
        if all(one.audience.user_id is None for one in told):
            everything = [one.event for one in told]
        return {
            sid: everything
            if everything is not None and client.scope.all_vms
            else [
                one.event for one in told if one.audience.includes(client.principal, client.scope)
            ]
            for sid, client in self._clients.items()
        }

    def _is_due(self, run: Run, now_s: float) -> bool:
        before = self._seen.shown.get(run.id)
        due = before is None or before.state != run.state or now_s - before.at_s >= _LEAST_S
        if due:
            self._seen.shown[run.id] = _Shown(run.state, run.phase, now_s)
            if run.completed_at is not None:
                self._seen.shown.pop(run.id)
        return due

    def _present(self) -> _Seen:
        with self._database.reading() as session:
            revision = changes.newest_revision(session)
            return _Seen(
                revision=revision,
                notice=notices.newest_seq(session),
                runs=dict(changes.revisions_after(session, revision)),
            )

    def _news(self) -> _News:
        seen = self._seen
        with self._database.reading() as session:
            found = changes.revisions_after(session, seen.revision)
            changed = {
                run_id for run_id, number in found.items() if seen.runs.get(run_id) != number
            }
            runs = changes.read_runs(session, changed | seen.waiting)
            new_notices = notices.notices_after(session, seen.notice)
            vm_ids = {item.vm_id for item in (*runs, *new_notices) if item.vm_id}
            narrow = any(not client.scope.all_vms for client in self._clients.copy().values())
            labels: Labels = changes.labels_of(session, vm_ids if narrow else ())
        seen.runs = dict(found)
        seen.revision = max([seen.revision, *found.values()])
        if new_notices:
            seen.notice = new_notices[-1].seq
        return _News(runs, new_notices, labels)

    def _active(self, scope: VmScope) -> Sequence[Run]:
        with self._database.reading() as session:
            return changes.running_runs(session, scope)

    def _present_principals(self, clients: Mapping[str, _Client]) -> dict[str, Principal | None]:
        found: dict[tuple[str, str | None], Principal | None] = {}
        for client in clients.values():
            principal = client.principal
            key = (principal.id, principal.session_hash)
            if key in found:
                continue
            if principal.session_hash is None:
                found[key] = refreshed_token(self._database, self._clock, principal)
            else:
                found[key] = by_session(
                    self._database,
                    self._clock,
                    principal.session_hash,
                    principal.address,
                    touch=False,
                )
        return {
            sid: found[client.principal.id, client.principal.session_hash]
            for sid, client in clients.items()
        }

    async def _tidy(self) -> None:
        await run_in_threadpool(self._forget_old)

    def _forget_old(self) -> None:
        now = self._clock.now()
        with self._database.writing() as session:
            notices.forget_old(session, now)
            sessions.forget_old(session, now)
            keep_days = runtime_settings(session).log_keep_days
        more = True
        while more:
            with self._database.writing() as session:
                more = log.forget_old_lines(session, now, keep_days=keep_days)

    async def _forever(self, step: Any, pause_s: float) -> None:
        while True:
            try:
                await step()
            except HoldfastError as error:
                _log.warning("live events pause", problem=str(error))
                await asyncio.sleep(1.0)
            except Exception as error:  # noqa: BLE001 - one bad row must not end all updates
                _log.error("live events", exc_info=error)
                await asyncio.sleep(1.0)
            await asyncio.sleep(pause_s)
