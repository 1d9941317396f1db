"""One NBD connection whose every wait has an end.

Owns the libnbd handle, the negotiation and the watchdog. libnbd's synchronous calls wait without
limit, so only its asynchronous calls are used, and every wait goes through `wait`.

Must not know what is read or written, or why. Enter at `NbdConnection.connect`; `client.py` is
what the rest of Holdfast uses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nbd

NO_PROGRESS_TIMEOUT_S = 60.0
"""A server that answers nothing for this long is given up."""

_POLL_SLICE_MS = 250
"""Python runs signal handlers between two slices, so that Ctrl-C is not held up by a server."""

_FUNCTION_PREFIX = re.compile(r"^nbd_\w+: ")


class NbdFailure(Exception):
    """Why a connection or a command failed. Never leaves this package: `client.py` turns it into
    the error of its caller's side."""

    def __init__(self, problem: str, errno: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.errno = errno


class NbdConnection:
    """A negotiated connection. One thread at a time. After any failure it is closed for good:
    libnbd may still hold requests that would write into buffers the caller got back."""

    def __init__(self, handle: nbd.NBD, *, contexts: Sequence[str], timeout_s: float) -> None:
        self._handle: nbd.NBD | None = handle
        self._timeout_s = timeout_s
        self._negotiate(contexts)

    @classmethod
    def connect(
        cls,
        *,
        socket_path: Path,
        export: str,
        contexts: Sequence[str] = (),
        timeout_s: float = NO_PROGRESS_TIMEOUT_S,
    ) -> NbdConnection:
        """Connect and negotiate. Raises NbdFailure."""
        handle = nbd.NBD()
        try:
            handle.set_export_name(export)
            for context in contexts:
                handle.add_meta_context(context)
            # Buffers are filled or the call fails; clearing them first would cost a pass over
            # memory for each read.
            handle.set_pread_initialize(False)
            # The tail of a disk need not be a multiple of the server's preferred block; QEMU
            # serves unaligned requests.
            handle.set_strict_mode(handle.get_strict_mode() & ~nbd.STRICT_ALIGN)
            handle.aio_connect_unix(str(socket_path))
            return cls(handle, contexts=contexts, timeout_s=timeout_s)
        except nbd.Error as error:
            raise _failure(error) from error

    def _negotiate(self, contexts: Sequence[str]) -> None:
        """Wait for the handshake and record what was agreed."""
        handle = self.handle
        self._wait_until(lambda: not handle.aio_is_connecting())
        self._require_ready(handle)
        self.size_bytes = handle.get_size()
        self.is_read_only = handle.is_read_only()
        self.can_flush = handle.can_flush()
        self.can_zero = handle.can_zero()
        self._agreed = frozenset(name for name in contexts if handle.can_meta_context(name))

    def has_context(self, name: str) -> bool:
        """Whether the server agreed to report that metadata context."""
        return name in self._agreed

    @property
    def handle(self) -> nbd.NBD:
        """For queries and for issuing asynchronous commands. Raises NbdFailure when closed."""
        if self._handle is None:
            raise NbdFailure("the connection was closed")
        return self._handle

    @property
    def is_closed(self) -> bool:
        return self._handle is None

    def wait(self, cookies: dict[int, int]) -> list[int]:
        """Wait until at least one command of `cookies` (cookie to disk offset) is complete;
        returns the cookies that are, now retired. Raises NbdFailure for the first that failed."""
        handle = self.handle
        done: list[int] = []

        def any_done() -> bool:
            done.extend(cookie for cookie in cookies if handle.aio_command_completed(cookie))
            return bool(done)

        try:
            self._wait_until(any_done)
        except nbd.Error as error:
            self.close()
            raise _failure(error) from error
        except NbdFailure:
            self.close()
            raise
        return done

    def issue(self, command: Callable[[nbd.NBD], int]) -> int:
        """Start one asynchronous command; returns its cookie. Raises NbdFailure."""
        try:
            return command(self.handle)
        except nbd.Error as error:
            self.close()
            raise _failure(error) from error

    def close(self) -> None:
        """Say goodbye when the server is listening, and drop the handle. Never waits, never
        raises, may be called twice."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            if handle.aio_is_ready():
                handle.aio_disconnect()
        except nbd.Error:
            # The server went first; closing the socket says the same.
            return

    def _require_ready(self, handle: nbd.NBD) -> None:
        if not handle.aio_is_ready():
            raise NbdFailure("the server ended the connection while it was set up")

    def _wait_until(self, reached: Callable[[], bool]) -> None:
        """Poll until `reached`. Raises NbdFailure when the connection dies or stands still."""
        handle = self.handle
        deadline = time.monotonic() + self._timeout_s
        while not reached():
            if handle.aio_is_dead() or handle.aio_is_closed():
                raise NbdFailure("the server went away")
            if time.monotonic() >= deadline:
                raise NbdFailure(f"the server did not answer for {self._timeout_s:.0f} s")
            handle.poll(_POLL_SLICE_MS)


def _failure(error: nbd.Error) -> NbdFailure:
    """libnbd's message without the name of its function."""
    return NbdFailure(_FUNCTION_PREFIX.sub("", str(error)), error.errnum)
