"""Private folders for the unix sockets of servers beside us.

Owns their names and the removal of those that killed processes left. Must not know the servers.
Enter at `new_socket_folder`.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from holdfast.core.errors import InvalidInput

SOCKET_NAME = "socket"
_PREFIX = "holdfast-nbd-"
_UNIX_PATH_MAX = 107


def new_socket_folder(parent: Path) -> Path:
    """A new 0700 folder below `parent`, for a socket named `SOCKET_NAME`; the caller removes it.

    Raises InvalidInput when a socket in it would have too long a name.
    """
    _remove_stale(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    if len(os.fsencode(folder / SOCKET_NAME)) > _UNIX_PATH_MAX:
        folder.rmdir()
        problem = "its path is too long for a socket; choose a shorter one"
        raise InvalidInput(what=f"folder {parent}", problem=problem)
    return folder


def _remove_stale(parent: Path) -> None:
    """Remove what processes that were killed left: their servers died with them, the folders did
    not. Only our own user's folders of processes that no longer exist."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if not pid.isdecimal() or Path("/proc", pid).exists():
            continue
        try:
            found = folder.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
