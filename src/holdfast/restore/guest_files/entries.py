"""Values of guest file access, and how guest names are shown. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from holdfast.restore.guest_files.errors import GuestPathRefused

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FileType(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"
    """Device, FIFO or socket; also what could not be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A disk, partition or logical volume that may hold a file system.

    `id` is the first part of its paths and stable for a restore point: `vda1`, `vda` (whole
    disk), `vg0-root`. `error` says why it cannot be read; empty if it is worth trying.
    """

    id: str
    size_bytes: int
    filesystem: str
    label: bytes
    uuid: str
    error: str
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One name of a folder. `name` is whatever bytes the guest stored, hostile ones included; an
    entry with `error` may have other fields at zero and may not be openable. `mode` holds the
    permission bits only."""

    name: bytes
    type: FileType
    size_bytes: int
    mode: int
    uid: int
    gid: int
    modified_ns: int
    symlink_target: bytes | None
    error: str | None

    @property
    def modified(self) -> datetime | None:
        """The time of last change, None when the guest's value is no date between 1 and 9999."""
        try:
            return _EPOCH + timedelta(microseconds=self.modified_ns // 1000)
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of a folder in name order. `total` counts the names in all; `errors` are the parts of
    the folder that could not be read."""

    entries: Sequence[FileEntry]
    total: int
    errors: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An entry met on a walk. `path` is absolute, and None for a name that cannot be opened."""

    folder: bytes
    path: bytes | None
    entry: FileEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A folder, or a part of it, that a walk could not read."""

    path: bytes
    error: str


def display_name(name: bytes) -> str:
    """Guest bytes for a terminal, a log or an error: valid UTF-8 stays, the rest and everything
    that is not printable becomes a backslash escape, and so does the backslash itself."""
    text = name.decode("utf-8", "surrogateescape").replace("\\", "\\\\")
    return "".join(
        character if character.isprintable() else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def is_safe_name(name: bytes) -> bool:
    """False for names that can be no part of a path."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def split_path(path: bytes) -> tuple[bytes, ...]:
    """The names of an absolute path inside a restore point; `/` has none.

    Raises GuestPathRefused; in particular nothing is ever resolved through `..`.
    """
    if not path.startswith(b"/"):
        raise GuestPathRefused(path=display_name(path), problem="it does not begin with /")
    names = tuple(name for name in path.split(b"/") if name)
    if not all(is_safe_name(name) for name in names):
        raise GuestPathRefused(path=display_name(path), problem="it holds . or .. or a NUL")
    return names


def join_path(names: Sequence[bytes]) -> bytes:
    """Inverse of `split_path`."""
    return b"/" + b"/".join(names)
