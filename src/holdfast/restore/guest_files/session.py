"""Owns the view of a restore point's files as callers see it: typed, checked values and errors.
Must not know how the reader is run. Enter at `open_guest_files`.

Paths are bytes: `/` lists the volumes, `/vda1/etc/hosts` names a file. No path is ever resolved
on this side; symbolic links are followed only on request, inside their volume.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from holdfast.core.cancellation import CancelToken
from holdfast.restore.blocks import BlockSource
from holdfast.restore.guest_files import protocol
from holdfast.restore.guest_files.entries import (
    FileEntry,
    FileType,
    Found,
    Listing,
    Unreadable,
    Volume,
    display_name,
    is_safe_name,
    join_path,
    split_path,
)
from holdfast.restore.guest_files.errors import (
    GuestFileDamaged,
    GuestFileKindMismatch,
    GuestReaderFailed,
)
from holdfast.restore.guest_files.protocol import ProtocolViolation
from holdfast.restore.guest_files.reader_process import ReaderLimits, ReaderProcess

_Value = TypeVar("_Value")

_VOLUME_ID = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]{0,254}")
_PAGE_ENTRIES = 2000
_MAX_NAME_BYTES = 4096
_MAX_TARGET_BYTES = 64 * 1024
_MAX_PATH_BYTES = 1024 * 1024
_MAX_COUNT = 1 << 40
_MAX_SIZE = (1 << 64) - 1
_MAX_LINKS = 40
READ_BYTES = 1024 * 1024
"""A good size for one read of file contents."""


@contextmanager
def open_guest_files(
    sources: Mapping[str, BlockSource],
    *,
    cancel: CancelToken | None = None,
    limits: ReaderLimits | None = None,
) -> Generator[GuestFiles]:
    """The files on these disks, by disk key. The reader starts with the first request and ends
    with the context.

    Raises what `GuestFiles` raises. `ToolMissing` or `SandboxUnavailable` come with the first
    request: guest files are never read outside a sandbox.
    """
    process = ReaderProcess(
        list(sources.items()), limits=limits or ReaderLimits(), cancel=cancel or CancelToken()
    )
    try:
        yield GuestFiles(process)
    finally:
        process.close()


class GuestFiles:
    """Thread-safe; requests wait for each other.

    Every method may raise the errors of `errors.py`, Cancelled, and what the block source raises;
    each leaves the session usable.
    """

    def __init__(self, process: ReaderProcess) -> None:
        self._process = process

    def volumes(self) -> Sequence[Volume]:
        """All volumes, also those that cannot be read, with the reason. Nothing is opened yet: a
        volume without an error may still turn out damaged."""
        document = self._process.opened()
        return self._checked(b"/", lambda: [_volume(item) for item in _items(document, "volumes")])

    def list(self, path: bytes, *, offset: int = 0, limit: int | None = None) -> Listing:
        """A folder's entries in name order, `limit` of them from `offset`."""
        entries: list[FileEntry] = []
        while True:
            wanted = _PAGE_ENTRIES if limit is None else min(_PAGE_ENTRIES, limit - len(entries))
            page = self._page(path, offset + len(entries), wanted)
            entries.extend(page.entries)
            complete = offset + len(entries) >= page.total or len(entries) == limit
            if complete or not page.entries:
                return replace(page, entries=entries)

    def stat(self, path: bytes, *, follow: bool = False) -> FileEntry:
        """One entry; a symbolic link itself, or with `follow` what it leads to."""
        if follow:
            path = self.resolve(path)
        names = split_path(path)
        _, document, _ = self._process.request("stat", path, _path_field(names))
        entry = self._checked(path, lambda: _entry(document.get("entry")))
        return replace(entry, name=names[-1] if names else b"/")

    def open(self, path: bytes, *, follow: bool = False) -> GuestFile:
        """A regular file for reading."""
        if follow:
            path = self.resolve(path)
        entry = self.stat(path)
        if entry.type is not FileType.FILE:
            problem = f"is not a regular file but: {entry.type.value}"
            raise GuestFileKindMismatch(path=display_name(path), problem=problem)
        return GuestFile(self._process, path, entry)

    def opened(self, path: bytes, entry: FileEntry) -> GuestFile:
        """A regular file met on a walk, without asking for its entry again."""
        return GuestFile(self._process, path, entry)

    def walk(self, path: bytes = b"/") -> Iterator[Found | Unreadable]:
        """Everything below a folder, depth first in name order, with what could not be read."""
        return self._search(path, None, ignore_case=False)

    def find(
        self, pattern: bytes, *, path: bytes = b"/", ignore_case: bool = True, limit: int = 10_000
    ) -> Iterator[Found | Unreadable]:
        """Entries below a folder whose name matches: a glob if the pattern holds `*`, `?` or `[`,
        otherwise a part of the name. Ends after `limit` entries."""
        left = limit
        for item in self._search(path, pattern, ignore_case=ignore_case):
            yield item
            left -= isinstance(item, Found)
            if left <= 0:
                return

    def resolve(self, path: bytes) -> bytes:
        """The path with every symbolic link replaced, links of the guest taken relative to their
        own volume. Raises GuestFileDamaged after 40 links."""
        pending = list(split_path(path))
        done: list[bytes] = pending[:1]
        pending = pending[1:]
        links = 0
        while pending:
            name = pending.pop(0)
            if name in (b"", b"."):
                continue
            if name == b"..":
                done = done[:-1] if len(done) > 1 else done
                continue
            entry = self.stat(join_path([*done, name]))
            if entry.type is not FileType.SYMLINK or entry.symlink_target is None:
                done.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                problem = f"more than {_MAX_LINKS} symbolic links"
                raise GuestFileDamaged(path=display_name(path), problem=problem)
            if entry.symlink_target.startswith(b"/"):
                done = done[:1]
            pending = entry.symlink_target.split(b"/") + pending
        return join_path(done)

    def _page(self, path: bytes, offset: int, limit: int) -> Listing:
        fields = {**_path_field(split_path(path)), "offset": offset, "limit": limit}
        _, document, _ = self._process.request("list", path, fields)

        def parse() -> Listing:
            entries = [_entry(item) for item in _items(document, "entries")]
            if len(entries) > limit:
                raise ProtocolViolation("more entries than asked for")
            return Listing(
                entries=entries,
                total=_number(document.get("total"), _MAX_COUNT),
                errors=[_text(item) for item in _items(document, "problems")],
            )

        return self._checked(path, parse)

    def _search(
        self, path: bytes, pattern: bytes | None, *, ignore_case: bool
    ) -> Iterator[Found | Unreadable]:
        fields: dict[str, Any] = {
            **_path_field(split_path(path)),
            "pattern": None if pattern is None else protocol.text_of(pattern),
            "ignore_case": ignore_case,
        }
        _, document, _ = self._process.request("walk", path, fields)
        generation = self._process.generation
        walk = self._checked(path, lambda: _number(document.get("walk"), _MAX_COUNT))
        done = False
        try:
            while not done:
                items, done = self._slice(path, walk, generation)
                yield from items
        finally:
            if not done and generation == self._process.generation:
                self._process.request("close", path, {"walk": walk})

    def _slice(
        self, path: bytes, walk: int, generation: int
    ) -> tuple[Sequence[Found | Unreadable], bool]:
        if generation != self._process.generation:
            raise GuestReaderFailed(path=display_name(path), problem="it was restarted meanwhile")
        _, document, _ = self._process.request("next", path, {"walk": walk, "limit": _PAGE_ENTRIES})

        def parse() -> tuple[Sequence[Found | Unreadable], bool]:
            items: list[Found | Unreadable] = []
            for found in _items(document, "problems"):
                place, text = _pair(found)
                items.append(Unreadable(path=_bytes(place, _MAX_PATH_BYTES), error=_text(text)))
            for found in _items(document, "entries"):
                place, entry = _pair(found)
                items.append(_found(_bytes(place, _MAX_PATH_BYTES), _entry(entry)))
            return items, document.get("done") is True

        return self._checked(path, parse)

    def _checked(self, path: bytes, parse: Any) -> Any:
        """The parsed answer. What does not parse ends the reader: it may be under the guest's
        control."""
        try:
            return parse()
        except ProtocolViolation as error:
            self._process.close()
            raise GuestReaderFailed(path=display_name(path), problem=str(error)) from error


class GuestFile:
    """Contents of one regular file. Thread-safe; reads may be in any order."""

    def __init__(self, process: ReaderProcess, path: bytes, entry: FileEntry) -> None:
        self._process = process
        self.path = path
        self.entry = entry

    @property
    def size_bytes(self) -> int:
        return self.entry.size_bytes

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes, fewer only at the end of the file.

        Raises GuestFileDamaged when contents are missing; bytes are never made up.
        """
        length = max(0, min(length, self.size_bytes - offset))
        parts: list[bytes] = []
        while length > 0:
            count = min(length, READ_BYTES)
            fields = {
                **_path_field(split_path(self.path)),
                "offset": offset,
                "length": count,
            }
            kind, _, data = self._process.request("read", self.path, fields)
            if kind is not protocol.Kind.DATA or len(data) != count:
                shown = display_name(self.path)
                raise GuestReaderFailed(path=shown, problem="contents of a wrong length")
            parts.append(data)
            offset += count
            length -= count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The range in pieces of at most `READ_BYTES`; the whole file by default."""
        end = self.size_bytes if length is None else min(self.size_bytes, offset + length)
        while offset < end:
            data = self.read(offset, min(READ_BYTES, end - offset))
            yield data
            offset += len(data)


def _path_field(names: Sequence[bytes]) -> dict[str, Any]:
    return {"path": [protocol.text_of(name) for name in names]}


def _found(folder: bytes, entry: FileEntry) -> Found:
    safe = is_safe_name(entry.name)
    path = folder.rstrip(b"/") + b"/" + entry.name if safe else None
    return Found(folder=folder, path=path, entry=entry)


def _volume(item: object) -> Volume:
    document: dict[str, Any] = item if isinstance(item, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    identity = document.get("id")
    if not isinstance(identity, str) or not _VOLUME_ID.fullmatch(identity):
        raise ProtocolViolation("volume with an impossible id")
    return Volume(
        id=identity,
        size_bytes=_number(document.get("size"), _MAX_SIZE),
        filesystem=_text(document.get("filesystem")),
        label=_bytes(document.get("label"), _MAX_NAME_BYTES),
        uuid=_text(document.get("uuid")),
        error=_text(document.get("problem")),
        notes=[_text(note) for note in _items(document, "notes")],
    )


def _entry(item: object) -> FileEntry:
    if not isinstance(item, list):
        raise ProtocolViolation("entry is not a list")
    values: list[Any] = item  # pyright: ignore[reportUnknownVariableType]
    if len(values) != 9:
        raise ProtocolViolation("entry with a wrong number of fields")
    name, kind, size, mode, uid, gid, modified, target, error = values
    try:
        file_type = FileType(kind)
    except ValueError as problem:
        raise ProtocolViolation("entry of an unknown type") from problem
    return FileEntry(
        name=_bytes(name, _MAX_NAME_BYTES),
        type=file_type,
        size_bytes=_number(size, _MAX_SIZE),
        mode=_number(mode, 0o7777),
        uid=_number(uid, 0xFFFFFFFF),
        gid=_number(gid, 0xFFFFFFFF),
        modified_ns=_number(modified, 1 << 96, lowest=-(1 << 96)),
        symlink_target=None if target is None else _bytes(target, _MAX_TARGET_BYTES),
        error=None if error is None else _text(error),
    )


def _items(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise ProtocolViolation(f"answer without {key}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _pair(item: object) -> tuple[Any, Any]:
    if not isinstance(item, list) or len(item) != 2:  # pyright: ignore[reportUnknownArgumentType]
        raise ProtocolViolation("not a pair")
    first, second = item  # pyright: ignore[reportUnknownVariableType]
    return first, second  # pyright: ignore[reportUnknownVariableType]


def _number(value: object, highest: int, lowest: int = 0) -> int:
    # bool is an int to isinstance.
    if type(value) is not int or not lowest <= value <= highest:
        raise ProtocolViolation("a number is missing or out of range")
    return value


def _bytes(value: object, limit: int) -> bytes:
    if not isinstance(value, str) or len(value) > limit:
        raise ProtocolViolation("a name is missing or too long")
    return protocol.bytes_of(value)


def _text(value: object) -> str:
    """A message of the reader for people: bounded and printable."""
    if not isinstance(value, str):
        raise ProtocolViolation("a text is missing")
    return display_name(value[:500].encode("utf-8", "replace"))
