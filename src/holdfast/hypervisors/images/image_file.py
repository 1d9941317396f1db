"""One image file: its format, its exact size, and whether it is still what it was.

Owns opening image files and telling whether they were written. Must not know captures. Enter at
`inspect_image`.

The format is what the user said or the file's extension says, never what the content looks like:
a guest chooses the content of its raw disk.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from holdfast.hypervisors.errors import (
    DamagedImage,
    SourceUnavailable,
    UnsupportedImage,
)
from holdfast.hypervisors.images import qcow2, vmdk

_EXTENSIONS = {".raw": "raw", ".img": "raw", ".qcow2": "qcow2", ".vmdk": "vmdk"}
FORMATS = ("raw", "qcow2", "vmdk")

# QEMU marks an open image with shared OFD locks on single bytes of the file: 100 + n when it uses
# permission n, 200 + n when it lets nobody else use permission n (block/file-posix.c).
_LOCK_USES, _LOCK_DENIES = 100, 200
_PERMISSION_READ, _PERMISSION_WRITE, _PERMISSION_RESIZE = 0, 1, 3
_LOCKS_OF_A_WRITER = (
    _LOCK_USES + _PERMISSION_WRITE,
    _LOCK_USES + _PERMISSION_RESIZE,
    _LOCK_DENIES + _PERMISSION_READ,
)
_FLOCK = struct.Struct("hhqqi4x")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """Changes when the file is replaced or written. A block device shows no trace of writes."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, descriptor: int) -> FileIdentity:
        found = os.fstat(descriptor)
        if stat.S_ISBLK(found.st_mode):
            size_bytes = os.lseek(descriptor, 0, os.SEEK_END)
            return cls(
                device=found.st_rdev,
                inode=found.st_ino,
                size_bytes=size_bytes,
                modified_ns=0,
                changed_ns=0,
            )
        return cls(
            device=found.st_dev,
            inode=found.st_ino,
            size_bytes=found.st_size,
            modified_ns=found.st_mtime_ns,
            changed_ns=found.st_ctime_ns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """An image that may be read, as it was when it was looked at."""

    path: Path
    format: str
    size_bytes: int
    """Of the disk, as the guest sees it."""
    cluster_bytes: int
    """Unit of allocation in the file; 1 for raw, 0 where the header does not tell."""
    is_block_device: bool
    identity: FileIdentity


def format_of(path: Path, override: str | None) -> str | None:
    """The image's format by what the user said, else by its extension; None for no image."""
    if override is not None:
        return override
    return _EXTENSIONS.get(path.suffix.lower())


def open_image(path: Path) -> int:
    """A read-only descriptor of a regular file or block device. Raises SourceUnavailable."""
    # Without O_NONBLOCK, opening a FIFO that took the image's place would wait for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise SourceUnavailable(source=str(path), problem=error.strerror or str(error)) from error
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        os.close(descriptor)
        raise SourceUnavailable(source=str(path), problem="it is no file and no block device")
    return descriptor


def inspect_image(path: Path, format: str) -> ImageFile:
    """Look at the header. Raises SourceUnavailable, UnsupportedImage, DamagedImage."""
    if format not in FORMATS:
        raise UnsupportedImage(
            path=str(path),
            problem=f"{format!r} is not a format that is read",
            advice_text=f"Formats: {', '.join(FORMATS)}",
        )
    descriptor = open_image(path)
    try:
        identity = FileIdentity.of(descriptor)
        size_bytes, cluster_bytes = identity.size_bytes, 1
        if format == "qcow2":
            head = _read_head(descriptor, path, qcow2.HEADER_READ_BYTES)
            header = qcow2.parse_header(str(path), head)
            size_bytes, cluster_bytes = header.size_bytes, header.cluster_bytes
        elif format == "vmdk":
            head = _read_head(descriptor, path, vmdk.HEADER_READ_BYTES)
            size_bytes, cluster_bytes = vmdk.parse_header(str(path), head).size_bytes, 0
        return ImageFile(
            path=path,
            format=format,
            size_bytes=size_bytes,
            cluster_bytes=cluster_bytes,
            is_block_device=stat.S_ISBLK(os.fstat(descriptor).st_mode),
            identity=identity,
        )
    finally:
        os.close(descriptor)


def what_changed(image: ImageFile) -> str:
    """How the file differs from when it was looked at, as a clause; empty when it does not."""
    try:
        descriptor = open_image(image.path)
    except SourceUnavailable as error:
        return f"{image.path.name}: {error.problem}"
    try:
        now, then = FileIdentity.of(descriptor), image.identity
        if (now.device, now.inode) != (then.device, then.inode):
            return f"{image.path.name} was replaced"
        if now != then:
            return f"{image.path.name} was written"
        if is_open_for_writing(descriptor):
            return f"{image.path.name} was opened for writing by QEMU"
        return ""
    finally:
        os.close(descriptor)


def is_open_for_writing(descriptor: int) -> bool:
    """Whether a QEMU has the file open for writing, by the locks it puts on it.

    Other programs leave no such trace, nor does QEMU with `file.locking=off`.
    """
    for position in _LOCKS_OF_A_WRITER:
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, position, 1, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, question)
        if _FLOCK.unpack(answer)[0] != fcntl.F_UNLCK:
            return True
    return False


def _read_head(descriptor: int, path: Path, length: int) -> bytes:
    try:
        return os.pread(descriptor, length, 0)
    except OSError as error:
        raise DamagedImage(
            path=str(path), problem=f"its header cannot be read ({error.strerror})"
        ) from error
