"""The capturing process's end of its janitor: starts it, tells it what is owed, hears its alarms.
Enter at `JanitorLink.start`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast.hypervisors.errors import CaptureFailed
from holdfast.hypervisors.libvirt.address import LibvirtAddress
from holdfast.hypervisors.libvirt.obligations import Obligations

_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 90.0
_ANSWER_TIMEOUT_S = 20.0
"""Longer than the janitor takes to end a job, during which it does not read messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchAlarm:
    """The janitor ended the job before scratch space ran out."""

    used_bytes: int
    limit_bytes: int


class JanitorLink:
    """A running janitor. Messages are sent before the deed they announce."""

    def __init__(self, process: subprocess.Popen[bytes], vm_name: str) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process has no pipes")
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._vm_name = vm_name
        self._ready = threading.Event()
        self._gone = threading.Event()
        self._answered = threading.Event()
        self.alarm: ScratchAlarm | None = None
        self.thawed_early = False
        self._listener = threading.Thread(target=self._listen, name="janitor", daemon=True)
        self._listener.start()

    @classmethod
    def start(cls, *, address: LibvirtAddress, owed: Obligations) -> JanitorLink:
        """Start one and wait until it is connected. Raises CaptureFailed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.hypervisors.libvirt.janitor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            cwd="/",
        )
        link = cls(process, owed.vm_name)
        link._send({"uri": address.uri, "owed": asdict(owed)})
        if not link._ready.wait(_START_TIMEOUT_S) or link._gone.is_set():
            process.kill()
            link._reap()
            raise CaptureFailed(
                name=owed.vm_name, problem="the process that guards the capture did not start"
            )
        return link

    @property
    def is_gone(self) -> bool:
        """True once it ended. Nothing guards the guest then: the capture must end too."""
        return self._gone.is_set()

    def hear(self) -> None:
        """Return once everything the janitor had said until now has been heard."""
        self._answered.clear()
        try:
            self._send({"do": "answer"})
        except CaptureFailed:
            return
        self._answered.wait(_ANSWER_TIMEOUT_S)

    def folder_made(self) -> None:
        """The run's folder exists now, with its lock: share it."""
        self._send({"do": "folder_made"})

    def freezing(self) -> None:
        self._send({"do": "freeze"})

    def freeze_returned(self) -> None:
        """libvirt has answered the freeze, well or badly: none can come later."""
        self._send({"do": "freeze_returned"})

    def thawed(self) -> None:
        self._send({"do": "thawed"})

    def take_over_thaw(self) -> None:
        """The thaw failed here; the janitor goes on trying."""
        self._send({"do": "thaw"})

    def beginning(self, checkpoint: str) -> None:
        """About to begin the job, with that checkpoint ("" for none)."""
        self._send({"do": "begin", "checkpoint": checkpoint})

    def begun(self, *, scratch_files: list[Path], limit_bytes: int) -> None:
        """The job runs: watch its scratch files."""
        files = [str(file) for file in scratch_files]
        self._send({"do": "begun", "files": files, "limit_bytes": limit_bytes})

    def promoted(self) -> None:
        """The checkpoint is to stay."""
        self._send({"do": "promoted"})

    def dismiss(self) -> None:
        """Everything is paid: end it."""
        if not self.is_gone:
            self._send({"do": "done"})
        self._reap()

    def leave_behind(self) -> None:
        """Something is still owed and cannot be paid now: the janitor goes on by itself."""
        self._input.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._input.write(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ValueError) as error:
            self._gone.set()
            raise CaptureFailed(
                name=self._vm_name, problem="the process that guards the capture ended"
            ) from error

    def _listen(self) -> None:
        for line in self._output:
            event = json.loads(line)
            match event["event"]:
                case "ready":
                    self._ready.set()
                case "scratch":
                    self.alarm = ScratchAlarm(
                        used_bytes=event["used_bytes"], limit_bytes=event["limit_bytes"]
                    )
                case "answer":
                    self._answered.set()
                case "thawing":
                    self.thawed_early = True
                case _:
                    continue
        self._gone.set()
        self._ready.set()
        self._answered.set()

    def _reap(self) -> None:
        self._input.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._output.close()
