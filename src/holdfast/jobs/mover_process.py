"""A mover as its worker sees it: started, listened to, kept alive, stopped.

The order goes through a pipe, never in arguments or the environment. The process has a group and a
session of its own; the kernel kills it when this process dies.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO

from holdfast.jobs.mover.events import Event, parse_event
from holdfast.jobs.mover.task import Order

_LAST_LINES = 50
_LONGEST_LINE = 1000
_HANDED_DOWN = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "HOLDFAST_FAILPOINTS")
# The parent-death signal is bound to the thread that starts the child: this one lives as long as
# the process (see nbd/processes.py).
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mover-spawner")


class MoverProcess:
    """Events arrive in `events`; None after the last, when the process has ended."""

    def __init__(self, order: Order, extra_environment: Mapping[str, str] | None = None) -> None:
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.last_words: list[str] = []
        """The end of its standard error."""
        environment = {name: os.environ[name] for name in _HANDED_DOWN if name in os.environ}
        self._process = _spawner.submit(
            subprocess.Popen[bytes],
            [sys.executable, "-P", "-m", "holdfast.jobs.mover"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={**environment, **(extra_environment or {})},
            start_new_session=True,
        ).result()
        process = self._process
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("all streams are pipes")
        self._stdin: IO[bytes] = process.stdin
        self._say(json.dumps(order.document(), separators=(",", ":")))
        self._errors = threading.Thread(
            target=self._read_errors, args=(process.stderr,), name="mover-stderr", daemon=True
        )
        self._errors.start()
        threading.Thread(
            target=self._read_events, args=(process.stdout,), name="mover-events", daemon=True
        ).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int:
        """Exit status; negative for a signal."""
        return self._process.wait()

    def keep_alive(self) -> None:
        self._say("alive")

    def cancel(self, reason: str) -> None:
        self._say(f"cancel {' '.join(reason.split())[:200]}")

    def kill(self) -> None:
        """At once, with everything it started in its group."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """After the end."""
        self.kill()
        self._process.wait()
        self._errors.join(timeout=5)
        with suppress(OSError):
            self._stdin.close()

    def _say(self, line: str) -> None:
        with suppress(OSError):  # it has ended: `events` says so
            self._stdin.write(line.encode() + b"\n")
            self._stdin.flush()

    def _read_events(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                with suppress(ValueError):
                    self.events.put(parse_event(line))
        self._process.wait()
        self.events.put(None)

    def _read_errors(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self.last_words.append(line.decode("utf-8", "replace").rstrip()[:_LONGEST_LINE])
                del self.last_words[:-_LAST_LINES]
