"""Programs run beside us: found, limited, killed when we die, their failures turned into errors.

Owns how a child process is started. Must not know which program it is or what its output means.
Enter at `run_tool` for programs that end and `start_server` for programs that serve.

No secret may be put into arguments: they are visible to every user of the host. Children get a
fixed, minimal environment.
"""

from __future__ import annotations

import ctypes
import os
import select
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import ToolFailed, ToolMissing, ToolStalled
from holdfast.core.units import GIB, KIB

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": SEARCH_PATH, "LC_ALL": "C"}
_MEMORY_LIMIT_BYTES = 8 * GIB
"""Address space, not memory in use: thread stacks and mappings count."""
_POLL_S = 0.25
_DIES_WITHIN_S = 10.0
"""After SIGKILL. What waits in the kernel for storage that does not answer dies when that does."""
_OUTPUT_SHOWN_BYTES = 2 * KIB

# The parent-death signal is bound to the *thread* that started the child, not to the process: a
# child started by a worker thread would be killed when that thread ends. The one thread of this
# executor lives until the main thread has ended. One a process: a fork does not copy threads.
_spawners: dict[int, ThreadPoolExecutor] = {}

_IN_MODIFY = 0x002
_IN_CREATE = 0x100


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    status: int
    output: bytes
    errors: str
    """Standard error, shortened."""


def run_tool(
    arguments: Sequence[str],
    *,
    package: str,
    timeout_s: float,
    stalled_after_s: float | None = None,
    accept: frozenset[int] = frozenset({0}),
    output: Callable[[bytes], object] | None = None,
    cancel: CancelToken | None = None,
) -> ToolResult:
    """Run a program to its end. `package` is the Debian package that has it. Standard output goes
    to `output` piece by piece, or into the result; of standard error the last 2 KiB are kept.
    `stalled_after_s` is how long it may stand still, reading nothing and computing nothing.

    Raises ToolMissing, and ToolFailed for an exit status outside `accept` or when it had to be
    killed after `timeout_s` (status -1), ToolStalled after `stalled_after_s`; Cancelled, having
    killed it.
    """
    process = _spawn(arguments, package=package, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    collected = bytearray()
    errors = bytearray()

    def keep_tail(piece: bytes) -> None:
        errors.extend(piece)
        del errors[:-_OUTPUT_SHOWN_BYTES]

    if process.stdout is None or process.stderr is None:
        raise ValueError("both streams are pipes")
    deadline = time.monotonic() + timeout_s

    def check() -> None:
        if cancel is not None:
            cancel.check()
        if stalled_after_s is not None and progress.stands_still_s() >= stalled_after_s:
            problem = f"it stood still for {stalled_after_s:.0f} s"
            raise ToolStalled(tool=arguments[0], status=-1, output=problem)

    progress = _Progress(process.pid)
    try:
        with process.stdout, process.stderr:
            sinks = {process.stdout: output or collected.extend, process.stderr: keep_tail}
            in_time = _drain(sinks, deadline, check)
        if in_time:
            process.wait(timeout=max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        in_time = False
    finally:
        end_process(process, grace_s=0)
    if not in_time:
        problem = f"did not end within {timeout_s:.0f} s"
        raise ToolFailed(tool=arguments[0], status=-1, output=problem)
    shown = shorten(errors)
    if process.returncode not in accept:
        raise ToolFailed(tool=arguments[0], status=process.returncode, output=shown)
    return ToolResult(status=process.returncode, output=bytes(collected), errors=shown)


def _drain(
    sinks: dict[IO[bytes], Callable[[bytes], object]],
    deadline: float,
    check: Callable[[], None],
) -> bool:
    """Hand on what arrives until every stream has ended; False when the time ran out. `check` is
    called now and then; what it raises ends the wait."""
    with selectors.DefaultSelector() as selector:
        for stream, sink in sinks.items():
            selector.register(stream, selectors.EVENT_READ, sink)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            check()
            for key, _ in selector.select(min(remaining, _POLL_S)):
                piece = os.read(key.fd, 64 * KIB)
                if piece:
                    key.data(piece)
                else:
                    selector.unregister(key.fileobj)
    return True


class _Progress:
    """How long a process has stood still, by what the kernel counts of it."""

    def __init__(self, pid: int) -> None:
        self._process = Path("/proc") / str(pid)
        self._counts = self._count()
        self._since = time.monotonic()

    def stands_still_s(self) -> float:
        counts = self._count()
        if counts != self._counts:
            self._counts = counts
            self._since = time.monotonic()
        return time.monotonic() - self._since

    def _count(self) -> tuple[list[str], str]:
        """Processor time of all its threads, and calls and bytes read and written (proc(5))."""
        stat = (self._process / "stat").read_text().rpartition(")")[2].split()
        try:
            transfers = (self._process / "io").read_text()
        except OSError:
            # A kernel that does not count them.
            transfers = ""
        return stat[11:13], transfers


def start_server(
    arguments: Sequence[str], *, package: str, stderr_path: Path, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program that serves until `end_process`, or until we die. Raises ToolMissing.

    Its standard error goes to a file: nobody drains a pipe for as long as it runs. Descriptors in
    `pass_fds` keep their numbers there: the way for a secret, by a pipe.
    """
    with stderr_path.open("wb") as stderr:
        return _spawn(
            arguments,
            package=package,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=pass_fds,
        )


def end_process(process: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """Ask the process to end, kill it after `grace_s`, and return its exit status. A process that
    hangs in the kernel is left to die, and counts as killed."""
    if process.poll() is None and grace_s > 0:
        process.terminate()
        try:
            return process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    elif process.returncode is None:
        process.kill()
    try:
        return process.wait(timeout=_DIES_WITHIN_S)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def await_file(path: Path, process: subprocess.Popen[bytes], *, timeout_s: float) -> bool:
    """Wait until `path` (a pid file, written once the server listens) has content. False when
    the process ended first or the time ran out."""
    deadline = time.monotonic() + timeout_s
    watch = _watch_folder(path.parent)
    ended = os.pidfd_open(process.pid)
    try:
        while True:
            if path.exists() and path.stat().st_size:
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0 or process.poll() is not None:
                return False
            ready, _, _ = select.select([watch, ended], [], [], remaining)
            if watch in ready:
                os.read(watch, 64 * KIB)
    finally:
        os.close(watch)
        os.close(ended)


def shorten(output: bytes | bytearray) -> str:
    """The last lines of a program's output, printable, on one line."""
    text = bytes(output[-_OUTPUT_SHOWN_BYTES:]).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _spawn(
    arguments: Sequence[str],
    *,
    package: str,
    stdout: int,
    stderr: int | IO[bytes],
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    tool = shutil.which(arguments[0], path=SEARCH_PATH)
    if tool is None:
        raise ToolMissing(tool=arguments[0], package=package)
    # prlimit and setpriv (util-linux) set the limit and the parent-death signal and become the
    # program; a preexec_fn could deadlock in a process with threads. Were we killed before
    # setpriv ran, the child would outlive us.
    command = [
        "prlimit",
        f"--as={_MEMORY_LIMIT_BYTES}",
        "setpriv",
        "--pdeathsig",
        "KILL",
        tool,
        *arguments[1:],
    ]
    spawner = _spawners.setdefault(
        os.getpid(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
    )
    started = spawner.submit(
        subprocess.Popen[bytes],
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=_ENVIRONMENT,
        cwd="/",
        # Ctrl-C reaches the whole foreground group; a server must outlive it until we are done.
        start_new_session=True,
        pass_fds=pass_fds,
    )
    return started.result()


def _watch_folder(folder: Path) -> int:
    """An inotify descriptor that becomes readable when a file there is created or written."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_CREATE | _IN_MODIFY) < 0:
        os.close(descriptor)
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    return descriptor
