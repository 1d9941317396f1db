"""Where restored bytes go: a raw file written directly, or a qcow2 or vmdk image through qemu-nbd.

A target appears under its final name only when complete; before that it is in a hidden folder
beside it, locked by the process that writes it, so that the next restore can remove what a
killed one left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from holdfast.core.errors import HoldfastError, OutOfSpace, TargetExists
from holdfast.core.failpoints import failpoint
from holdfast.core.memory import PAGE_BYTES, begins_at_page, whole_pages
from holdfast.core.units import MIB
from holdfast.nbd.client import NbdWriter
from holdfast.nbd.errors import TargetUnavailable
from holdfast.nbd.qemu import QemuNbd, create_image
from holdfast.restore.writeback import start_writeback

FORMATS = ("raw", "qcow2", "vmdk")
_WRITEBACK_BYTES = 4 * MIB
"""Dirty pages are written back in such steps while the restore goes on. Without it the kernel waits
until a tenth of the memory is dirty, and the fsync at the end does all the writing alone."""


class TargetWriter(Protocol):
    """Writes ranges of a disk that reads as zeroes where nothing is written. One thread at a
    time; open one writer a thread."""

    def write(self, offset: int, buffer: memoryview) -> None:
        """The buffer is the caller's again on return. Raises OutOfSpace, TargetUnavailable."""
        ...

    def close(self) -> None: ...


class Target(Protocol):
    def open_writer(self) -> TargetWriter: ...


@contextmanager
def new_target(path: Path, format: str, size_bytes: int) -> Generator[Target]:
    """A disk image that becomes `path` when the block ends without an error.

    Durable before it appears. Raises TargetExists, OutOfSpace, TargetUnavailable; on any error
    nothing is left under `path`.
    """
    try:
        # First: a restore killed right after it gave the image its name left a second link to it,
        # which would hold the space when the image is removed.
        _remove_partials(path)
        if path.exists() or path.is_symlink():
            raise TargetExists(path=str(path))
        with _partial_folder(path) as folder:
            # The final file name from the start: a vmdk names itself in its descriptor.
            partial = folder / path.name
            if format == "raw":
                _create_raw(partial, size_bytes)
                yield _RawTarget(partial)
            else:
                yield from _image_target(partial, format, size_bytes)
            _sync(partial, os.O_RDWR)
            failpoint("restore.before_rename")
            _publish(partial, path)
    except OSError as error:
        raise _problem(path, error) from error


@contextmanager
def _partial_folder(path: Path) -> Generator[Path]:
    """A hidden folder beside `path`, locked while it is ours."""
    folder = path.parent / f"{_partial_prefix(path)}{secrets.token_hex(6)}"
    folder.mkdir(mode=0o700)
    try:
        with _locked(folder):
            yield folder
    finally:
        # By now the image has its name or the run failed; what stays, the next restore removes.
        shutil.rmtree(folder, ignore_errors=True)


def _create_raw(path: Path, size_bytes: int) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)


def _image_target(partial: Path, format: str, size_bytes: int) -> Iterator[Target]:
    create_image(partial, format, size_bytes)
    # Not beside the image: the name of a socket is at most 107 bytes long.
    sockets = Path(tempfile.gettempdir())
    with QemuNbd.serve(image=partial, format=format, read_only=False, socket_dir=sockets) as server:
        target = _ImageTarget(server, partial)
        yield target
        target.flush()


class _RawTarget:
    def __init__(self, path: Path) -> None:
        self._path = path

    def open_writer(self) -> TargetWriter:
        return _RawWriter(self._path)


class _RawWriter:
    """Writes past the page cache where the file system lets it: the copy into the cache costs
    nearly as much as decompressing does, and the fsync at the end finds nothing left to do."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._direct = _open_direct(path)
        self._dirty_start, self._dirty_end = -1, -1

    def write(self, offset: int, buffer: memoryview) -> None:
        if self._direct >= 0 and offset % PAGE_BYTES == 0 and begins_at_page(buffer):
            done = self._write_direct(offset, buffer[: whole_pages(len(buffer))])
            offset, buffer = offset + done, buffer[done:]
        start = offset
        while buffer:
            written = os.pwrite(self._descriptor, buffer, offset)
            buffer, offset = buffer[written:], offset + written
        if offset > start:
            self._note_dirty(start, offset)

    def _write_direct(self, offset: int, buffer: memoryview) -> int:
        """How much of it could be written so; the rest goes through the cache."""
        done = 0
        try:
            while done < len(buffer):
                done += os.pwrite(self._direct, buffer[done:], offset + done)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The file system wants larger blocks: one more reason not to ask again.
            os.close(self._direct)
            self._direct = -1
        return done

    def _note_dirty(self, start: int, end: int) -> None:
        """Chunks of one batch lie near each other: write back what the last ones span."""
        if self._dirty_start >= 0:
            start, end = min(start, self._dirty_start), max(end, self._dirty_end)
        self._dirty_start, self._dirty_end = start, end
        if end - start >= _WRITEBACK_BYTES:
            start_writeback(self._descriptor, start, end - start)
            self._dirty_start = -1

    def close(self) -> None:
        if self._direct >= 0:
            os.close(self._direct)
        os.close(self._descriptor)


def _open_direct(path: Path) -> int:
    """A descriptor for writing past the page cache; -1 where there is no such thing (tmpfs)."""
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return -1


class _ImageTarget:
    def __init__(self, server: QemuNbd, path: Path) -> None:
        self._server = server
        self._path = path

    def open_writer(self) -> NbdWriter:
        return NbdWriter.connect(
            socket_path=self._server.socket_path,
            export=self._server.export,
            target=str(self._path),
        )

    def flush(self) -> None:
        """Have the server write all it holds, the image's own tables included, while it can still
        answer: one that fails to do so at its end exits with status 0 all the same."""
        with self.open_writer() as writer:
            writer.flush()


def _publish(partial: Path, path: Path) -> None:
    """Give the complete image its name, never replacing, and make the name durable."""
    try:
        os.link(partial, path, follow_symlinks=False)
    except FileExistsError as error:
        raise TargetExists(path=str(path)) from error
    try:
        _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        with suppress(OSError):  # the caller is told that nothing was restored
            path.unlink()
        raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Hold the folder's lock, which ends with the process. Raises BlockingIOError when held."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_partials(path: Path) -> None:
    """Remove what killed restores of the same file left; a living one holds its lock."""
    for name in os.listdir(path.parent):
        if name.startswith(_partial_prefix(path)):
            with suppress(FileNotFoundError, BlockingIOError), _locked(path.parent / name):
                shutil.rmtree(path.parent / name)


def _partial_prefix(path: Path) -> str:
    return f".{path.name}.holdfast-partial-"


def _problem(path: Path, error: OSError) -> HoldfastError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return OutOfSpace(location=str(path.parent))
    return TargetUnavailable(target=str(path), problem=error.strerror or str(error))
