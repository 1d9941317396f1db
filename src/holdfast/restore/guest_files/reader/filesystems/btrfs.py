"""btrfs over dissect, shown from its top level so that every subvolume is reachable.

dissect.btrfs 1.10 wants a zstd module of Python 3.14 or a backport; the decompressor of the
`zstandard` package is put in its place. File contents are put together here, because dissect stops
at an inline extent also when others follow it. A directory entry of a subvolume counts only when
the root tree confirms it, as in the kernel: a snapshot holds entries of subvolumes that are not
inside it, and following them never ends. Enter at `BtrfsFileSystem`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Hashable, Iterator, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any, ClassVar

from ..device import Device, Mapping, Piece, Window
from ..faults import Damaged, Unsupported, describe, parse_errors
from .base import (
    DIRECTORY,
    KINDS_BY_NUMBER,
    MAX_PROBLEMS,
    MAX_TARGET_BYTES,
    Attributes,
    Dirent,
    Problem,
    Stream,
    kind_of_mode,
)

_KEY_DIR_INDEX = 96
_KEY_INODE = 1
_KEY_EXTENT_DATA = 108
_EXTENT_INLINE, _EXTENT_REGULAR = 0, 1
_MAX_EXTENT_BYTES = 16 * 1024 * 1024
"""A compressed extent holds 128 KiB; more than this is not believed."""
_KEY_ROOT = 132
_KEY_ROOT_REF = 156


class BtrfsFileSystem:
    """See `FileSystem`. A node is one of dissect's inodes."""

    def __init__(self, devices: Sequence[Device]) -> None:
        _provide_zstd()
        module: Any = import_module("dissect.btrfs.btrfs")
        self._stream: Any = import_module("dissect.btrfs.stream")
        self._structures: Any = import_module("dissect.btrfs.c_btrfs").c_btrfs
        self._fs: Any = module.Btrfs(list(devices))
        self.root: Any = self._fs.fs_tree.root

    def identity(self, node: Any) -> Hashable:
        return (node.subvolume.objectid, node.inum)

    def attributes(self, node: Any) -> Attributes:
        raw = node.inode
        mode = int(raw.mode)
        return Attributes(
            kind=kind_of_mode(mode),
            size=int(raw.size),
            mode=mode & 0o7777,
            uid=int(raw.uid),
            gid=int(raw.gid),
            modified_ns=_nanoseconds(int(raw.mtime.sec), int(raw.mtime.nsec)),
        )

    def target(self, node: Any) -> bytes:
        if node.size > MAX_TARGET_BYTES:
            raise Damaged("symbolic link of impossible length")
        return self.open(node).read(node.size)

    def open(self, node: Any) -> Stream:
        pieces: list[Piece] = []
        position = 0
        cursor = node.subvolume.tree.cursor()
        for item, data in cursor.iter(node.inum, _KEY_EXTENT_DATA, 0, ignore_offset=True):
            start = int(item.key.offset)
            if start < position:
                raise Damaged("extents overlap")
            if start > position:
                pieces.append(Piece(device=None, start=0, length=start - position))
            pieces.append(self._extent(bytes(data), int(node.size)))
            position = start + pieces[-1].length
        if position < node.size:
            pieces.append(Piece(device=None, start=0, length=int(node.size) - position))
        return Window(Mapping(pieces), 0, int(node.size))

    def _extent(self, data: bytes, size: int) -> Piece:
        ram_bytes, compression, encryption, kind = struct.unpack_from("<8xQBB2xB", data)
        if encryption:
            raise Unsupported("encrypted extent")
        if kind == _EXTENT_INLINE:
            if ram_bytes > _MAX_EXTENT_BYTES:
                raise Damaged("inline extent of impossible length")
            content = self._decode(data[21:], compression, ram_bytes)
            # Contents behind an inline extent begin at the next sector; the rest of it is zeroes.
            sector = int(self._fs.sector_size)
            padded = min(-(-ram_bytes // sector) * sector, size) if size > ram_bytes else ram_bytes
            return Piece(device=_Bytes(content.ljust(padded, b"\0")), start=0, length=padded)
        where, stored, start, length = struct.unpack_from("<QQQQ", data, 21)
        if kind != _EXTENT_REGULAR or where == 0:  # preallocated, or a hole
            return Piece(device=None, start=0, length=length)
        logical = _Logical(self._fs._logical_fh, where, stored)
        if compression == 0:
            return Piece(device=logical, start=start, length=length)
        if max(stored, ram_bytes) > _MAX_EXTENT_BYTES:
            raise Damaged("compressed extent of impossible length")
        decode = functools.partial(self._decode, compression=compression, size=ram_bytes)
        return Piece(device=_Compressed(logical, decode, ram_bytes), start=start, length=length)

    def _decode(self, data: bytes, compression: int, size: int) -> bytes:
        if compression == 0:
            return data[:size]
        content: bytes = self._stream.decode_extent(data, compression, 0, self._fs.sector_size)
        return content[:size].ljust(size, b"\0")

    def scan(self, node: Any) -> Iterator[Dirent | Problem]:
        if kind_of_mode(int(node.inode.mode)) != DIRECTORY:
            raise Damaged(f"inode {node.inum} is not a directory")
        problems = 0
        cursor = node.subvolume.tree.cursor()
        for _, data in cursor.iter(node.inum, _KEY_DIR_INDEX, 2, ignore_offset=True):
            try:
                yield self._dirent(node, data)
            except parse_errors() as error:
                problems += 1
                yield Problem(text=describe(error))
                if problems >= MAX_PROBLEMS:
                    return

    def _dirent(self, node: Any, data: Any) -> Dirent:
        item = self._structures.btrfs_dir_item(data)
        name = bytes(item.name)
        number = int(item.location.objectid)
        kind = KINDS_BY_NUMBER.get(int(item.type))
        if item.location.type == _KEY_INODE:
            return Dirent(name=name, node=node.subvolume.inode(number, item.type, None), kind=kind)
        if item.location.type != _KEY_ROOT:
            raise Damaged("directory entry points at neither an inode nor a subvolume")
        try:
            self._fs._root_tree.find(node.subvolume.objectid, _KEY_ROOT_REF, number)
        except KeyError:
            return Dirent(name=name, node=_EmptyDirectory(number), kind=DIRECTORY)
        return Dirent(name=name, node=self._fs.open_subvolume(number).root, kind=DIRECTORY)


class _Bytes(Device):
    def __init__(self, content: bytes) -> None:
        super().__init__(len(content))
        self._content = content

    def pread(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]


class _Logical(Device):
    """A range of the file system's logical address space."""

    def __init__(self, space: Any, start: int, size: int) -> None:
        super().__init__(size)
        self._space = space
        self._start = start

    def pread(self, offset: int, length: int) -> bytes:
        self._space.seek(self._start + offset)
        return self._space.read(min(length, self.size - offset))


class _Compressed(Device):
    """An extent that is decoded as a whole when first read; only the last one stays decoded."""

    _decoded: ClassVar[tuple[_Compressed | None, bytes]] = (None, b"")

    def __init__(self, stored: Device, decode: Callable[[bytes], bytes], size: int) -> None:
        super().__init__(size)
        self._stored = stored
        self._decode = decode

    def pread(self, offset: int, length: int) -> bytes:
        owner, content = _Compressed._decoded
        if owner is not self:
            content = self._decode(self._stored.pread(0, self._stored.size))
            _Compressed._decoded = (self, content)
        return content[offset : offset + length]


class _EmptyDirectory:
    """Stands for a subvolume that was not included in the snapshot that names it."""

    def __init__(self, objectid: int) -> None:
        self.inum = 2
        self.size = 0
        self.subvolume = SimpleNamespace(
            objectid=-objectid, tree=SimpleNamespace(cursor=_EmptyCursor)
        )
        time = SimpleNamespace(sec=0, nsec=0)
        self.inode = SimpleNamespace(mode=0o040555, size=0, uid=0, gid=0, mtime=time)


class _EmptyCursor:
    def iter(self, *_key: int, ignore_offset: bool) -> Iterator[tuple[Any, Any]]:
        del ignore_offset
        return iter(())


def _nanoseconds(seconds: int, nanoseconds: int) -> int:
    """dissect gives the signed seconds as unsigned."""
    if seconds >= 1 << 63:
        seconds -= 1 << 64
    return seconds * 1_000_000_000 + nanoseconds


def _provide_zstd() -> None:
    stream: Any = import_module("dissect.btrfs.stream")
    if stream.HAS_ZSTD:
        return
    zstandard: Any = import_module("zstandard")
    stream.zstd = SimpleNamespace(
        ZstdDecompressor=lambda: zstandard.ZstdDecompressor().decompressobj()
    )
    stream.HAS_ZSTD = True
