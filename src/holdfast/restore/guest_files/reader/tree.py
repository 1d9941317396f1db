"""Paths over the volumes: lookup, listing, attributes, contents. Must not know the wire.
Enter at `Tree`.

A path is a tuple of names; the first names a volume. Symbolic links are never followed. A name
that is empty, `.`, `..` or holds `/` or NUL is shown with an error and cannot be part of a path.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .faults import Damaged, NotADirectory, NotAFile, NotFound, describe, parse_errors
from .filesystems.base import DIRECTORY, FILE, OTHER, SYMLINK, Dirent, FileSystem, Problem, Stream
from .volumes import Volume

Path = tuple[bytes, ...]

MAX_DIRECTORY_NAMES = 1_000_000
_CACHED_NAMES = 200_000
_OPEN_STREAMS = 16
UNSAFE_NAME = "unsafe name: it cannot be opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a listing."""

    name: bytes
    kind: str
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    modified_ns: int = 0
    target: bytes | None = None
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class Directory:
    """All names of a directory, sorted, with the parts of it that could not be read."""

    dirents: list[Dirent]
    problems: list[str]
    index: dict[bytes, Dirent] = field(default_factory=dict[bytes, Dirent])

    def find(self, name: bytes) -> Dirent | None:
        if not self.index:
            # The first of two equal names wins, as it does in the kernel.
            for dirent in reversed(self.dirents):
                self.index[dirent.name] = dirent
        return self.index.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path leads: a node inside a volume."""

    volume: Volume
    node: Any
    name: bytes


def is_unsafe(name: bytes) -> bool:
    """True for names that must not become part of a path."""
    return name in (b"", b".", b"..") or b"/" in name or b"\0" in name


class Tree:
    """One thread. Methods raise `parse_errors()` (among them the reader's own faults)."""

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self.volumes = {volume.id.encode("ascii"): volume for volume in volumes}
        self._directories: OrderedDict[object, Directory] = OrderedDict()
        self._names = 0
        self._streams: OrderedDict[Path, tuple[Stream, int]] = OrderedDict()

    def locate(self, path: Path) -> Place:
        """The node a non-empty path leads to."""
        volume = self.volumes.get(path[0])
        if volume is None:
            raise NotFound("there is no such volume")
        file_system = volume.file_system()
        node = file_system.root
        kind: str | None = DIRECTORY
        for name in path[1:]:
            if is_unsafe(name):
                raise NotFound("a name of the path cannot be opened")
            if kind is None:
                kind = file_system.attributes(node).kind
            if kind != DIRECTORY:
                raise NotADirectory("a part of the path is not a directory")
            directory = self.directory(volume, node)
            dirent = directory.find(name)
            if dirent is None and directory.problems:
                raise Damaged(
                    f"it is not in the readable part of its folder: {directory.problems[0]}"
                )
            if dirent is None:
                raise NotFound("there is no such file or directory")
            node, kind = dirent.node, dirent.kind
        return Place(volume=volume, node=node, name=path[-1])

    def directory(self, volume: Volume, node: Any) -> Directory:
        """Names of a directory; cached while small enough."""
        file_system = volume.file_system()
        key = (volume.id, file_system.identity(node))
        cached = self._directories.get(key)
        if cached is not None:
            self._directories.move_to_end(key)
            return cached
        found = _scan(file_system, node)
        self._directories[key] = found
        self._names += len(found.dirents)
        while self._names > _CACHED_NAMES and self._directories:
            _, dropped = self._directories.popitem(last=False)
            self._names -= len(dropped.dirents)
        return found

    def list(self, path: Path, offset: int, limit: int) -> tuple[list[Entry], int, list[str]]:
        """Entries of a directory in name order, how many there are in all, and its problems."""
        if not path:
            volumes = sorted(self.volumes)
            page = [Entry(name=name, kind=DIRECTORY) for name in volumes[offset : offset + limit]]
            return page, len(volumes), []
        place = self.locate(path)
        if place.volume.file_system().attributes(place.node).kind != DIRECTORY:
            raise NotADirectory("is not a directory")
        found = self.directory(place.volume, place.node)
        page = [
            self.entry(place.volume, dirent) for dirent in found.dirents[offset : offset + limit]
        ]
        return page, len(found.dirents), found.problems

    def entry(self, volume: Volume, dirent: Dirent) -> Entry:
        """Attributes of one name; what cannot be read becomes the entry's error."""
        kind = dirent.kind or OTHER
        try:
            entry = _entry(volume.file_system(), dirent.name, dirent.node)
        except parse_errors() as error:
            return Entry(name=dirent.name, kind=kind, error=describe(error))
        if not is_unsafe(dirent.name):
            return entry
        return Entry(
            name=dirent.name,
            kind=entry.kind,
            size=entry.size,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            modified_ns=entry.modified_ns,
            target=entry.target,
            error=UNSAFE_NAME,
        )

    def stat(self, path: Path) -> Entry:
        if not path:
            return Entry(name=b"", kind=DIRECTORY)
        place = self.locate(path)
        if len(path) == 1:
            entry = _entry(place.volume.file_system(), place.name, place.node)
        else:
            entry = self.entry(place.volume, Dirent(name=path[-1], node=place.node, kind=None))
        if entry.error is not None:
            raise Damaged(entry.error)
        return entry

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """Bytes of a regular file; short only at its end."""
        stream, size = self._stream(path)
        length = min(length, size - offset)
        if length <= 0:
            return b""
        stream.seek(offset)
        data = stream.read(length)
        if len(data) < length:
            raise Damaged(f"contents end at byte {offset + len(data)} of {size}")
        return data

    def _stream(self, path: Path) -> tuple[Stream, int]:
        cached = self._streams.get(path)
        if cached is not None:
            self._streams.move_to_end(path)
            return cached
        if len(path) < 2:
            raise NotAFile("is a directory")
        place = self.locate(path)
        file_system = place.volume.file_system()
        attributes = file_system.attributes(place.node)
        if attributes.kind != FILE:
            raise NotAFile(f"is not a regular file but: {attributes.kind}")
        opened = (file_system.open(place.node), attributes.size)
        self._streams[path] = opened
        if len(self._streams) > _OPEN_STREAMS:
            self._streams.popitem(last=False)
        return opened


def _scan(file_system: FileSystem, node: Any) -> Directory:
    dirents: list[Dirent] = []
    problems: list[str] = []
    try:
        for item in file_system.scan(node):
            if isinstance(item, Problem):
                problems.append(item.text)
            else:
                dirents.append(item)
                if len(dirents) >= MAX_DIRECTORY_NAMES:
                    problems.append(f"only the first {MAX_DIRECTORY_NAMES} names are shown")
                    break
    except parse_errors() as error:
        problems.append(describe(error))
        if not dirents:
            raise
    dirents.sort(key=lambda dirent: dirent.name)
    return Directory(dirents=dirents, problems=problems)


def _entry(file_system: FileSystem, name: bytes, node: Any) -> Entry:
    attributes = file_system.attributes(node)
    target: bytes | None = None
    error: str | None = None
    if attributes.kind == SYMLINK:
        try:
            target = file_system.target(node)
        except parse_errors() as problem:
            error = describe(problem)
    return Entry(
        name=name,
        kind=attributes.kind,
        size=attributes.size,
        mode=attributes.mode,
        uid=attributes.uid,
        gid=attributes.gid,
        modified_ns=attributes.modified_ns,
        target=target,
        error=error,
    )
