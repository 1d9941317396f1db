"""Cancellation: one flag, polled by whoever moves bytes."""

from __future__ import annotations

import threading

from holdfast.core.errors import Cancelled


class CancelToken:
    """Set once, from any thread or a signal handler; never reset."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason = "cancelled"

    def cancel(self, reason: str = "cancelled") -> None:
        self._reason = reason
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if the flag is set. Cheap enough to call for every chunk."""
        if self._event.is_set():
            raise Cancelled(reason=self._reason)

    def wait(self, seconds: float) -> None:
        """Until the flag is set, `seconds` at most."""
        self._event.wait(seconds)
