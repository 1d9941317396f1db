"""Clients of the live events: `Listener` for one, in threads; `ManyListeners` for hundreds, in a
process of their own, that speak just enough of Socket.IO."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
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
    """A context manager; connected when it is entered. In a process of its own, so that what
    hundreds of clients compute does not hold up whoever measures here."""

    def __init__(self, service: RunningService, tokens: list[str]) -> None:
        self.heard: list[Heard] = []
        """One of each client, once the context is left."""
        url = service.url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_listen, args=(url, tokens, theirs), daemon=True)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def __enter__(self) -> ManyListeners:
        self._process.start()
        assert self._pipe.poll(120), "not connected"
        assert self._pipe.recv() == "connected"
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send("end")
        if self._pipe.poll(120):
            self.heard = self._pipe.recv()
        self._process.join(10)
        self._process.kill()


def _listen(url: str, tokens: list[str], pipe: Connection) -> None:
    pipe.send(asyncio.run(_listen_until_told(url, tokens, pipe)))


async def _listen_until_told(url: str, tokens: list[str], pipe: Connection) -> list[Heard]:
    heard = [Heard() for _ in tokens]
    connections: list[tuple[Any, asyncio.Task[None]]] = []
    for token, one in zip(tokens, heard, strict=True):
        connection = await websockets.connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            open_timeout=60,
            proxy=None,
        )
        await connection.recv()  # 0: the session
        await connection.send("40")
        connections.append((connection, asyncio.create_task(_hear(connection, one))))
    pipe.send("connected")
    await asyncio.to_thread(pipe.recv)
    for connection, _ in connections:
        await connection.close()
    await asyncio.gather(*(task for _, task in connections), return_exceptions=True)
    return heard


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
