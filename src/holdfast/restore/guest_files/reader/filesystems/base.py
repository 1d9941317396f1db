"""The contract of a file system inside the reader. Must not know paths. Enter at `FileSystem`."""

from __future__ import annotations

import stat
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

FILE = "file"
DIRECTORY = "directory"
SYMLINK = "symlink"
OTHER = "other"

MAX_PROBLEMS = 32
"""A directory is given up after so many unreadable parts: a hostile size must not cost hours."""
MAX_TARGET_BYTES = 16384

KINDS_BY_NUMBER = {
    1: FILE,
    2: DIRECTORY,
    3: OTHER,
    4: OTHER,
    5: OTHER,
    6: OTHER,
    7: SYMLINK,
}
"""What the directories of ext4, XFS and btrfs say of an entry; any other number says nothing."""


def kind_of_mode(mode: int) -> str:
    """The entry kind of a Unix mode."""
    kinds = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK}
    return kinds.get(stat.S_IFMT(mode), OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a listing shows of one inode. `mode` holds permission bits only."""

    kind: str
    size: int
    mode: int
    uid: int
    gid: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirent:
    """One name of a directory. `node` is opaque outside its file system; `kind` is a hint from the
    directory itself, None when it holds none."""

    name: bytes
    node: Any
    kind: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A part of a directory that could not be read; the scan went on behind it."""

    text: str


class Stream(Protocol):
    """File contents with a position."""

    def seek(self, position: int, whence: int = 0, /) -> int: ...

    def read(self, length: int = -1, /) -> bytes: ...


class FileSystem(Protocol):
    """One opened volume. One thread.

    Every method may raise anything of `parse_errors()` on damaged structures.
    """

    @property
    def root(self) -> Any:
        """The node of the root directory."""
        ...

    def scan(self, node: Any) -> Iterator[Dirent | Problem]:
        """Names of a directory in stored order, without `.` and `..` of its own."""
        ...

    def attributes(self, node: Any) -> Attributes: ...

    def target(self, node: Any) -> bytes:
        """Where a symbolic link points."""
        ...

    def open(self, node: Any) -> Stream:
        """Contents of a regular file; reads past its end are short."""
        ...

    def identity(self, node: Any) -> Hashable:
        """Equal for two nodes exactly if they are the same inode."""
        ...


def scan_blocks(
    stream: Stream,
    size_bytes: int,
    block_bytes: int,
    entries: Callable[[bytes], Iterable[Dirent | Problem]],
) -> Iterator[Dirent | Problem]:
    """What `entries` finds in each block of a directory's content, without its own `.` and `..`.

    Gives up after MAX_PROBLEMS, which it says as the last one.
    """
    problems = 0
    own = [b".", b".."]
    for start in range(0, size_bytes, block_bytes):
        stream.seek(start)
        for item in entries(stream.read(block_bytes)):
            if isinstance(item, Dirent) and item.name in own:
                own.remove(item.name)  # a second one is no entry of a sound directory
                continue
            problems += isinstance(item, Problem)
            yield item
        if problems >= MAX_PROBLEMS:
            yield Problem(text="too many unreadable parts; the rest was not read")
            return
