"""NTFS over dissect's master file table and attributes.

Directory indexes are walked from their root here: dissect.ntfs 3.16 reads every index block, also
freed ones with names of deleted files, skips damaged ones in silence, and cannot decode names that
are no valid UTF-16. Names become UTF-8 in which a lone surrogate keeps its three-byte form.
Enter at `NtfsFileSystem`.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from ..device import Device
from ..faults import Damaged, NotAFile, Unsupported, describe, parse_errors
from .base import (
    DIRECTORY,
    FILE,
    MAX_PROBLEMS,
    SYMLINK,
    Attributes,
    Dirent,
    Problem,
    Stream,
)

_ROOT_SEGMENT = 5
_FIRST_USER_SEGMENT = 16
"""Segments below belong to the file system itself ($MFT, $Bitmap, ...); they are not shown."""
_NAMESPACE_DOS = 2
_STANDARD_INFORMATION, _ATTRIBUTE_LIST, _DATA, _REPARSE_POINT = 0x10, 0x20, 0x80, 0xC0
_END = 0xFFFFFFFF
_RECORD_IN_USE, _RECORD_DIRECTORY = 0x1, 0x2
_FILE_ATTRIBUTE_READONLY = 0x1
_FILE_ATTRIBUTE_REPARSE = 0x400
_STREAM_ENCRYPTED = 0x4000
_TAG_MOUNT_POINT, _TAG_SYMLINK = 0xA0000003, 0xA000000C
_EPOCH_DIFFERENCE_NS = 11_644_473_600 * 1_000_000_000


class NtfsFileSystem:
    """See `FileSystem`. A node is a segment number of the master file table."""

    root = _ROOT_SEGMENT

    def __init__(self, device: Device) -> None:
        module: Any = import_module("dissect.ntfs.ntfs")
        # Given streams keep dissect from looking up $Secure and $UsnJrnl by name in the root
        # directory, where one undecodable name would make the whole volume unreadable.
        self._fs: Any = module.NTFS(device, sds=io.BytesIO(b"\0"), usnjrnl=io.BytesIO(b"\0"))
        self._apply_fixup: Any = import_module("dissect.ntfs.util").apply_fixup
        self._record = lru_cache(2048)(self._read_record)

    def identity(self, node: int) -> Hashable:
        return node

    def attributes(self, node: int) -> Attributes:
        found = self._summary(node)
        directory = bool(found.flags & _RECORD_DIRECTORY)
        kind = DIRECTORY if directory else FILE
        if found.reparse_tag in (_TAG_MOUNT_POINT, _TAG_SYMLINK):
            kind = SYMLINK
        writable = 0 if found.file_attributes & _FILE_ATTRIBUTE_READONLY else 0o200
        return Attributes(
            kind=kind,
            size=found.size if kind == FILE else 0,
            mode=(0o555 if directory else 0o444) | writable,
            uid=0,
            gid=0,
            modified_ns=found.modified * 100 - _EPOCH_DIFFERENCE_NS,
        )

    def target(self, node: int) -> bytes:
        """The printable name of a symbolic link or junction, with `/` for `\\`."""
        data = self._reparse_data(self._record(node))
        (tag,) = struct.unpack_from("<I", data)
        if tag not in (_TAG_MOUNT_POINT, _TAG_SYMLINK):
            raise Unsupported(f"reparse point with tag {tag:#x}")
        substitute, substitute_length, shown, shown_length = struct.unpack_from("<HHHH", data, 8)
        base = 20 if tag == _TAG_SYMLINK else 16
        start, length = (shown, shown_length) if shown_length else (substitute, substitute_length)
        return _name(data[base + start : base + start + length]).replace(b"\\", b"/")

    def open(self, node: int) -> Stream:
        record = self._record(node)
        if record.is_dir():
            raise NotAFile("is a directory")
        tag = self._reparse_tag(record)
        if tag is not None:
            # Compressed by the system, deduplicated or in the cloud: the plain stream is zeroes.
            raise Unsupported(f"contents are kept elsewhere (reparse tag {tag:#x})")
        if not record.has_stream():
            return io.BytesIO(b"")
        attributes = record.attributes.find("", _DATA)
        header = attributes[0].header
        if header.flags & _STREAM_ENCRYPTED:
            raise Unsupported("encrypted file")
        stream: Stream = attributes.open()
        if header.resident:
            return stream
        first = min(attributes, key=lambda attribute: attribute.header.lowest_vcn).header
        valid = int(first.header.Form.Nonresident.ValidDataLength)
        return stream if valid >= first.size else ZeroTail(stream, valid, first.size)

    def scan(self, node: int) -> Iterator[Dirent | Problem]:
        record = self._record(node)
        if not record.is_dir():
            raise Damaged(f"file record {node} is not a directory")
        index: Any = record.index("$I30")
        pending: list[int] = []
        problems = 0
        seen: set[int] = set()
        yield from self._names(index.root.entries(), pending)
        while pending:
            block = pending.pop()
            if block in seen:
                continue
            seen.add(block)
            try:
                yield from self._names(index.index_buffer(block).entries(), pending)
            except parse_errors() as error:
                problems += 1
                yield Problem(text=f"index block {block}: {describe(error)}")
                if problems >= MAX_PROBLEMS:
                    return

    def _names(self, entries: Iterator[Any], pending: list[int]) -> Iterator[Dirent]:
        for entry in entries:
            if entry.is_node:
                pending.append(int.from_bytes(entry.buf[-8:], "little"))
            if entry.is_end:
                return
            key = entry.buf
            length, namespace = key[64], key[65]
            segment = int(entry.header.FileReference.SegmentNumberLowPart)
            segment |= int(entry.header.FileReference.SegmentNumberHighPart) << 32
            if namespace == _NAMESPACE_DOS or segment < _FIRST_USER_SEGMENT:
                continue
            (flags,) = struct.unpack_from("<I", key, 56)
            kind = DIRECTORY if flags & 0x10000000 else FILE
            yield Dirent(
                name=_name(key[66 : 66 + 2 * length]),
                node=segment,
                kind=None if flags & _FILE_ATTRIBUTE_REPARSE else kind,
            )

    def _read_record(self, segment: int) -> Any:
        return self._fs.mft.get(segment)

    def _summary(self, segment: int) -> _Summary:
        """What a listing needs, straight from the record: 20 times as fast as dissect's objects."""
        offset = segment * self._fs._record_size
        stream = self._fs.mft.fh
        stream.seek(offset)
        raw = stream.read(self._fs._record_size)
        if raw[:4] != b"FILE":
            raise Damaged(f"file record {segment} with a wrong signature")
        raw = self._apply_fixup(raw)
        flags, used = struct.unpack_from("<HI", raw, 22)
        if not flags & _RECORD_IN_USE:
            raise Damaged(f"file record {segment} is not in use")
        (position,) = struct.unpack_from("<H", raw, 20)
        found = _Summary(flags=flags)
        elsewhere = False
        while position + 24 <= min(used, len(raw)):
            kind, length = struct.unpack_from("<II", raw, position)
            if kind == _END or length < 24 or position + length > len(raw):
                break
            elsewhere |= kind == _ATTRIBUTE_LIST
            _summarise(found, kind, raw[position : position + length])
            position += length
        if not found.has_information:
            raise Damaged(f"file record {segment} without standard information")
        if elsewhere:
            self._complete(found, segment)
        return found

    def _complete(self, found: _Summary, segment: int) -> None:
        """Attributes of a record that has more than fit into it."""
        record = self._record(segment)
        if record.has_stream():
            found.size = record.size()
        if _REPARSE_POINT in record.attributes:
            (found.reparse_tag,) = struct.unpack_from("<I", self._reparse_data(record))

    def _reparse_data(self, record: Any) -> bytes:
        return bytes(record.attributes[_REPARSE_POINT][0].header.data())

    def _reparse_tag(self, record: Any) -> int | None:
        if _REPARSE_POINT not in record.attributes:
            return None
        (tag,) = struct.unpack_from("<I", self._reparse_data(record))
        return tag


@dataclass(slots=True, kw_only=True)
class _Summary:
    flags: int
    has_information: bool = False
    modified: int = 0
    file_attributes: int = 0
    size: int = 0
    reparse_tag: int | None = None


def _summarise(found: _Summary, kind: int, attribute: bytes) -> None:
    """Take from one attribute of a record what `_Summary` holds."""
    nonresident, name_length = attribute[8], attribute[9]
    if nonresident:
        if kind == _DATA and name_length == 0 and not any(attribute[16:24]):
            (found.size,) = struct.unpack_from("<Q", attribute, 48)
        return
    length, start = struct.unpack_from("<IH", attribute, 16)
    if kind == _STANDARD_INFORMATION:
        _, found.modified, _, _, found.file_attributes = struct.unpack_from(
            "<QQQQI", attribute, start
        )
        found.has_information = True
    elif kind == _DATA and name_length == 0:
        found.size = length
    elif kind == _REPARSE_POINT:
        (found.reparse_tag,) = struct.unpack_from("<I", attribute, start)


class ZeroTail:
    """Contents whose clusters were never written behind `valid`: those bytes read as zeroes."""

    def __init__(self, stream: Stream, valid: int, size: int) -> None:
        self._stream = stream
        self._valid = valid
        self._size = size
        self._position = 0

    def seek(self, position: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._position, 2: self._size}[whence]
        self._position = base + position
        return self._position

    def read(self, length: int = -1) -> bytes:
        remaining = max(0, self._size - self._position)
        length = remaining if length < 0 else min(length, remaining)
        stored = max(0, min(length, self._valid - self._position))
        data = b""
        if stored:
            self._stream.seek(self._position)
            data = self._stream.read(stored)
            if len(data) < stored:
                return data
        self._position += length
        return data + bytes(length - stored)


def _name(utf16: bytes) -> bytes:
    return utf16.decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")
