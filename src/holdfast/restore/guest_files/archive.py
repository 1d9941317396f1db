"""Owns archives of guest files: a folder or several paths as tar.zst or zip, streamed to a file
object. Must not know where the archive goes; nothing is ever extracted. Enter at `write_archive`.

Order is that of the walk, so the same restore point gives the same archive. What could not be read
is left out (or, once its header is written, filled with zeroes) and reported.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from stat import S_IFDIR, S_IFLNK, S_IFREG
from typing import IO, Any, Protocol

import zstandard

from holdfast.restore.guest_files.entries import (
    FileEntry,
    FileType,
    Found,
    Unreadable,
    display_name,
    is_safe_name,
    split_path,
)
from holdfast.restore.guest_files.errors import (
    GuestFileDamaged,
    GuestFileNotFound,
    GuestFileUnsupported,
    GuestReaderExhausted,
    GuestReaderFailed,
    GuestReaderTimedOut,
)
from holdfast.restore.guest_files.session import READ_BYTES, GuestFile, GuestFiles

_ZSTD_LEVEL = 3
_DEFLATE_LEVEL = 1
_MAX_PROBLEMS = 10_000
_ONE_FILE_FAILED = (
    GuestFileDamaged,
    GuestFileNotFound,
    GuestFileUnsupported,
    GuestReaderExhausted,
    GuestReaderFailed,
    GuestReaderTimedOut,
)
"""These spoil one file. Errors of the repository end the archive: they spoil the restore point."""


class ArchiveFormat(Enum):
    TAR_ZST = "tar.zst"
    """PAX headers: exact name bytes, mode, uid, gid, nanoseconds, symbolic links."""
    ZIP = "zip"
    """For systems without tar; names are made valid UTF-8 and safe on Windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveProblem:
    path: bytes
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """What went into the archive. `errors` are files left out or incomplete (the first 10,000;
    `error_count` is exact); `skipped` counts devices, FIFOs and sockets, which are never put in."""

    files: int
    directories: int
    symlinks: int
    bytes: int
    skipped: int
    error_count: int
    errors: Sequence[ArchiveProblem]


def write_archive(
    guest: GuestFiles,
    paths: Sequence[bytes],
    output: IO[bytes],
    *,
    archive_format: ArchiveFormat,
    on_bytes: Callable[[int], None] | None = None,
) -> ArchiveReport:
    """Write everything at and below `paths` to `output`, which needs no seek and stays open.

    One path gives names that begin with its own last name; several give names from the volume on.
    `on_bytes` is told the file bytes of each piece. Raises what the block source raises, Cancelled
    and OSError of `output`; the archive is then incomplete. A path that does not exist raises
    before anything is written.
    """
    # Stat first: a mistyped path must not leave an archive behind.
    tops = [(path, guest.stat(path)) for path in paths]
    strip = len(split_path(paths[0])) - 1 if len(paths) == 1 else 0
    tally = _Tally(on_bytes)
    sink: _Sink
    with _open_sink(archive_format, output) as sink:
        for path, entry in tops:
            for item in _items(guest, path, entry):
                _add(guest, sink, item, max(0, strip), tally)
    return tally.report()


class _Sink(Protocol):
    """One archive being written. Names are relative parts, all safe."""

    def directory(self, names: Sequence[bytes], entry: FileEntry) -> None: ...

    def symlink(self, names: Sequence[bytes], entry: FileEntry, target: bytes) -> None: ...

    def file(self, names: Sequence[bytes], entry: FileEntry, contents: _Contents) -> None: ...

    def __enter__(self) -> _Sink: ...

    def __exit__(self, *exception: object) -> None: ...


class _Tally:
    def __init__(self, on_bytes: Callable[[int], None] | None) -> None:
        self.files = self.directories = self.symlinks = self.bytes = self.skipped = 0
        self._errors: list[ArchiveProblem] = []
        self._error_count = 0
        self._on_bytes = on_bytes

    def problem(self, path: bytes, error: str) -> None:
        self._error_count += 1
        if len(self._errors) < _MAX_PROBLEMS:
            self._errors.append(ArchiveProblem(path=path, error=error))

    def count(self, length: int) -> None:
        self.bytes += length
        if self._on_bytes:
            self._on_bytes(length)

    def report(self) -> ArchiveReport:
        return ArchiveReport(
            files=self.files,
            directories=self.directories,
            symlinks=self.symlinks,
            bytes=self.bytes,
            skipped=self.skipped,
            error_count=self._error_count,
            errors=self._errors,
        )


class _Contents:
    """A file's bytes with a `read` that always gives the announced size. The first piece is read
    at once, so that a file that cannot be opened leaves no header; a failure behind it is filled
    with zeroes and told."""

    def __init__(self, file: GuestFile, tally: _Tally) -> None:
        self._file = file
        self._tally = tally
        self._failed = False
        self._buffer = memoryview(file.read(0, READ_BYTES))
        self._fetched = len(self._buffer)

    def read(self, length: int, /) -> bytes:
        """Exactly `length` bytes, fewer only at the end."""
        parts: list[bytes] = []
        while length > 0:
            if not self._buffer:
                self._buffer = memoryview(self._next())
            if not self._buffer:
                break
            parts.append(bytes(self._buffer[:length]))
            self._buffer = self._buffer[length:]
            length -= len(parts[-1])
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._tally.count(len(data))
        return data

    def pieces(self) -> Iterator[bytes]:
        while data := self.read(READ_BYTES):
            yield data

    def _next(self) -> bytes:
        start = self._fetched
        length = min(READ_BYTES, self._file.size_bytes - start)
        self._fetched += length
        if self._failed or length == 0:
            return bytes(length)
        try:
            return self._file.read(start, length)
        except _ONE_FILE_FAILED as error:
            self._failed = True
            text = f"filled with zeroes from byte {start} on: {error.message}"
            self._tally.problem(self._file.path, text)
            return bytes(length)


def _items(guest: GuestFiles, path: bytes, entry: FileEntry) -> Iterator[Found | Unreadable]:
    if split_path(path):
        yield Found(folder=b"", path=path, entry=entry)
    if entry.type is FileType.DIRECTORY:
        try:
            yield from guest.walk(path)
        except _ONE_FILE_FAILED as error:
            yield Unreadable(path=path, error=f"the rest was not read: {error.message}")


def _add(
    guest: GuestFiles, sink: _Sink, item: Found | Unreadable, strip: int, tally: _Tally
) -> None:
    if isinstance(item, Unreadable):
        tally.problem(item.path, item.error)
        return
    entry = item.entry
    if item.path is None:
        shown = item.folder.rstrip(b"/") + b"/" + display_name(entry.name).encode()
        tally.problem(shown, entry.error or "unsafe name")
        return
    names = split_path(item.path)[strip:]
    if entry.error is not None:
        tally.problem(item.path, entry.error)
    elif entry.type is FileType.DIRECTORY:
        sink.directory(names, entry)
        tally.directories += 1
    elif entry.type is FileType.SYMLINK and entry.symlink_target is not None:
        sink.symlink(names, entry, entry.symlink_target)
        tally.symlinks += 1
    elif entry.type is FileType.FILE:
        try:
            contents = _Contents(guest.opened(item.path, entry), tally)
        except _ONE_FILE_FAILED as error:
            tally.problem(item.path, error.message)
            return
        sink.file(names, entry, contents)
        tally.files += 1
    else:
        tally.skipped += 1


def _open_sink(archive_format: ArchiveFormat, output: IO[bytes]) -> _Sink:
    return _TarSink(output) if archive_format is ArchiveFormat.TAR_ZST else _ZipSink(output)


class _TarSink:
    def __init__(self, output: IO[bytes]) -> None:
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
        self._compressed: Any = compressor.stream_writer(output, closefd=False)
        self._tar = tarfile.open(  # noqa: SIM115 - closed in __exit__
            mode="w|",
            fileobj=self._compressed,
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=READ_BYTES,
        )

    def __enter__(self) -> _TarSink:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._tar.close()
            self._compressed.close()

    def directory(self, names: Sequence[bytes], entry: FileEntry) -> None:
        self._add(self._header(names, entry, tarfile.DIRTYPE))

    def symlink(self, names: Sequence[bytes], entry: FileEntry, target: bytes) -> None:
        header = self._header(names, entry, tarfile.SYMTYPE)
        header.linkname = target.decode("utf-8", "surrogateescape")
        self._add(header)

    def file(self, names: Sequence[bytes], entry: FileEntry, contents: _Contents) -> None:
        header = self._header(names, entry, tarfile.REGTYPE)
        header.size = entry.size_bytes
        self._add(header, contents)

    def _header(self, names: Sequence[bytes], entry: FileEntry, kind: bytes) -> tarfile.TarInfo:
        header = tarfile.TarInfo(b"/".join(names).decode("utf-8", "surrogateescape"))
        header.type = kind
        header.mode = entry.mode
        header.uid = entry.uid
        header.gid = entry.gid
        seconds, nanoseconds = divmod(entry.modified_ns, 1_000_000_000)
        header.mtime = seconds
        if nanoseconds and seconds >= 0:
            header.pax_headers = {"mtime": f"{seconds}.{nanoseconds:09d}"}
        return header

    def _add(self, header: tarfile.TarInfo, contents: _Contents | None = None) -> None:
        self._tar.addfile(header, contents)  # pyright: ignore[reportArgumentType]
        # tarfile keeps every header for look-ups; a million of them would take a gigabyte.
        self._tar.getmembers().clear()


class _ZipSink:
    def __init__(self, output: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(
            _Unseekable(output), "w", zipfile.ZIP_DEFLATED, compresslevel=_DEFLATE_LEVEL
        )
        self._folders: dict[tuple[bytes, ...], str] = {(): ""}
        self._taken: set[str] = set()

    def __enter__(self) -> _ZipSink:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._zip.close()

    def directory(self, names: Sequence[bytes], entry: FileEntry) -> None:
        name = self._folder(tuple(names))
        self._zip.writestr(_zip_header(name, entry, S_IFDIR), b"")

    def symlink(self, names: Sequence[bytes], entry: FileEntry, target: bytes) -> None:
        name = self._free(self._folder(tuple(names[:-1])) + zip_name(names[-1]))
        self._zip.writestr(_zip_header(name, entry, S_IFLNK), target)

    def file(self, names: Sequence[bytes], entry: FileEntry, contents: _Contents) -> None:
        name = self._free(self._folder(tuple(names[:-1])) + zip_name(names[-1]))
        header = _zip_header(name, entry, S_IFREG)
        header.file_size = entry.size_bytes
        with self._zip.open(header, "w", force_zip64=True) as member:
            for data in contents.pieces():
                member.write(data)

    def _folder(self, names: tuple[bytes, ...]) -> str:
        """The name of a folder inside the archive, with a slash at the end."""
        known = self._folders.get(names)
        if known is None:
            known = self._free(self._folder(names[:-1]) + zip_name(names[-1])) + "/"
            self._folders[names] = known
        return known

    def _free(self, name: str) -> str:
        """The name, or a numbered one when another member has it on a case-blind system."""
        candidate = name
        number = 2
        while candidate.casefold() in self._taken:
            candidate = f"{name}~{number}"
            number += 1
        self._taken.add(candidate.casefold())
        return candidate


class _Unseekable(io.RawIOBase):
    """Keeps zipfile from seeking back: sizes go behind the data, so any pipe will do."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._output.write(data)
        return len(data)


def _zip_header(name: str, entry: FileEntry, kind: int) -> zipfile.ZipInfo:
    first, last = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, tzinfo=UTC)
    moment = min(max(entry.modified or first, first), last)
    header = zipfile.ZipInfo(name, moment.timetuple()[:6])
    header.compress_type = zipfile.ZIP_DEFLATED
    header.create_system = 3
    # Permission bits without setuid, setgid and sticky; 0x10 marks a folder for DOS.
    header.external_attr = (kind | (entry.mode & 0o777)) << 16 | (0x10 if kind == S_IFDIR else 0)
    return header


def zip_name(name: bytes) -> str:
    """One path part that no extractor on any system takes for something else: valid UTF-8, no
    control characters, `\\` or `:`, no dot or space at its end."""
    text = name.decode("utf-8", "replace")
    text = "".join(
        "_" if character in "\\:/" or not character.isprintable() else character
        for character in text
    )
    if text[-1:] in ("", ".", " "):
        text = f"{text[:-1]}_"
    return text if is_safe_name(text.encode("utf-8")) else "_"
