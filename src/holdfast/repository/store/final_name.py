"""A finished file gets its final name by a hard link, which replaces nothing and lets one win."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from holdfast.repository.errors import ObjectExists, StoreUnavailable

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


def give_name(temporary: Path, final: Path, *, key: str, location: str) -> None:
    """Raises ObjectExists when another file has the name, StoreUnavailable where there are no hard
    links, and OSError."""
    try:
        os.link(temporary, final)
    except OSError as error:
        if _is_same(temporary, final):
            return  # made, and the answer lost: NFS asks again, and finds the name taken
        if isinstance(error, FileExistsError):
            raise ObjectExists(key=key, location=location) from error
        if error.errno in _NO_LINKS:
            problem = (
                f"no hard links can be made there ({error.strerror}). A repository needs a file "
                "system with them, such as ext4, XFS, btrfs, ZFS or NFS"
            )
            raise StoreUnavailable(location=location, problem=problem) from error
        raise


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
