"""The guest agent of one VM, spoken to through `virsh qemu-agent-command`: files and commands.

Protocol: docs/interop/qemu-ga-ref of QEMU. Answers come from the guest: sizes and times are
bounded, nothing in them is run here. Enter at `GuestAgent`.
"""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from holdfast.cli.demo.errors import GuestCommandFailed
from holdfast.cli.demo.libvirt_service import virsh
from holdfast.core.errors import ToolFailed
from holdfast.core.units import KIB, MIB

# One command line argument holds at most 128 KiB (MAX_ARG_STRLEN), base64 included.
_WRITE_BYTES = 48 * KIB
_READ_BYTES = 1 * MIB
_ANSWER_TIMEOUT_S = 10
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestAgent:
    """Every method raises `ToolFailed` while the agent does not answer or refuses."""

    domain: str

    def ping(self) -> None:
        self._call("guest-ping", {}, timeout_s=2)

    def read_file(self, path: str) -> bytes:
        handle = self._call("guest-file-open", {"path": path, "mode": "r"})
        content = bytearray()
        try:
            while True:
                answer = self._call("guest-file-read", {"handle": handle, "count": _READ_BYTES})
                part = cast("dict[str, object]", answer)
                content += base64.b64decode(cast(str, part["buf-b64"]))
                if part["eof"]:
                    return bytes(content)
        finally:
            self._call("guest-file-close", {"handle": handle})

    def write_file(self, path: str, content: bytes) -> None:
        """Replace a file's content. Not durable in the guest before `sync`."""
        handle = self._call("guest-file-open", {"path": path, "mode": "w"})
        try:
            for start in range(0, len(content), _WRITE_BYTES):
                part = base64.b64encode(content[start : start + _WRITE_BYTES]).decode()
                self._call("guest-file-write", {"handle": handle, "buf-b64": part})
        finally:
            self._call("guest-file-close", {"handle": handle})

    def sync(self) -> None:
        self.run(["sync"], timeout_s=60)

    def run(self, arguments: Sequence[str], *, timeout_s: float = 30) -> bytes:
        """Standard output of a command in the guest. Raises `GuestCommandFailed`."""
        started = self._call(
            "guest-exec",
            {"path": arguments[0], "arg": list(arguments[1:]), "capture-output": True},
        )
        deadline_s = time.monotonic() + timeout_s
        while not (status := self._status(started))["exited"]:
            if time.monotonic() > deadline_s:
                raise self._failed(arguments, -1, f"no end after {timeout_s:.0f} s")
            time.sleep(_POLL_S)
        code = cast(int, status.get("exitcode", -1))
        if code != 0:
            problem = base64.b64decode(cast(str, status.get("err-data", "")))
            raise self._failed(arguments, code, problem.decode(errors="replace").strip())
        return base64.b64decode(cast(str, status.get("out-data", "")))

    def freeze(self) -> int:
        """Freeze the guest's file systems; how many. The caller owes a `thaw`."""
        return cast(int, self._call("guest-fsfreeze-freeze", {}))

    def thaw(self) -> int:
        return cast(int, self._call("guest-fsfreeze-thaw", {}))

    def freeze_status(self) -> str:
        """`frozen` or `thawed`."""
        return cast(str, self._call("guest-fsfreeze-status", {}))

    def _status(self, started: object) -> dict[str, object]:
        pid = cast("dict[str, int]", started)["pid"]
        return cast("dict[str, object]", self._call("guest-exec-status", {"pid": pid}))

    def _call(
        self, command: str, arguments: Mapping[str, object], timeout_s: int = _ANSWER_TIMEOUT_S
    ) -> object:
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        answer = virsh(
            *("qemu-agent-command", "--timeout", str(timeout_s), self.domain, json.dumps(request)),
            timeout_s=timeout_s + _ANSWER_TIMEOUT_S,
        )
        return cast("dict[str, object]", json.loads(answer))["return"]

    def _failed(self, arguments: Sequence[str], status: int, output: str) -> GuestCommandFailed:
        return GuestCommandFailed(
            name=self.domain, command=shlex.join(arguments), status=status, output=output
        )


def wait_until_it_answers(
    agent: GuestAgent, *, timeout_s: float, still_running: Callable[[], bool]
) -> bool:
    """True once the agent answers; False when the time is up or the VM no longer runs."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s and still_running():
        try:
            agent.ping()
        except ToolFailed:
            time.sleep(_POLL_S)
        else:
            return True
    return False
