"""Owns writing guest bytes to a local file the user chose. Must not know how they are read.
Enter at `save_file`, or at `new_file` for an archive.

A destination appears complete or not at all: bytes go to a temporary file in the same folder,
opened with O_EXCL and O_NOFOLLOW, which then takes the name. A crash leaves at most a file whose
name begins with `.holdfast-`.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from holdfast.core.errors import InvalidInput, OutOfSpace, TargetExists
from holdfast.restore.guest_files.archive import zip_name
from holdfast.restore.guest_files.session import GuestFile

_TEMPORARY_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_MODE = 0o755
"""Guest permissions that may pass: never setuid, setgid, sticky, or writable by others."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def save_file(
    file: GuestFile,
    destination: Path,
    *,
    overwrite: bool = False,
    on_bytes: Callable[[int], None] | None = None,
) -> Path:
    """Write a guest file to `destination`, or below it under a harmless form of its own name when
    that is a folder. Returns the path written.

    Permission bits and time are the guest's, the owner is the caller. Zeroes become holes. Raises
    TargetExists unless `overwrite`, OutOfSpace, and what reading raises; then nothing is left.
    """
    if destination.is_dir():
        destination = destination / local_name(file.entry.name)
    with new_file(destination, overwrite=overwrite) as output:
        for data in file.chunks():
            if any(data):
                output.write(data)
            else:
                output.seek(len(data), os.SEEK_CUR)
            if on_bytes:
                on_bytes(len(data))
        output.flush()
        os.ftruncate(output.fileno(), file.size_bytes)
        os.fchmod(output.fileno(), file.entry.mode & _KEPT_MODE | 0o600)
        if file.entry.modified is not None:
            os.utime(output.fileno(), ns=(file.entry.modified_ns, file.entry.modified_ns))
    return destination


def local_name(name: bytes) -> str:
    """A guest name as one harmless part of a local path: also never hidden, never an option."""
    text = zip_name(name)
    return f"_{text[1:]}" if text[:1] in (".", "-") else text


@contextmanager
def new_file(destination: Path, *, overwrite: bool = False) -> Generator[BinaryIO]:
    """A file to write that takes its name, durably, when the block ends without an error.

    Raises TargetExists (before the block when it exists already, after it when it came meanwhile),
    InvalidInput when the folder is not there, OutOfSpace.
    """
    if not overwrite and os.path.lexists(destination):
        raise TargetExists(path=str(destination))
    try:
        folder = os.open(destination.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        problem = f"cannot be opened: {error.strerror}"
        raise InvalidInput(what=str(destination.parent), problem=problem) from error
    temporary = f".holdfast-{secrets.token_hex(8)}.part"
    try:
        with _space_errors(destination.parent):
            descriptor = os.open(temporary, _TEMPORARY_FLAGS, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as output:
                    yield output
                    output.flush()
                    os.fsync(output.fileno())
                _take_name(folder, temporary, destination, overwrite=overwrite)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)
    finally:
        os.close(folder)


def _take_name(folder: int, temporary: str, destination: Path, *, overwrite: bool) -> None:
    name = destination.name
    if overwrite:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    try:
        # link never replaces; a crash before the unlink leaves the complete file under both names.
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError as error:
        raise TargetExists(path=str(destination)) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _take_name_without_links(folder, temporary, destination)
        return
    os.unlink(temporary, dir_fd=folder)


def _take_name_without_links(folder: int, temporary: str, destination: Path) -> None:
    """For file systems without hard links: claim the name with an empty file, then replace it."""
    try:
        claim = os.open(destination.name, _TEMPORARY_FLAGS, 0o600, dir_fd=folder)
    except FileExistsError as error:
        raise TargetExists(path=str(destination)) from error
    os.close(claim)
    os.rename(temporary, destination.name, src_dir_fd=folder, dst_dir_fd=folder)


@contextmanager
def _space_errors(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(location=str(folder)) from error
        raise
