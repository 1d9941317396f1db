"""One command run and measured: wall time, CPU and peak memory of its whole process tree.

Knows nothing of what is run. Enter at `measure`.
"""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

_SAMPLE_S = 0.05
_TIMEOUT_S = 1800.0
_KIB = 1024
_TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36
_OUTPUT_SHOWN = 1500
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to run. Its environment is `environment` and a search path, nothing else."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    folder: Path = Path("/")
    stdout: Path | None = None
    """Where its output goes; nowhere when None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    wall_s: float
    cpu_s: float
    """User and system time of the process and all its descendants."""
    server_cpu_s: float
    """CPU time of the processes it made work for it (QEMU), during the run."""
    peak_bytes: int
    """Largest sum of resident memory over the tree; pages shared by processes count twice."""
    settle_s: float
    """Time it took to make durable what it had written but not synced when it ended."""


class CommandFailed(Exception):
    def __init__(self, command: Command, status: int | None, output: str) -> None:
        super().__init__(f"{' '.join(command.arguments)} ended with {status}: {output}")


def measure(
    command: Command, *, cold: bool, written: Path | None = None, servers: Sequence[int] = ()
) -> Measurement:
    """Run `command` to its end after a sync, with an empty page cache when `cold`.

    `written` is the file or folder that it writes. `servers` are processes outside the tree whose
    CPU time belongs to the work. Raises CommandFailed, also when it does not end in half an hour.
    """
    os.sync()
    if cold:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    served = sum(map(_cpu_of, servers))
    others = frozenset(_children(os.getpid()))
    with _subreaper(), _started(command) as process:
        # Popen returned after the exec: what came before it is a millisecond.
        started = time.perf_counter()
        peak_bytes = _watch(process, started, others)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu_s = usage.ru_utime + usage.ru_stime + _reap_orphans(others)
    served = sum(map(_cpu_of, servers)) - served
    return Measurement(
        wall_s=wall_s,
        cpu_s=cpu_s,
        server_cpu_s=served,
        peak_bytes=peak_bytes,
        settle_s=_settle(written) if written else 0.0,
    )


def _settle(written: Path) -> float:
    """Sync each file; a sync of the file system would wait for everyone's writes."""
    files = [written] if written.is_file() else list(written.rglob("*"))
    started = time.perf_counter()
    for path in files:
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    return time.perf_counter() - started


def run(command: Command) -> None:
    """Run without measuring. Raises CommandFailed."""
    with _started(command):
        pass


@contextmanager
def _started(command: Command) -> Generator[subprocess.Popen[bytes]]:
    """The process; leaving waits for its end and raises CommandFailed when it failed."""
    with TemporaryFile() as errors, (command.stdout or Path(os.devnull)).open("wb") as output:
        process = subprocess.Popen(
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=command.folder,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", **command.environment},
        )
        try:
            yield process
            if process.returncode is None:
                process.wait(timeout=_TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _OUTPUT_SHOWN))
            text = errors.read().decode(errors="replace").strip()
            raise CommandFailed(command, process.returncode, text)


def _watch(process: subprocess.Popen[bytes], started: float, others: frozenset[int]) -> int:
    """Wait for the end; the peak of resident memory. `ru_maxrss` would not do: it begins with
    what this very process holds, because the child is forked from it."""
    peak = 0
    ended = os.pidfd_open(process.pid)
    try:
        while True:
            now, highest = _memory(_descendants(os.getpid()) - others)
            peak = max(peak, now, highest)
            if select.select([ended], [], [], _SAMPLE_S)[0]:
                return peak
            if time.perf_counter() - started > _TIMEOUT_S:
                process.kill()
    finally:
        os.close(ended)


def _memory(pids: Iterable[int]) -> tuple[int, int]:
    """Sum of what the processes hold now, and the most that one of them ever held."""
    total = highest = 0
    for pid in pids:
        fields = _status(pid)
        total += fields.get("VmRSS", 0)
        highest = max(highest, fields.get("VmHWM", 0))
    return total, highest


def _status(pid: int) -> dict[str, int]:
    """Sizes in bytes from /proc; nothing when the process has ended."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes = (line.split() for line in lines if line.endswith(" kB"))
        return {name.rstrip(":"): int(value) * _KIB for name, value, _ in sizes}
    return {}


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for child in _children(pid):
        found |= {child, *_descendants(child)}
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def _cpu_of(pid: int) -> float:
    """CPU time so far of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def _subreaper() -> Generator[None]:
    """Descendants that leave their parent (daemons such as qemu-nbd) become our children, so that
    their time is counted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _reap_orphans(others: frozenset[int]) -> float:
    """CPU time of what the measured process left behind: what ended is reaped, what runs on
    counts up to now."""
    total = 0.0
    for pid in set(_children(os.getpid())) - others:
        reaped, _, usage = os.wait4(pid, os.WNOHANG)
        total += usage.ru_utime + usage.ru_stime if reaped else _cpu_of(pid)
    return total
