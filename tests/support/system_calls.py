"""Faults at system calls of an unchanged program, by strace: record a run once, then let another
run of it die, or fail, at one of the calls seen.

strace counts the calls of each kind separately in each thread, so a call is named by its kind and
its number within its thread; the fault then hits the first thread that gets that far.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

# Everything that creates, changes, names or makes durable, and the traffic with servers.
TRACED = [
    "write",
    "pwrite64",
    "pwritev",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "link",
    "linkat",
    "rename",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "openat",
    "mkdir",
    "sendto",
    "sendmsg",
    "connect",
]
_LINE = re.compile(r"^(?P<thread>\d+) +(?P<name>\w+)\((?P<arguments>.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCall:
    name: str
    number: int
    """Counted from 1, among the calls of this name in its thread."""
    arguments: str

    def __str__(self) -> str:
        return f"{self.name} #{self.number}: {self.arguments[:160]}"


def require_strace() -> None:
    """Skip the test where strace is not installed."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")


def recording(log: Path) -> list[str]:
    """What to run a program under so that `read_calls(log)` can tell its calls."""
    return [*_strace(log), "-y"]


def killing(call: SystemCall, log: Path) -> list[str]:
    """What to run a program under so that the process that makes this call dies before it."""
    return [*_strace(log), f"--inject={call.name}:signal=SIGKILL:when={call.number}"]


def failing(call: SystemCall, error: str, log: Path) -> list[str]:
    """What to run a program under so that this call is not made but fails, once."""
    return [*_strace(log), f"--inject={call.name}:error={error}:when={call.number}"]


def read_calls(log: Path, touching: Sequence[str]) -> list[SystemCall]:
    """The recorded calls, in order, whose arguments name one of these texts."""
    counts: Counter[tuple[str, str]] = Counter()
    calls: list[SystemCall] = []
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue  # the second half of an interrupted line
        counts[match["thread"], match["name"]] += 1
        call = SystemCall(
            name=match["name"],
            number=counts[match["thread"], match["name"]],
            arguments=match["arguments"],
        )
        if any(text in call.arguments for text in touching):
            calls.append(call)
    return calls


def process_ids(log: Path) -> set[int]:
    """Every process and thread that made a traced call."""
    return {int(line.split(maxsplit=1)[0]) for line in log.read_text(errors="replace").splitlines()}


def was_delivered(log: Path) -> bool:
    """Whether the fault was really injected: another run may make its calls in other threads."""
    text = log.read_text(errors="replace")
    return "(INJECTED)" in text or "+++ killed by SIGKILL +++" in text


def _strace(log: Path) -> list[str]:
    # Not --seccomp-bpf: strace 6.1 injects nothing then, and says nothing about it.
    options = ["-f", "-qq", "-s", "8", "-o", str(log)]
    return ["strace", *options, f"--trace={','.join(TRACED)}"]
