"""Owns the frames exchanged between the parent and the sandboxed reader of guest file systems.

Both sides import this module; it uses the standard library only. It must not know what a request
means. Enter at `Channel`.

A frame is a big-endian `uint32` payload length, a `uint8` kind, and the payload. At any time one
request is open. Between REQUEST and its answer (RESULT, DATA or FAILURE) the reader may send any
number of FETCH frames; each is answered by BLOCKS or FETCH_FAILED.

Structured payloads are JSON. Guest names are bytes: they travel as text in which each character
is one byte (latin-1), so every byte string survives and nothing is ever decoded as UTF-8.
"""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

HEADER: Final = struct.Struct("!IB")
FETCH: Final = struct.Struct("!HQI")
"""Disk index, offset, length."""

MAX_STRUCTURED_BYTES: Final = 16 * 1024 * 1024
MAX_DATA_BYTES: Final = 4 * 1024 * 1024
"""Largest DATA or BLOCKS payload, and so the largest FETCH and the largest file read."""
EXIT_EXHAUSTED: Final = 73
"""Exit status of a reader out of memory, whose last frame may not have arrived: the parent may be
in the middle of sending blocks that nobody reads any more."""


class Kind(IntEnum):
    REQUEST = 1
    RESULT = 2
    DATA = 3
    FAILURE = 4
    FETCH = 5
    BLOCKS = 6
    FETCH_FAILED = 7


_LIMITS: Final = {
    Kind.REQUEST: MAX_STRUCTURED_BYTES,
    Kind.RESULT: MAX_STRUCTURED_BYTES,
    Kind.DATA: MAX_DATA_BYTES,
    Kind.FAILURE: 64 * 1024,
    Kind.FETCH: FETCH.size,
    Kind.BLOCKS: MAX_DATA_BYTES,
    Kind.FETCH_FAILED: 0,
}


class ProtocolViolation(Exception):
    """The other side sent something that is no legal frame. The connection is unusable."""


class PeerGone(Exception):
    """The other side closed the connection."""


class Channel:
    """Frames over one connected socket. One thread at a time.

    `wait` is called before each blocking read and write with the socket and whether it is to be
    written; it returns when the socket is ready, or raises to give up (time limit, cancellation).
    Without it the calls block.
    """

    def __init__(
        self, connection: socket.socket, wait: Callable[[socket.socket, bool], None] | None = None
    ) -> None:
        self._socket = connection
        self._wait = wait

    def send(self, kind: Kind, payload: bytes | bytearray | memoryview = b"") -> None:
        """Send one frame. Raises PeerGone when the other side is not there any more."""
        if len(payload) > _LIMITS[kind]:
            raise ProtocolViolation(f"{kind.name} frame of {len(payload)} bytes is too large")
        try:
            self._send_all(HEADER.pack(len(payload), kind))
            self._send_all(payload)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise PeerGone from error

    def receive(self) -> tuple[Kind, bytes]:
        """The next frame. Its length was checked against the limit of its kind before reading."""
        length, number = HEADER.unpack(self._receive_exactly(HEADER.size))
        try:
            kind = Kind(number)
        except ValueError as error:
            raise ProtocolViolation(f"unknown frame kind {number}") from error
        if length > _LIMITS[kind]:
            raise ProtocolViolation(f"{kind.name} frame of {length} bytes is too large")
        return kind, self._receive_exactly(length)

    def _send_all(self, payload: bytes | bytearray | memoryview) -> None:
        view = memoryview(payload)
        while view:
            if self._wait:
                self._wait(self._socket, True)
            view = view[self._socket.send(view) :]

    def _receive_exactly(self, length: int) -> bytes:
        buffer = bytearray(length)
        view = memoryview(buffer)
        while view:
            if self._wait:
                self._wait(self._socket, False)
            try:
                received = self._socket.recv_into(view)
            except ConnectionResetError as error:
                raise PeerGone from error
            if received == 0:
                raise PeerGone
            view = view[received:]
        return bytes(buffer)


def is_ready(connection: socket.socket, *, for_writing: bool, timeout_s: float) -> bool:
    """Wait at most `timeout_s` until the socket can be read or written without blocking."""
    poll = select.poll()
    poll.register(connection, select.POLLOUT if for_writing else select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


def encode(document: dict[str, Any]) -> bytes:
    """A structured payload."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def decode(payload: bytes) -> dict[str, Any]:
    """Inverse of `encode`. Raises ProtocolViolation for anything but a JSON object.

    The values inside are not checked: the caller treats each as hostile.
    """
    try:
        document: Any = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation("payload is not JSON") from error
    if not isinstance(document, dict):
        raise ProtocolViolation("payload is not a JSON object")
    return document  # pyright: ignore[reportUnknownVariableType]


def text_of(name: bytes) -> str:
    """Guest bytes as they travel: one character for each byte."""
    return name.decode("latin-1")


def bytes_of(text: str) -> bytes:
    """Inverse of `text_of`. Raises ProtocolViolation for a character that is no byte."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ProtocolViolation("a name holds a character that is no byte") from error
