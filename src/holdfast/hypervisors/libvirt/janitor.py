"""The process that keeps a capture's promises when the capturing process cannot.

Run as `python -m holdfast.hypervisors.libvirt.janitor` in a session of its own. Reads messages as
JSON lines on stdin and writes events as JSON lines on stdout (`janitor_link` is the other end). It

- thaws the guest when the freeze has lasted too long, whatever the parent waits for;
- watches scratch space and ends the backup job before QEMU runs out of it, which would otherwise
  fail the guest's own writes; a process of its own because the parent's threads may be starved;
- discharges all obligations when stdin ends without `done`, trying for a minute.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.core.errors import HoldfastError
from holdfast.hypervisors.libvirt.address import LibvirtAddress
from holdfast.hypervisors.libvirt.connection import LibvirtConnection, is_active
from holdfast.hypervisors.libvirt.obligations import Obligations, discharge, end_job, thaw
from holdfast.hypervisors.libvirt.scratch import free_bytes, measure, share_lock

FREEZE_LIMIT_S = 8.0
"""From the request to freeze until the janitor thaws. Two seconds short of the promised ten, for
the thaw itself."""
SCRATCH_POLL_S = 0.02
"""A poll costs some 20 us. At 80 % of the space the rest must last for one poll and the end of the
job (measured 10-30 ms)."""
SCRATCH_SHARE = 0.8
_IDLE_POLL_S = 0.25
_PERSISTENCE_S = 60.0
_RETRY_PAUSE_S = 0.5
_CALL_SETTLES_S = 35.0
"""A call to freeze or to begin a backup outlives the process that made it: libvirt waits up to 30 s
for the VM's lock. So long the janitor goes on looking for what started late, and thawing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Scratch files being watched."""

    folder: Path
    files: tuple[Path, ...]
    limit_bytes: int


class Janitor:
    """State of the process. The main thread reads messages and polls; thawing has its own thread,
    because an agent that does not answer must not delay the watch over scratch space."""

    def __init__(self, connection: LibvirtConnection, owed: Obligations) -> None:
        self._connection = connection
        self._owed = owed
        self._freeze_deadline: float | None = None
        self._freeze_pending = False
        self._begin_pending = False
        self._watch: Watch | None = None
        self._thaw_wanted = threading.Event()
        self._output = threading.Lock()

    def serve(self, lines: _Lines) -> int:
        """Until `done` or the end of stdin; the exit status."""
        threading.Thread(target=self._thaw_loop, daemon=True).start()
        self._connection.domain(self._owed.vm_id)
        self._emit(event="ready")
        while True:
            for message in lines.read(SCRATCH_POLL_S if self._watch else _IDLE_POLL_S):
                if message["do"] == "done":
                    return 0
                self._handle(message)
            if lines.ended:
                return self._discharge()
            self._check_freeze()
            self._check_scratch()

    def _handle(self, message: dict[str, Any]) -> None:
        match message["do"]:
            case "folder_made":
                share_lock(Path(self._owed.folder))
            case "freeze":
                self._owed = replace(self._owed, frozen=True)
                self._freeze_deadline = time.monotonic() + FREEZE_LIMIT_S
                self._freeze_pending = True
            case "freeze_returned":
                self._freeze_pending = False
            case "thawed":
                self._owed = replace(self._owed, frozen=False)
                self._freeze_deadline = None
            case "thaw":
                self._freeze_deadline = None
                self._thaw_wanted.set()
            case "begin":
                self._owed = replace(self._owed, checkpoint=message["checkpoint"])
                self._begin_pending = True
            case "begun":
                self._begin_pending = False
                folder = Path(self._owed.folder)
                self._watch = Watch(
                    folder=folder,
                    files=tuple(Path(file) for file in message["files"]),
                    limit_bytes=min(message["limit_bytes"], free_bytes(folder)),
                )
            case "answer":
                self._emit(event="answer")
            case "promoted":
                self._owed = replace(self._owed, checkpoint="")
            case other:
                raise ValueError(f"unknown message {other!r}")

    def _check_freeze(self) -> None:
        if self._freeze_deadline is not None and time.monotonic() >= self._freeze_deadline:
            self._freeze_deadline = None
            self._emit(event="thawing")
            self._thaw_wanted.set()

    def _check_scratch(self) -> None:
        watch = self._watch
        if watch is None:
            return
        try:
            use = measure(watch.files, watch.folder)
        except FileNotFoundError:
            self._watch = None
            return
        threshold = int(watch.limit_bytes * SCRATCH_SHARE)
        if use.used_bytes < threshold and use.free_bytes > watch.limit_bytes - threshold:
            return
        self._watch = None
        # First the word, so that the parent knows why its readers fail; it takes microseconds.
        self._emit(event="scratch", used_bytes=use.used_bytes, limit_bytes=watch.limit_bytes)
        deadline = time.monotonic() + _PERSISTENCE_S
        while not self._try_end_job() and time.monotonic() < deadline:
            time.sleep(_RETRY_PAUSE_S)

    def _try_end_job(self) -> bool:
        try:
            domain = self._connection.domain(self._owed.vm_id)
            end_job(domain, self._connection.platform, Path(self._owed.folder))
        except HoldfastError as error:
            self._emit(event="problem", text=str(error))
            return False
        return True

    def _thaw_loop(self) -> None:
        while True:
            self._thaw_wanted.wait()
            self._thaw_wanted.clear()
            self._thaw_until_confirmed()

    def _thaw_until_confirmed(self) -> None:
        deadline = time.monotonic() + _PERSISTENCE_S
        while time.monotonic() < deadline:
            try:
                domain = self._connection.domain(self._owed.vm_id)
                if is_active(domain, self._connection.platform):
                    thaw(domain, self._connection.platform)
            except HoldfastError as error:
                self._emit(event="problem", text=str(error))
                time.sleep(_RETRY_PAUSE_S)
            else:
                self._owed = replace(self._owed, frozen=False)
                self._emit(event="thawed")
                return

    def _discharge(self) -> int:
        """The parent is gone. Keep at it until nothing is owed or the time is up."""
        now = time.monotonic()
        pending = self._begin_pending or self._freeze_pending
        settled = now + (_CALL_SETTLES_S if pending else 0)
        while True:
            try:
                discharge(self._owed, self._connection)
            except HoldfastError as error:
                self._emit(event="problem", text=str(error))
                if time.monotonic() >= now + _PERSISTENCE_S:
                    return 1
            else:
                if time.monotonic() >= settled:
                    return 0
                if not self._freeze_pending:
                    self._owed = replace(self._owed, frozen=False)
            time.sleep(_RETRY_PAUSE_S)

    def _emit(self, **event: object) -> None:
        """Tell the parent, if it still listens."""
        with self._output:
            try:
                os.write(sys.stdout.fileno(), json.dumps(event).encode() + b"\n")
            except BrokenPipeError:
                return


class _Lines:
    """JSON lines from a descriptor, without ever waiting longer than asked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self.ended = False

    def read(self, timeout_s: float) -> list[dict[str, Any]]:
        ready, _, _ = select.select([self._descriptor], [], [], timeout_s)
        if not ready:
            return []
        data = os.read(self._descriptor, 65536)
        self.ended = not data
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]


def main() -> int:
    """Entry of the process. The first message says for whom it works; the parent sends no other
    before it has heard `ready`."""
    lines = _Lines(sys.stdin.fileno())
    messages: list[dict[str, Any]] = []
    while not messages and not lines.ended:
        messages = lines.read(_IDLE_POLL_S)
    if not messages:
        return 0
    connection = LibvirtConnection(LibvirtAddress.parse(messages[0]["uri"]))
    return Janitor(connection, Obligations(**messages[0]["owed"])).serve(lines)


if __name__ == "__main__":
    sys.exit(main())
