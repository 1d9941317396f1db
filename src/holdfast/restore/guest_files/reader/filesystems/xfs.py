"""XFS over dissect's superblock, allocation groups and inodes.

Directories and extent lists are decoded here, because dissect.xfs 3.13 reads directory blocks in
units of file-system blocks (a volume made with larger directory blocks loses names), returns what
is stored in unwritten extents instead of zeroes, and takes negative times for positive ones.
Enter at `XfsFileSystem`.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any

from ..device import Device
from ..faults import Damaged, Unsupported
from .base import (
    DIRECTORY,
    KINDS_BY_NUMBER,
    MAX_TARGET_BYTES,
    Attributes,
    Dirent,
    Problem,
    Stream,
    kind_of_mode,
    scan_blocks,
)

_MAGIC_BLOCK = (b"XD2B", b"XDB3")
_MAGIC_DATA = (b"XD2D", b"XDD3")
_FREE_TAG = 0xFFFF
_LEAF_START_BYTES = 32 << 30
"""Directory data lives below this logical offset, its indexes from there on."""
_FLAG_REALTIME = 1
_FLAG2_BIGTIME = 8
_FORMAT_LOCAL, _FORMAT_EXTENTS, _FORMAT_BTREE = 1, 2, 3


class XfsFileSystem:
    """See `FileSystem`. A node is an absolute inode number."""

    def __init__(self, device: Device) -> None:
        self._fs: Any = import_module("dissect.xfs.xfs").XFS(device)
        self._streams: Any = import_module("dissect.util.stream")
        superblock = self._fs.sb
        self.root = int(superblock.sb_rootino)
        self._block_size = int(superblock.sb_blocksize)
        self._directory_block = self._block_size << min(int(superblock.sb_dirblklog), 7)
        self._has_crc = self._fs.version == 5
        self._has_kind = bool(self._fs._has_ftype)
        self._inode = lru_cache(4096)(self._fs.get_inode)

    def identity(self, node: int) -> Hashable:
        return node

    def attributes(self, node: int) -> Attributes:
        raw = self._inode(node).inode
        return Attributes(
            kind=kind_of_mode(raw.di_mode),
            size=raw.di_size,
            mode=raw.di_mode & 0o7777,
            uid=raw.di_uid,
            gid=raw.di_gid,
            modified_ns=_nanoseconds(raw),
        )

    def target(self, node: int) -> bytes:
        inode = self._inode(node)
        if inode.size > MAX_TARGET_BYTES:
            raise Damaged("symbolic link of impossible length")
        link: str = inode.link
        return link.encode("utf-8", "surrogateescape")

    def open(self, node: int) -> Stream:
        inode = self._inode(node)
        raw = inode.inode
        if raw.di_flags & _FLAG_REALTIME:
            raise Unsupported("file on an XFS realtime device")
        if int(raw.di_format) == _FORMAT_LOCAL:
            return inode.datafork()
        runs = self._runs(inode)
        return self._streams.RunlistStream(self._fs.fh, runs, inode.size, self._block_size)

    def scan(self, node: int) -> Iterator[Dirent | Problem]:
        inode = self._inode(node)
        raw = inode.inode
        if kind_of_mode(raw.di_mode) != DIRECTORY:
            raise Damaged(f"inode {node} is not a directory")
        if int(raw.di_format) == _FORMAT_LOCAL:
            yield from self._scan_short(inode.datafork().read(inode.size))
            return
        size = min(inode.size, _LEAF_START_BYTES)
        yield from scan_blocks(self.open(node), size, self._directory_block, self._scan_block)

    def _scan_short(self, data: bytes) -> Iterator[Dirent | Problem]:
        """Entries kept in the inode: count, wide count, parent, then names."""
        count, wide = data[0], data[1]
        width = 8 if wide else 4
        offset = 2 + width
        for _ in range(count):
            length = data[offset]
            name_end = offset + 3 + length
            number_start = name_end + (1 if self._has_kind else 0)
            number = data[number_start : number_start + width]
            if len(number) < width:
                yield Problem(text="directory entry runs past the inode")
                return
            kind = KINDS_BY_NUMBER.get(data[name_end]) if self._has_kind else None
            yield Dirent(name=data[offset + 3 : name_end], node=int.from_bytes(number), kind=kind)
            offset = number_start + width

    def _scan_block(self, block: bytes) -> Iterator[Dirent | Problem]:
        magic = block[:4]
        if magic in _MAGIC_BLOCK:
            count, _stale = struct.unpack_from(">II", block, len(block) - 8)
            end = len(block) - 8 - 8 * count
        elif magic in _MAGIC_DATA:
            end = len(block)
        elif any(block):
            yield Problem(text="directory block with a wrong signature")
            return
        else:
            return  # a hole
        offset = 64 if self._has_crc else 16
        while offset + 12 <= end:
            tag, unused = struct.unpack_from(">HH", block, offset)
            if tag == _FREE_TAG:
                if unused < 8 or unused % 8:
                    yield Problem(text=f"free space of length {unused} in a directory block")
                    return
                offset += unused
                continue
            number, length = struct.unpack_from(">QB", block, offset)
            tail = offset + 9 + length + (1 if self._has_kind else 0) + 2
            if length == 0 or tail > end:
                yield Problem(text=f"directory entry with a name of length {length}")
                return
            kind = KINDS_BY_NUMBER.get(block[offset + 9 + length]) if self._has_kind else None
            yield Dirent(name=block[offset + 9 : offset + 9 + length], node=number, kind=kind)
            offset = (tail + 7) & ~7

    def _runs(self, inode: Any) -> list[tuple[int | None, int]]:
        runs: list[tuple[int | None, int]] = []
        position = 0
        superblock = self._fs.sb
        for logical, start, count, unwritten in inode._iter_blocks():
            if logical < position:
                raise Damaged("extents overlap")
            if logical > position:
                runs.append((None, logical - position))
            group = start >> superblock.sb_agblklog
            block = start & ((1 << superblock.sb_agblklog) - 1)
            physical = group * superblock.sb_agblocks + block
            runs.append((None if unwritten else physical, count))
            position = logical + count
        needed = -(-inode.size // self._block_size)
        if position < needed:
            runs.append((None, needed - position))
        return runs


def _nanoseconds(raw: Any) -> int:
    stamp = int(raw.di_mtime)
    if raw.di_version >= 3 and raw.di_flags2 & _FLAG2_BIGTIME:
        return stamp - (1 << 31) * 1_000_000_000
    seconds, nanoseconds = stamp >> 32, stamp & 0xFFFFFFFF
    if seconds & 0x80000000:
        seconds -= 1 << 32
    return seconds * 1_000_000_000 + nanoseconds
