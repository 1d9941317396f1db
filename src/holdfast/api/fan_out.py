"""Sends live events to many connections: each event is encoded once, all that a connection is to
hear goes to it at once, and between every few connections whatever else waits has its turn, so that
requests do not wait for hundreds of browsers. Enter at `FanOut.send`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import engineio  # pyright: ignore[reportMissingTypeStubs]
import socketio  # pyright: ignore[reportMissingTypeStubs]

_AT_ONCE = 8
"""Connections between two turns of everything else: about two milliseconds."""
_packets: Any = cast("Any", socketio).packet
_frames: Any = cast("Any", engineio).packet
EncodedEvent = Any
"""As Engine.IO takes it."""


class FanOut:
    """In the event loop only."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def encode(self, event: str, payload: dict[str, Any]) -> EncodedEvent:
        packet = _packets.Packet(_packets.EVENT, namespace="/", data=[event, payload])
        return _frames.Packet(_frames.MESSAGE, packet.encode())

    async def send(self, events: Mapping[str, Sequence[EncodedEvent]]) -> None:
        """By connection, in their order. Connections that have ended are passed over."""
        for number, (sid, theirs) in enumerate(events.items(), 1):
            connection = self._server.manager.eio_sid_from_sid(sid, "/")
            if connection is not None:
                for event in theirs:
                    await self._server.eio.send_packet(connection, event)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
