"""The reader is locked in: shown on the running process and by code run in its place."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Cancelled, ToolMissing
from holdfast.restore.guest_files import sandbox
from holdfast.restore.guest_files.errors import (
    GuestReaderExhausted,
    GuestReaderFailed,
    GuestReaderTimedOut,
)
from holdfast.restore.guest_files.reader_process import ReaderLimits, ReaderProcess
from holdfast.restore.guest_files.session import GuestFiles
from tests.support.file_block_source import FileBlockSource
from tests.support.filesystems import MIB, make, run

PROBE = """
import ctypes, json, os, socket, sys
def attempt(action):
    try:
        return repr(action())
    except OSError as error:
        return type(error).__name__
port, secret = int(sys.argv[1]), sys.argv[2]
def connect():
    return socket.create_connection(("127.0.0.1", port), 2)
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(), "pid": os.getpid(),
    "environment": dict(os.environ), "root": sorted(os.listdir("/")),
    "shadow": attempt(lambda: open("/etc/shadow").read()),
    "passwd": attempt(lambda: open("/etc/passwd").read()),
    "secret": attempt(lambda: open(secret).read()),
    "home": attempt(lambda: os.listdir("/root")),
    "proc": attempt(lambda: os.listdir("/proc")),
    "devices": attempt(lambda: os.listdir("/dev")),
    "connect": attempt(connect),
    "fork": attempt(os.fork),
    "user_namespace": ctypes.CDLL(None).unshare(0x10000000),
    "unix": attempt(lambda: socket.socket(socket.AF_UNIX)),
    "mount": ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None),
    "write": [attempt(lambda: open(p + "/x", "w")) for p in ("/", "/tmp", "/usr", sys.prefix)],
    "become_root": attempt(lambda: os.setuid(0)),
    "descriptors": [n for n in range(3, 256) if attempt(lambda: os.fstat(n)) != "OSError"],
    "traceable": ctypes.CDLL(None).prctl(39, 0, 0, 0, 0),
}))
"""


def _crowd(root: Path) -> None:
    (root / "large").mkdir()
    for number in range(60_000):
        os.close(os.open(root / "large" / f"{number:0240d}", os.O_CREAT))
    (root / "small").write_bytes(b"small")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """ext4 with a directory of 60,000 names beside a small one."""
    path = tmp_path / "image"
    make(path, 128 * MIB, "mkfs.ext4", "-q", "-b", "4096", "-N", "70000", fill=_crowd)
    return path


@pytest.fixture
def small_image(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "small").write_bytes(b"small")
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(8 * MIB)
    run("mkfs.ext4", "-q", "-d", source, path)
    return path


def _process(
    image: Path, limits: ReaderLimits | None = None, cancel: CancelToken | None = None
) -> ReaderProcess:
    sources = [("vda", FileBlockSource(image))]
    return ReaderProcess(sources, limits=limits or ReaderLimits(), cancel=cancel or CancelToken())


def _innermost(process: ReaderProcess) -> int:
    """The host's process id of the reader itself, below bubblewrap's own processes."""
    pid = process.process_id
    assert pid is not None
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid


@pytest.fixture
def reader(small_image: Path) -> Iterator[ReaderProcess]:
    process = _process(small_image)
    process.opened()
    yield process
    process.close()


def test_code_in_the_place_of_the_reader_reaches_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-I", "-c", PROBE, str(port), str(secret)]
        with socket.create_connection(("127.0.0.1", port)):
            pass  # the listener is there: only the sandbox keeps the probe from it
        with sandbox.locked_in(command) as locked:
            done = subprocess.run(
                locked.arguments,
                pass_fds=locked.descriptors,
                capture_output=True,
                timeout=60,
                check=True,
                env={},
            )
    seen = json.loads(done.stdout)
    assert min(seen["uids"]) >= 61_184
    assert len(set(seen["uids"]) | set(seen["gids"])) == 1
    assert seen["groups"] == []
    assert seen["pid"] < 10
    assert set(seen["environment"]) <= {"PWD", "LC_CTYPE"}
    # The way to our own code is there, and nothing beside it.
    ours = {Path(folder).parts[1] for folder in (sys.prefix, sandbox.__file__)}
    hidden = {"etc", "root", "home", "proc", "dev", "var", "run"} - ours
    assert hidden.isdisjoint(seen["root"])
    for name in {"shadow", "passwd", "secret", "home", "proc", "devices"} - ours:
        assert seen[name] == "FileNotFoundError", name
    for name in ("connect", "unix", "fork"):
        assert seen[name] == "PermissionError", name
    assert (seen["user_namespace"], seen["mount"]) == (-1, -1)
    assert seen["write"] == ["OSError"] * 4  # read-only, even where the uid could write
    assert seen["become_root"] == "PermissionError"
    assert seen["descriptors"] == []
    assert seen["traceable"] == 1  # no_new_privs


def test_the_running_reader_has_its_limits(reader: ReaderProcess) -> None:
    pid = _innermost(reader)
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["Uid"].split()[0]) >= 61_184
    limits = Path(f"/proc/{pid}/limits").read_text()
    wanted = {
        "Max address space": str(1 << 30),
        "Max file size": "0",
        "Max processes": "0",
        "Max open files": "16",
        "Max core file size": "0",
    }
    for name, value in wanted.items():
        line = next(line for line in limits.splitlines() if line.startswith(name))
        assert line[len(name) :].split()[:2] == [value, value], line
    for kind in ("net", "pid", "ipc", "uts", "mnt"):
        assert Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"image" not in command
    descriptors = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    assert sorted(name.split(":")[0] for name in descriptors) == [
        *("/dev/null", "/dev/null", "pipe", "socket")
    ]


def test_no_sandbox_no_reading(small_image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "TOOL_FOLDERS", ("/nonexistent",))
    with pytest.raises(ToolMissing) as raised:
        GuestFiles(_process(small_image)).volumes()
    assert raised.value.package == "bubblewrap"


def test_memory_limit_ends_the_reader_and_the_next_request_starts_another(image: Path) -> None:
    process = _process(image, ReaderLimits(address_space_bytes=56 * MIB))
    guest = GuestFiles(process)
    assert guest.list(b"/vda").total == 3
    with pytest.raises(GuestReaderExhausted):
        guest.list(b"/vda/large", limit=10)
    assert guest.open(b"/vda/small").read(0, 100) == b"small"
    process.close()
    process = _process(image)
    assert GuestFiles(process).list(b"/vda/large", limit=10).total == 60_000
    process.close()


def test_a_stuck_reader_is_killed_after_its_time(small_image: Path) -> None:
    process = _process(small_image, ReaderLimits(request_s=1.0))
    guest = GuestFiles(process)
    guest.volumes()
    stuck = _innermost(process)
    os.kill(stuck, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(GuestReaderTimedOut):
        guest.list(b"/vda")
    assert time.monotonic() - began < 30
    assert _ended(stuck)
    assert guest.list(b"/vda").total == 2
    process.close()


def test_cancelling_ends_a_stuck_request(small_image: Path) -> None:
    cancel = CancelToken()
    process = _process(small_image, cancel=cancel)
    guest = GuestFiles(process)
    guest.volumes()
    stuck = _innermost(process)
    os.kill(stuck, signal.SIGSTOP)
    cancel.cancel("enough")
    with pytest.raises(Cancelled):
        guest.list(b"/vda")
    process.close()
    assert _ended(stuck)


def test_a_reader_killed_within_a_request_is_a_typed_error_and_the_next_one_works(
    reader: ReaderProcess,
) -> None:
    guest = GuestFiles(reader)
    pid = _innermost(reader)
    os.kill(pid, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(GuestReaderFailed):
        guest.list(b"/vda")
    killer.join()
    assert guest.list(b"/vda").total == 2


def test_a_reader_killed_between_requests_is_replaced(reader: ReaderProcess) -> None:
    guest = GuestFiles(reader)
    generation = reader.generation
    pid = reader.process_id
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert _ended(pid)
    assert guest.list(b"/vda").total == 2
    assert reader.generation == generation + 1


def test_closing_ends_every_process(small_image: Path) -> None:
    process = _process(small_image)
    GuestFiles(process).volumes()
    pid = _innermost(process)
    process.close()
    assert _ended(pid)


def test_a_reader_outlives_the_thread_that_started_it(small_image: Path) -> None:
    process = _process(small_image)
    thread = threading.Thread(target=process.opened)
    thread.start()
    thread.join()
    pid = _innermost(process)
    assert GuestFiles(process).list(b"/vda").total == 2
    assert _innermost(process) == pid
    process.close()


def _ended(pid: int) -> bool:
    """Whether the process is gone; waits for its end, which a kill only starts."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready, _, _ = select.select([descriptor], [], [], 10)
    os.close(descriptor)
    return bool(ready)
