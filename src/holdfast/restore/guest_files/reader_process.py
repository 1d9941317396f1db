"""Owns the conversation with one sandboxed reader: starts it, serves the disk bytes it asks for,
limits its time, ends it. Must not know what paths and listings mean. Enter at
`ReaderProcess.request`.

Everything that arrives is hostile. Frame lengths are bounded before they are read, fetches must
lie inside a disk, and whatever breaks the rules ends the process; the next request starts another.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.units import GIB
from holdfast.restore.blocks import BlockSource
from holdfast.restore.guest_files import protocol, sandbox
from holdfast.restore.guest_files.entries import display_name
from holdfast.restore.guest_files.errors import (
    GuestFileDamaged,
    GuestFileKindMismatch,
    GuestFileNotFound,
    GuestFileUnsupported,
    GuestReaderExhausted,
    GuestReaderFailed,
    GuestReaderTimedOut,
    SandboxUnavailable,
)
from holdfast.restore.guest_files.protocol import Channel, Kind

_POLL_S = 0.2
_END_S = 5.0
_MAX_SOURCE_FACTOR = 10
"""Time spent in the block source does not count against the reader, up to this many limits."""
_MAX_STDERR_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLimits:
    """What one reader may use. `request_s` is wall time and processor time of one request."""

    address_space_bytes: int = 1 * GIB
    request_s: float = 120.0


class ReaderProcess:
    """One reader at a time over fixed disks. Thread-safe; requests wait for each other."""

    def __init__(
        self,
        sources: Sequence[tuple[str, BlockSource]],
        *,
        limits: ReaderLimits,
        cancel: CancelToken,
    ) -> None:
        self._sources = sources
        self._limits = limits
        self._cancel = cancel
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._opened: dict[str, Any] = {}
        self._generation = 0
        self._deadline = 0.0
        self._latest = 0.0
        self._source_error: HoldfastError | OSError | None = None

    @property
    def process_id(self) -> int | None:
        """The sandbox's own process, None when none runs."""
        running = self._running
        return running.process.pid if running else None

    @property
    def generation(self) -> int:
        """Grows with each reader started; what a reader remembers ends with it."""
        return self._generation

    def opened(self) -> dict[str, Any]:
        """What the reader said about the volumes when it started; starts it if needed."""
        with self._lock:
            self._ensure_running("/")
            return self._opened

    def request(
        self, operation: str, path: bytes, fields: dict[str, Any]
    ) -> tuple[Kind, dict[str, Any], bytes]:
        """One request: the kind of the answer, its document and its data (one of them empty).

        `path` is for messages only. Raises the errors of this package, Cancelled, and whatever the
        block source raised. After an error the session goes on.
        """
        shown = display_name(path)
        with self._lock:
            running = self._ensure_running(shown)
            return self._exchange(running, {"operation": operation, **fields}, shown)

    def close(self) -> None:
        """End the reader. Safe to call twice."""
        with self._lock:
            self._end()

    def _ensure_running(self, shown: str) -> _Running:
        self._cancel.check()
        if self._running and self._running.process.poll() is None:
            return self._running
        self._end()
        started = sandbox.start(
            address_space_bytes=self._limits.address_space_bytes,
            processor_s=max(1, round(self._limits.request_s)),
        )
        started.connection.setblocking(False)
        channel = Channel(started.connection, self._wait)
        running = _Running(process=started.process, connection=started.connection, channel=channel)
        self._running = running
        self._generation += 1
        disks = [[key, source.size_bytes] for key, source in self._sources]
        try:
            document = {"operation": "open", "disks": disks}
            _, self._opened, _ = self._exchange(running, document, shown)
        except GuestReaderFailed as error:
            raise SandboxUnavailable(problem=error.problem) from error
        return running

    def _exchange(
        self, running: _Running, document: dict[str, Any], shown: str
    ) -> tuple[Kind, dict[str, Any], bytes]:
        self._deadline = time.monotonic() + self._limits.request_s
        self._latest = self._deadline + self._limits.request_s * _MAX_SOURCE_FACTOR
        self._source_error = None
        try:
            running.channel.send(Kind.REQUEST, protocol.encode(document))
            kind, payload = self._converse(running.channel)
            answer = {} if kind is Kind.DATA else protocol.decode(payload)
        except _TimeUp as error:
            self._end()
            raise GuestReaderTimedOut(path=shown, limit_s=self._limits.request_s) from error
        except protocol.ProtocolViolation as error:
            self._end()
            raise GuestReaderFailed(path=shown, problem=str(error)) from error
        except protocol.PeerGone as error:
            death = self._death(running, shown)
            self._cancel.check()
            raise death from error
        except BaseException:
            # Left in the middle of a conversation, for example by Ctrl-C: it cannot be resumed.
            self._end()
            raise
        if kind is Kind.FAILURE:
            raise self._failure(answer, shown)
        return kind, answer, payload

    def _converse(self, channel: Channel) -> tuple[Kind, bytes]:
        """Serve fetches until the answer comes."""
        while True:
            kind, payload = channel.receive()
            if kind in (Kind.DATA, Kind.RESULT, Kind.FAILURE):
                return kind, payload
            if kind is not Kind.FETCH:
                raise protocol.ProtocolViolation(f"unexpected {kind.name}")
            self._serve(channel, payload)

    def _wait(self, connection: socket.socket, for_writing: bool) -> None:
        """Until the socket is ready. Raises _TimeUp or Cancelled."""
        while True:
            # Also when the socket is ready: an answer in small drops must not outlast the limit.
            self._cancel.check()
            if time.monotonic() > self._deadline:
                raise _TimeUp
            if protocol.is_ready(connection, for_writing=for_writing, timeout_s=_POLL_S):
                return

    def _serve(self, channel: Channel, payload: bytes) -> None:
        if len(payload) != protocol.FETCH.size:
            raise protocol.ProtocolViolation("FETCH of a wrong length")
        disk: int
        offset: int
        length: int
        disk, offset, length = protocol.FETCH.unpack(payload)
        if disk >= len(self._sources) or not 0 < length <= protocol.MAX_DATA_BYTES:
            raise protocol.ProtocolViolation("FETCH of no disk or of a wrong length")
        source = self._sources[disk][1]
        if offset + length > source.size_bytes:
            raise protocol.ProtocolViolation("FETCH outside the disk")
        began = time.monotonic()
        try:
            data = source.read(offset, length)
        except (HoldfastError, OSError) as error:
            self._source_error = error
            channel.send(Kind.FETCH_FAILED)
            return
        spent = time.monotonic() - began
        self._deadline = min(self._deadline + spent, self._latest)
        channel.send(Kind.BLOCKS, data)

    def _failure(self, document: dict[str, Any], shown: str) -> BaseException:
        if self._source_error is not None:
            return self._source_error
        code = document.get("code")
        problem = display_name(str(document.get("text"))[:500].encode("utf-8", "replace"))
        if code == "exhausted":
            self._end()
            return GuestReaderExhausted(path=shown, limit_bytes=self._limits.address_space_bytes)
        if code == "not_found":
            return GuestFileNotFound(path=shown, problem=problem)
        if code in ("not_a_directory", "not_a_file"):
            return GuestFileKindMismatch(path=shown, problem=problem)
        if code == "unsupported":
            return GuestFileUnsupported(path=shown, problem=problem)
        return GuestFileDamaged(path=shown, problem=problem)

    def _death(self, running: _Running, shown: str) -> HoldfastError:
        """The process is gone: why, as far as its end tells."""
        process = running.process
        text = _last_words(process)
        try:
            status = process.wait(_END_S)
        except subprocess.TimeoutExpired:
            status = 0
        self._end()
        # bubblewrap gives a child killed by a signal as 128 + signal, as a shell does.
        if status in (128 + signal.SIGXCPU, -signal.SIGXCPU):
            return GuestReaderTimedOut(path=shown, limit_s=self._limits.request_s)
        if status == protocol.EXIT_EXHAUSTED or "MemoryError" in text:
            return GuestReaderExhausted(path=shown, limit_bytes=self._limits.address_space_bytes)
        problem = f"exit status {status}"
        if text:
            problem += f": {text.splitlines()[-1][:200]}"
        return GuestReaderFailed(path=shown, problem=problem)

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        running.connection.close()
        # Killing bubblewrap kills the PID namespace below it.
        running.process.kill()
        running.process.wait()
        if running.process.stderr:
            running.process.stderr.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    process: subprocess.Popen[bytes]
    connection: socket.socket
    channel: Channel


class _TimeUp(Exception):
    """The request took longer than it may."""


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """The end of what the process wrote to standard error, printable."""
    if process.stderr is None:
        return ""
    descriptor = process.stderr.fileno()
    os.set_blocking(descriptor, False)
    collected = b""
    while select.select([descriptor], [], [], _POLL_S)[0]:
        data = os.read(descriptor, 65536)
        if not data:
            break
        collected = (collected + data)[-_MAX_STDERR_BYTES:]
    lines = collected.decode("utf-8", "replace").splitlines()
    return "\n".join(display_name(line.encode("utf-8", "replace")) for line in lines)
