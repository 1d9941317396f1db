"""Owns how a process is locked in: bubblewrap's arguments, the uid, the inherited socket. Must not
know what the process does. Enter at `start`.

Inside: read-only views of the interpreter and of this package, an empty temporary folder, no
/proc, no /dev, no network, own PID, IPC, UTS and cgroup namespaces, no environment, no
capabilities. As root the process runs under a uid that owns nothing on the host; as an ordinary
user it runs in a user namespace as nobody. Limits on memory and processor time are set by the
reader before it sees guest data, on wall time by the parent.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import holdfast
from holdfast.core.errors import ToolMissing
from holdfast.restore.guest_files import seccomp

_READER_MODULE = "holdfast.restore.guest_files.reader"
TOOL_FOLDERS = ("/usr/bin", "/bin")
"""Where bubblewrap and setpriv are taken from, whatever the caller's search path says."""
_NOBODY = 65534
_PREFERRED_UIDS = (1_879_048_192, 2_147_483_647)
"""Assigned to nobody by the conventions of systemd and of container tools."""
_DYNAMIC_UIDS = (61_184, 65_519)
"""Transient services; used inside containers that map only 65536 uids."""

# bubblewrap asks the kernel to die with its parent, which to the kernel is the *thread* that
# started it. The one thread of this executor lives as long as the process; one a process, because
# a fork copies the executor without its thread.
_spawners: dict[int, ThreadPoolExecutor] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandboxed:
    """A running process and our end of its socket. Whoever started it ends both."""

    process: subprocess.Popen[bytes]
    connection: socket.socket


def start(*, address_space_bytes: int, processor_s: int) -> Sandboxed:
    """Start the reader. It dies with this process, or when the socket is closed.

    Raises ToolMissing without bubblewrap; there is no way to run the reader without it.
    """
    ours, theirs = socket.socketpair()
    try:
        limits = (str(theirs.fileno()), str(address_space_bytes), str(processor_s))
        with locked_in([sys.executable, "-I", "-B", "-m", _READER_MODULE, *limits]) as locked:
            process = _spawn(locked.arguments, (theirs.fileno(), *locked.descriptors))
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Sandboxed(process=process, connection=ours)


def _spawn(arguments: Sequence[str], descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    spawner = _spawners.setdefault(
        os.getpid(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox")
    )
    started = spawner.submit(
        subprocess.Popen[bytes],
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        env={},
        cwd="/",
        # Ctrl-C reaches the whole foreground group; ending the reader is the parent's decision.
        start_new_session=True,
    )
    return started.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedIn:
    """A command line, and descriptors the process must inherit for the sandbox to be set up."""

    arguments: Sequence[str]
    descriptors: Sequence[int]


@contextmanager
def locked_in(command: Sequence[str]) -> Generator[LockedIn]:
    """How to run `command` in the sandbox; there is no other one. Start it inside the block."""
    program = seccomp.filter_program()
    if program is None:
        yield LockedIn(arguments=_arguments([], command), descriptors=[])
        return
    descriptor = os.memfd_create("holdfast-seccomp")
    try:
        os.write(descriptor, program)
        os.lseek(descriptor, 0, os.SEEK_SET)
        arguments = _arguments(["--seccomp", str(descriptor)], command)
        yield LockedIn(arguments=arguments, descriptors=[descriptor])
    finally:
        os.close(descriptor)


def _arguments(extra: Sequence[str], command: Sequence[str]) -> list[str]:
    arguments = [
        _tool("bwrap", "bubblewrap"),
        "--unshare-net",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
        "ALL",
        *extra,
    ]
    if os.geteuid() == 0:
        # setpriv needs these three to give up the rest; the change of uid then clears them.
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            arguments += ["--cap-add", capability]
        return [*arguments, *_file_system(), *_setpriv(), *command]
    arguments += [
        "--unshare-user",
        "--disable-userns",
        "--uid",
        str(_NOBODY),
        "--gid",
        str(_NOBODY),
    ]
    return [*arguments, *_file_system(), *command]


def _file_system() -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "lib32", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for folder in _interpreter_folders():
        # Parents made by --dir are open to all; those that bind mounts imply belong to root alone.
        for parent in reversed(folder.parents[:-1]):
            arguments += ["--dir", str(parent)]
        arguments += ["--ro-bind", str(folder), str(folder)]
    return [*arguments, "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"]  # noqa: S108


def _interpreter_folders() -> list[Path]:
    """Where the interpreter, its packages and this package live, unless below /usr."""
    package = Path(next(iter(holdfast.__path__))).resolve()
    candidates = [Path(sys.prefix), Path(sys.base_prefix), package]
    chosen: list[Path] = []
    for folder in candidates:
        inside = [Path("/usr"), *chosen]
        if not any(folder.is_relative_to(other) for other in inside):
            chosen.append(folder)
    return chosen


def _setpriv() -> list[str]:
    uid = str(_unprivileged_uid(Path("/proc/self/uid_map").read_text(encoding="ascii")))
    return [
        _tool("setpriv", "util-linux"),
        "--reuid",
        uid,
        "--regid",
        uid,
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
    ]


def _unprivileged_uid(uid_map: str) -> int:
    """A random uid that owns nothing, so that two readers, and any service that runs as nobody,
    cannot reach each other."""
    mapped = 0
    for line in uid_map.splitlines():
        inside, _, count = (int(field) for field in line.split())
        mapped = max(mapped, inside + count)
    for first, last in (_PREFERRED_UIDS, _DYNAMIC_UIDS):
        if last < mapped:
            return first + secrets.randbelow(last - first + 1)
    return _NOBODY


def _tool(name: str, package: str) -> str:
    found = shutil.which(name, path=os.pathsep.join(TOOL_FOLDERS))
    if found is None:
        raise ToolMissing(tool=name, package=package)
    return found
