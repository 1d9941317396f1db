"""Clients of the live events: `Listener` for one, in threads; `listen_many` for hundreds, in one
event loop, that speak just enough of Socket.IO."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import socketio
import websockets

from tests.support.running_service import RunningService


class Listener:
    """A Socket.IO client that keeps what it hears."""

    def __init__(self, service: RunningService, token: str, transport: str = "websocket") -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.changed = threading.Condition()
        self.ended = threading.Event()
        self.client = socketio.Client(
            reconnection=False, websocket_extra_options={"suppress_origin": True}
        )
        self.client.on("*", self._hear)
        self.client.on("disconnect", lambda *_: self.ended.set())
        self.client.connect(
            service.url,
            headers={"Authorization": f"Bearer {token}"},
            transports=[transport],
            wait_timeout=60,
        )

    def _hear(self, event: str, payload: dict[str, Any]) -> None:
        with self.changed:
            self.heard.append((event, payload))
            self.changed.notify_all()

    def wait_for(self, event: str, **fields: Any) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            for name, payload in self.heard:
                if name == event and all(payload[key] == fields[key] for key in fields):
                    return payload
            return None

        with self.changed:
            assert self.changed.wait_for(lambda: found() is not None, 60), self.heard
            payload = found()
        assert payload is not None
        return payload


@dataclass(kw_only=True)
class Heard:
    """By one of many clients."""

    events: int = 0
    runs: set[str] = field(default_factory=set[str])
    delays_s: list[float] = field(default_factory=list[float])
    """From the service's look at the run to here, in one clock."""


class ManyListeners:
    """A context manager; connected when it is entered."""

    def __init__(self, service: RunningService, tokens: list[str]) -> None:
        self.heard = [Heard() for _ in tokens]
        self._url = service.url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        self._tokens = tokens
        self._loop = asyncio.new_event_loop()
        self._connections: list[Any] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="listeners")

    def __enter__(self) -> ManyListeners:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._connect(), self._loop).result(120)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(120)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connect(self) -> None:
        for token, heard in zip(self._tokens, self.heard, strict=True):
            connection = await websockets.connect(
                self._url,
                additional_headers={"Authorization": f"Bearer {token}"},
                open_timeout=60,
                proxy=None,
            )
            await connection.recv()  # 0: the session
            await connection.send("40")
            self._connections.append((connection, asyncio.create_task(_hear(connection, heard))))

    async def _close(self) -> None:
        for connection, task in self._connections:
            await connection.close()
            await asyncio.gather(task, return_exceptions=True)


async def _hear(connection: Any, heard: Heard) -> None:
    async for message in connection:
        if message == "2":
            await connection.send("3")
        elif message.startswith("42"):
            name, payload = json.loads(message[2:])
            heard.events += 1
            if name == "run_progress":
                heard.runs.add(payload["id"])
                told = datetime.fromisoformat(payload["at"]).timestamp()
                heard.delays_s.append(time.time() - told)
        elif message.startswith("44"):
            raise RuntimeError(message)
