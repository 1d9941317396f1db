"""Walking a subtree in slices, so that no request lasts long. Must not know the wire.
Enter at `Walk`."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .faults import NotADirectory, describe, parse_errors
from .filesystems.base import DIRECTORY, Dirent
from .tree import Entry, Path, Tree, is_unsafe
from .volumes import Volume

_MAX_DEPTH = 1024
_SLICE_S = 0.25
_BATCH_BYTES = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Batch:
    """One slice. `entries` are (folder, entry); `problems` are (path, text)."""

    entries: list[tuple[Path, Entry]] = field(default_factory=list[tuple[Path, Entry]])
    problems: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    scanned: int = 0
    done: bool = False


def name_filter(pattern: bytes, *, ignore_case: bool) -> Callable[[bytes], bool]:
    """A test for names: a glob if the pattern holds `*`, `?` or `[`, otherwise a part of the name.

    Ignoring case is Unicode's for what is valid UTF-8; other bytes compare as they are.
    """

    def fold(name: bytes) -> str:
        text = name.decode("utf-8", "surrogateescape")
        return text.casefold() if ignore_case else text

    wanted = fold(pattern)
    if any(character in wanted for character in "*?["):
        return lambda name: fnmatch.fnmatchcase(fold(name), wanted)
    return lambda name: wanted in fold(name)


class Walk:
    """Depth first, names in order. A directory inside itself is entered once on any path."""

    def __init__(self, tree: Tree, path: Path, matches: Callable[[bytes], bool] | None) -> None:
        self._tree = tree
        self._matches = matches
        self._steps = self._start(path)

    def next(self, limit: int) -> Batch:
        """Up to `limit` entries, or fewer when the slice is over."""
        batch = Batch()
        ends = time.monotonic() + _SLICE_S
        size = 0
        for path, found in self._steps:
            if isinstance(found, str):
                batch.problems.append((path, found))
            elif found is not None:
                batch.entries.append((path, found))
                size += len(found.name) + len(found.target or b"")
            else:
                batch.scanned += 1
            size += sum(map(len, path)) + 64 if found is not None else 0
            full = len(batch.entries) + len(batch.problems) >= limit or size > _BATCH_BYTES
            if full or (batch.scanned % 64 == 0 and time.monotonic() > ends):
                return batch
        batch.done = True
        return batch

    def _start(self, path: Path) -> Iterator[tuple[Path, Entry | str | None]]:
        """Steps: an entry below a folder, a problem at a path, or None for a name looked at."""
        if path:
            place = self._tree.locate(path)
            if place.volume.file_system().attributes(place.node).kind != DIRECTORY:
                raise NotADirectory("is not a directory")
            yield from self._below(place.volume, place.node, path)
            return
        for name in sorted(self._tree.volumes):
            volume = self._tree.volumes[name]
            try:
                root = volume.file_system().root
            except parse_errors() as error:
                yield (name,), describe(error)
                continue
            yield from self._below(volume, root, (name,))

    def _below(
        self, volume: Volume, root: Any, top: Path
    ) -> Iterator[tuple[Path, Entry | str | None]]:
        identity = volume.file_system().identity
        # Each level: the folder's path, its own identity, and its names still to come.
        levels: list[tuple[Path, Hashable, Iterator[Dirent]]] = []
        pending: tuple[Path, Any] | None = (top, root)
        ancestors: set[Hashable] = set()
        while pending or levels:
            if pending:
                path, node = pending
                pending = None
                key = identity(node)
                refusal = self._refusal(key, ancestors, len(levels))
                if refusal:
                    yield path, refusal
                    continue
                try:
                    found = self._tree.directory(volume, node)
                except parse_errors() as error:
                    yield path, describe(error)
                    continue
                for problem in found.problems:
                    yield path, problem
                ancestors.add(key)
                levels.append((path, key, iter(found.dirents)))
            path, key, dirents = levels[-1]
            dirent = next(dirents, None)
            if dirent is None:
                levels.pop()
                ancestors.discard(key)
                continue
            yield path, None
            entry = self._visit(volume, dirent)
            if entry is not None:
                yield path, entry
            kind = entry.kind if entry else dirent.kind
            if kind == DIRECTORY and not is_unsafe(dirent.name):
                pending = ((*path, dirent.name), dirent.node)

    def _visit(self, volume: Volume, dirent: Dirent) -> Entry | None:
        """The entry if it is wanted; also when only its attributes tell whether it is a folder."""
        if self._matches is None or self._matches(dirent.name):
            return self._tree.entry(volume, dirent)
        return None

    def _refusal(self, key: Hashable, ancestors: set[Hashable], depth: int) -> str:
        if key in ancestors:
            return "directory contains itself; not entered again"
        if depth >= _MAX_DEPTH:
            return f"more than {_MAX_DEPTH} folders deep; not entered"
        return ""
