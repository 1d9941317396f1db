"""Guest files on their way to a browser: one file with ranges, or an archive as it is made."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, cast
from urllib.parse import quote

from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.units import MIB
from holdfast.restore.guest_files.archive import ArchiveFormat, write_archive
from holdfast.restore.guest_files.entries import FileType, Found
from holdfast.restore.guest_files.session import GuestFile, GuestFiles

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_QUEUE_PIECES = 8
_PIECE_BYTES = 1 * MIB


class UnsatisfiableRange(Exception):
    """The range asked for lies outside the file."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and length of a single range; None for the whole file. What is no valid range is
    ignored (RFC 9110, 14.2). Raises UnsatisfiableRange."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise UnsatisfiableRange
        return size - length, length
    first = int(match[1])
    last = min(int(match[2]) if match[2] else size - 1, size - 1)
    if match[2] and int(match[2]) < first:
        return None
    if first >= size:
        raise UnsatisfiableRange
    return first, last - first + 1


def file_pieces(file: GuestFile, first: int, length: int) -> Iterator[bytes]:
    yield from file.chunks(first, length)


def disposition(name: bytes, suffix: str = "") -> str:
    """Always an attachment, its name harmless in every header parser (RFC 6266, RFC 8187)."""
    text = name.decode("utf-8", "replace") + suffix
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", text) or "file"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(text, safe='')}"


def archive_format(name: str) -> ArchiveFormat:
    """Raises InvalidInput."""
    try:
        return ArchiveFormat(name)
    except ValueError as error:
        raise InvalidInput(what="format", problem="is neither zip nor tar.zst") from error


def in_volumes(guest: GuestFiles, paths: Sequence[bytes]) -> list[bytes]:
    """The paths; with the root among them all volumes, of which there is nothing beside."""
    wanted = [path for path in paths if path.strip(b"/")]
    if len(wanted) < len(paths):
        return [b"/" + volume.id.encode() for volume in guest.volumes()]
    return wanted


def file_bytes_within(guest: GuestFiles, paths: Sequence[bytes], *, seconds: float) -> int | None:
    """What the regular files at and below these paths hold together; None when they cannot be
    counted in this time, or at all: the download itself says why."""
    deadline = time.monotonic() + seconds
    total = 0
    try:
        for path in in_volumes(guest, paths):
            entry = guest.stat(path)
            if entry.type is FileType.FILE:
                total += entry.size_bytes
            elif entry.type is FileType.DIRECTORY:
                for item in guest.walk(path):
                    if isinstance(item, Found) and item.entry.type is FileType.FILE:
                        total += item.entry.size_bytes
                    if time.monotonic() > deadline:
                        return None
    except HoldfastError:
        return None
    return total


def archive_pieces(
    guest: GuestFiles, paths: Sequence[bytes], kind: ArchiveFormat
) -> Iterator[bytes]:
    """The archive while it is written, by a thread that waits whenever the reader is slow.

    An error in its middle ends the stream without its end, so that the client sees a broken
    download, never a complete archive that lacks something silently.
    """
    pipe = _Pipe()

    def write() -> None:
        try:
            write_archive(guest, paths, cast("IO[bytes]", pipe), archive_format=kind)
        except _ReaderGone:
            return
        except (HoldfastError, OSError) as error:
            pipe.fail(error)
        else:
            pipe.end()

    thread = threading.Thread(target=write, name="archive", daemon=True)
    thread.start()
    try:
        yield from pipe.pieces()
    finally:
        pipe.reader_gone.set()
        thread.join(10)


class _ReaderGone(Exception):
    """The client went away."""


class _Pipe:
    """What the archive writer takes for a file."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUE_PIECES)
        self._held = bytearray()
        self.reader_gone = threading.Event()

    def write(self, data: bytes) -> int:
        self._held += data
        if len(self._held) >= _PIECE_BYTES:
            self._put(bytes(self._held))
            self._held.clear()
        return len(data)

    def flush(self) -> None: ...

    def end(self) -> None:
        if self._held:
            self._put(bytes(self._held))
        self._put(None)

    def fail(self, error: BaseException) -> None:
        self._put(error)

    def pieces(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _put(self, item: bytes | BaseException | None) -> None:
        while not self.reader_gone.is_set():
            try:
                self._queue.put(item, timeout=0.5)
            except queue.Full:
                continue
            return
        raise _ReaderGone
