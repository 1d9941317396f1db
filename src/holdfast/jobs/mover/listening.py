"""What a mover hears, and how it stops: by a line, by silence, by the end of the pipe, by a signal.

However it was told to stop, it is gone `stop_s` later: work that hangs in a call that cannot be
interrupted ends with the process, and what that leaves is cleaned up as after a kill.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import IO

from holdfast.core.cancellation import CancelToken

EXIT_STUCK = 75


class Listener:
    """Reads lines until the end; sets the token when told to."""

    def __init__(
        self, stream: IO[bytes], cancel: CancelToken, *, keepalive_s: float, stop_s: float
    ) -> None:
        self._stream = stream
        self._cancel = cancel
        self._keepalive_s = keepalive_s
        self._stop_s = stop_s
        self._heard_s = time.monotonic()
        self._told = threading.Event()

    def start(self) -> None:
        for act, name in ((self._listen, "listener"), (self._watch, "watchdog")):
            threading.Thread(target=act, name=name, daemon=True).start()
        signal.signal(signal.SIGTERM, self._on_signal)
        # The terminal's Ctrl-C is for the worker, which tells us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._stop(f"by {signal.Signals(number).name}")

    def _listen(self) -> None:
        for line in self._stream:
            self._heard_s = time.monotonic()
            word, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            if word == "cancel":
                self._stop(rest or "cancelled")
        self._stop("its worker is gone")

    def _stop(self, reason: str) -> None:
        if not self._cancel.is_cancelled:
            self._cancel.cancel(reason)
        self._told.set()

    def _watch(self) -> None:
        while not self._told.wait(min(1.0, self._keepalive_s / 4)):
            if time.monotonic() - self._heard_s > self._keepalive_s:
                self._stop("its worker stopped answering")
        time.sleep(self._stop_s)
        os._exit(EXIT_STUCK)
