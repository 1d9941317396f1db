"""Files that nobody can change or delete: the immutable attribute of Linux file systems, and until
when, in an extended attribute of the same file, which the first protects.

Setting and clearing the attribute takes CAP_LINUX_IMMUTABLE, which root has; so it keeps out
everybody but root. Nothing here looks at a clock. Enter at `lock_file`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress
from datetime import UTC, datetime

_GETFLAGS = 0x80086601
_SETFLAGS = 0x40086602
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS (linux/fs.h) where a long has 64 bits."""
_IMMUTABLE = 0x10
"""FS_IMMUTABLE_FL."""
_UNTIL = "user.holdfast.until"
UNSUPPORTED = {errno.EPERM, errno.EACCES, errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL}


def record_until(descriptor: int, until: datetime) -> None:
    """Raises OSError, one of `UNSUPPORTED` where the file system has no such attributes."""
    os.setxattr(descriptor, _UNTIL, str(int(until.timestamp())).encode())


def lock_file(path: str) -> None:
    """Set the attribute, durably. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _set(descriptor, immutable=True)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unlock_file(path: str) -> None:
    """Clear the attribute. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _set(descriptor, immutable=False)
    finally:
        os.close(descriptor)


def extend_file(path: str, until: datetime) -> None:
    """Record a new time and set the attribute. A crash in between leaves the file unlocked, with
    the time that it had or the new one. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if _flags(descriptor) & _IMMUTABLE:
            _set(descriptor, immutable=False)
        try:
            record_until(descriptor, until)
        finally:
            _set(descriptor, immutable=True)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_locked(path: str) -> bool:
    """False also where there is no such attribute. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return bool(_flags(descriptor) & _IMMUTABLE)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        raise
    finally:
        os.close(descriptor)


def recorded_until(path: str) -> datetime | None:
    """Raises OSError."""
    try:
        text = os.getxattr(path, _UNTIL, follow_symlinks=False)
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError):
        return None
    except OSError as error:
        if error.errno in {errno.ENODATA, *UNSUPPORTED}:
            return None
        raise


def attacks(path: str) -> list[str]:
    """What this process could do to a locked file, in words; what can be is put back."""
    worked: list[str] = []
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        worked.append("it can be overwritten")
    with suppress(OSError):
        os.rename(path, f"{path}.moved")  # noqa: PTH104
        os.rename(f"{path}.moved", path)  # noqa: PTH104
        worked.append("it can be renamed")
    with suppress(OSError):
        unlock_file(path)
        lock_file(path)
        worked.append("this process has root's rights, with which the attribute can be taken off")
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108
        worked.append("it can be deleted")
    return worked


def _flags(descriptor: int) -> int:
    return struct.unpack("l", fcntl.ioctl(descriptor, _GETFLAGS, bytes(8)))[0]


def _set(descriptor: int, *, immutable: bool) -> None:
    flags = _flags(descriptor)
    wanted = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
    if wanted != flags:
        fcntl.ioctl(descriptor, _SETFLAGS, struct.pack("l", wanted))
