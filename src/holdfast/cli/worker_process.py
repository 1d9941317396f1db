"""The worker that `holdfast serve` starts beside itself: started again when it ends, told to stop
when the service stops."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_STEADY_S = 60.0
_STOP_WITHIN_S = 30.0
_log = structlog.get_logger("holdfast.serve")


class WorkerProcess:
    """A context manager around the service's life."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self._command = [sys.executable, "-m", "holdfast.cli.main", "worker", *arguments]
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._supervise, name="worker-supervisor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        with self._lock:
            process = self._process
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        if process is not None:
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                _log.warning("the worker does not stop; it is killed", pid=process.pid)
                process.kill()
        self._thread.join()

    def _supervise(self) -> None:
        import time

        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            started_s = time.monotonic()
            with self._lock:
                if self._stopping.is_set():
                    return
                # Its own session: a Ctrl+C at the terminal reaches it through us, in order.
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, start_new_session=True
                )
            status = self._process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - started_s > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            _log.error("the worker ended; it is started again", status=status, pause_s=pause_s)
            self._stopping.wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
