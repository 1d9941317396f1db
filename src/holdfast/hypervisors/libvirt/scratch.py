"""The folder of one run: QEMU's scratch files, the NBD socket, and the lock that says it lives.

Everything lies below one scratch root: a folder (0700, QEMU's own user) named by the last twelve
digits of the run's id, because the path of a socket has to be short, and a lock file beside it
that names the owner in full. The capturing process and its janitor share the lock: it falls free
when both are gone, and a folder whose lock is free is a leftover. Enter at `RunFolder.create` and
`leftover_folders`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import struct
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from holdfast.core.errors import InvalidInput
from holdfast.core.ids import is_uuid
from holdfast.hypervisors.errors import VmBusy

_SOCKET_PATH_LIMIT = 107
"""Bytes of `sun_path` without the terminator, see unix(7)."""
VM_LOCKS = "vms.lock"
"""The one file that stays below the scratch root."""
_FOLDER_NAME = re.compile(r"[0-9a-f]{12}")
_LOCK_SUFFIX = ".lock"
_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOwner:
    """Whose folder it is: written into the lock file, read by the one who cleans up."""

    run_id: str
    repository_id: str
    vm_id: str
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuUser:
    """Whom QEMU runs as; None where it is this user (a session daemon)."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchUse:
    """One look at the scratch space of a run."""

    used_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Made by `create`, removed by `remove`; never outlives its lock by more than a crash."""

    path: Path
    lock_fd: int
    """Open and locked."""

    @classmethod
    def create(cls, path: Path, *, owner: RunOwner, qemu_user: QemuUser | None) -> RunFolder:
        """`path` comes from `run_folder_path`. Raises OSError when it cannot be made."""
        lock_fd = _create_lock(_lock_path(path), owner)
        try:
            path.mkdir(mode=0o700)
            if qemu_user is not None:
                os.chown(path, qemu_user.uid, qemu_user.gid)
        except OSError:
            os.close(lock_fd)
            _lock_path(path).unlink()
            raise
        return cls(path=path, lock_fd=lock_fd)

    @property
    def socket(self) -> Path:
        return self.path / "nbd.sock"

    def scratch_file(self, key: str) -> Path:
        """Where the old contents of a disk's overwritten blocks go."""
        return self.path / f"{key}.scratch"

    def release(self) -> None:
        """Let go of the lock. The folder has been removed, or is a leftover from now on."""
        os.close(self.lock_fd)


def run_folder_path(root: Path, run_id: str) -> Path:
    """Where a run's folder goes; nothing is made but the root. Raises InvalidInput, OSError."""
    if not is_uuid(run_id):
        raise InvalidInput(what="run id", problem=f"{run_id!r} is not a UUID")
    path = root / run_id[-12:]
    if len(os.fsencode(path / "nbd.sock")) > _SOCKET_PATH_LIMIT:
        raise InvalidInput(
            what="scratch folder", problem=f"{root} is too long for a socket's path in it"
        )
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    return path


def share_lock(path: Path) -> None:
    """Hold the lock of an existing run folder too, as long as this process lives."""
    fcntl.flock(os.open(_lock_path(path), os.O_RDWR | os.O_CLOEXEC), fcntl.LOCK_SH)


@contextmanager
def vm_lock(root: Path, vm_id: str, vm_name: str) -> Generator[None]:
    """Held while an instant of the VM is taken, so that two captures do not remove each other's
    checkpoints as leftovers. Raises VmBusy at once when it is held elsewhere.

    One byte of one file for each VM: nothing is left when a holder is killed.
    """
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    lock_fd = os.open(root / VM_LOCKS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    byte = uuid.UUID(vm_id).int & (1 << 62) - 1
    request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    try:
        try:
            fcntl.fcntl(lock_fd, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            raise VmBusy(name=vm_name, problem="another backup of it is starting") from error
        yield
    finally:
        os.close(lock_fd)


def remove_folder(path: Path) -> None:
    """Remove a run's folder and then its lock file. Nothing happens when they are gone.

    In this order, so that a crash in between leaves a lock file that names the leftover.
    """
    if path.exists():
        shutil.rmtree(path)
    _lock_path(path).unlink(missing_ok=True)


def measure(files: Sequence[Path], folder: Path) -> ScratchUse:
    """Bytes allocated for `files`, and free below `folder`. Two system calls and one a file."""
    used = 0
    for file in files:
        try:
            used += file.stat().st_blocks * _BLOCK_BYTES
        except FileNotFoundError:
            continue
    return ScratchUse(used_bytes=used, free_bytes=free_bytes(folder))


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still allocate there: QEMU is one."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def leftover_folders(root: Path) -> Iterator[tuple[Path, RunOwner]]:
    """Folders below `root` whose processes are all gone, with their owners."""
    if not root.is_dir():
        return
    for lock in sorted(root.glob(f"*{_LOCK_SUFFIX}")):
        if is_run_folder_name(lock.name.removesuffix(_LOCK_SUFFIX)):
            owner = _owner_if_free(lock)
            if owner is not None:
                yield lock.with_suffix(""), owner


def is_run_folder_name(name: str) -> bool:
    """Whether a run's folder could be called that."""
    return _FOLDER_NAME.fullmatch(name) is not None


def _lock_path(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)


def _create_lock(path: Path, owner: RunOwner) -> int:
    lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.write(lock_fd, json.dumps(asdict(owner)).encode())
    return lock_fd


def _owner_if_free(lock: Path) -> RunOwner | None:
    """The owner when nobody holds the lock. A file without content is one whose maker has not got
    to writing it, or died there: its janitor removes it."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return RunOwner(**json.loads(file.read()))
    except (BlockingIOError, FileNotFoundError, ValueError, TypeError):
        return None
