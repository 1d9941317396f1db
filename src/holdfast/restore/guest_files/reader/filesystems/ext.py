"""ext2, ext3 and ext4 over dissect's superblock and group descriptors.

Inodes, directories and block maps are decoded here, because dissect.extfs 3.15 loses the last
12-byte entry of a directory and the last inode, reads block 0 as a pointer block for holes of
ext2/3 files, follows extent trees without a depth bound, and cuts inline data at 60 bytes.
Enter at `ExtFileSystem`.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Hashable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

from ..device import Device
from ..faults import Damaged, Unsupported
from .base import (
    DIRECTORY,
    FILE,
    KINDS_BY_NUMBER,
    MAX_TARGET_BYTES,
    Attributes,
    Dirent,
    Problem,
    Stream,
    kind_of_mode,
    scan_blocks,
)

_INODE = struct.Struct("<HHI 4x4x I 4x HHI I 4x 60s 4x I I 4x H H H H")
_DIRENT = struct.Struct("<IHBB")
_EXTENT_HEADER = struct.Struct("<HHHH4x")
_EXTENT = struct.Struct("<IHHI")
_EXTENT_INDEX = struct.Struct("<IIH2x")

_FLAG_ENCRYPTED = 0x800
_FLAG_EXTENTS = 0x80000
_FLAG_INLINE = 0x10000000
_INCOMPAT_REFUSED = {0x1: "compression", 0x8: "an external journal", 0x10: "meta block groups"}
_MAX_EXTENT_DEPTH = 5
_ROOT_INODE = 2


class _Inode(NamedTuple):
    number: int
    mode: int
    uid: int
    gid: int
    size: int
    modified_ns: int
    flags: int
    block: bytes


class ExtFileSystem:
    """See `FileSystem`. A node is an inode number."""

    root = _ROOT_INODE

    def __init__(self, device: Device) -> None:
        self._device = device
        self._fs: Any = import_module("dissect.extfs.extfs").ExtFS(device)
        self._streams: Any = import_module("dissect.util.stream")
        superblock = self._fs.sb
        for bit, meaning in _INCOMPAT_REFUSED.items():
            if superblock.s_feature_incompat & bit:
                raise Unsupported(f"ext file system with {meaning}")
        self._block_size: int = self._fs.block_size
        self._inode_size = int(superblock.s_inode_size) if superblock.s_rev_level else 128
        if not 128 <= self._inode_size <= self._block_size:
            raise Damaged(f"inode size {self._inode_size}")
        self._inode_count = int(superblock.s_inodes_count)
        self._inodes_per_group = int(superblock.s_inodes_per_group)
        self._inode = lru_cache(4096)(self._read_inode)

    def identity(self, node: int) -> Hashable:
        return node

    def attributes(self, node: int) -> Attributes:
        inode = self._inode(node)
        return Attributes(
            kind=kind_of_mode(inode.mode),
            size=inode.size,
            mode=inode.mode & 0o7777,
            uid=inode.uid,
            gid=inode.gid,
            modified_ns=inode.modified_ns,
        )

    def target(self, node: int) -> bytes:
        inode = self._inode(node)
        if inode.size > MAX_TARGET_BYTES:
            raise Damaged("symbolic link of impossible length")
        if inode.flags & _FLAG_ENCRYPTED:
            raise Unsupported("encrypted symbolic link")
        if inode.size < 60 and not inode.flags & _FLAG_EXTENTS:
            return inode.block[: inode.size]
        return self._content(inode).read(inode.size)

    def open(self, node: int) -> Stream:
        inode = self._inode(node)
        if inode.flags & _FLAG_ENCRYPTED:
            raise Unsupported("encrypted file")
        return self._content(inode)

    def scan(self, node: int) -> Iterator[Dirent | Problem]:
        inode = self._inode(node)
        if kind_of_mode(inode.mode) != DIRECTORY:
            raise Damaged(f"inode {node} is not a directory")
        if inode.flags & _FLAG_ENCRYPTED:
            yield Problem(text="encrypted directory: names are not readable")
        if inode.flags & _FLAG_INLINE:
            data = self._inline(inode)
            # Bytes 0 to 3 hold the parent; the tail beyond the inode's 60 bytes is a second area.
            yield from self._entries(data[4:60])
            yield from self._entries(data[60:])
            return
        yield from scan_blocks(self._content(inode), inode.size, self._block_size, self._entries)

    def _entries(self, block: bytes) -> Iterator[Dirent | Problem]:
        offset = 0
        while offset + _DIRENT.size <= len(block):
            number, length, name_length, kind = _DIRENT.unpack_from(block, offset)
            if length in (0, 0xFFFF) and len(block) == 65536 and offset == 0:
                length = 65536
            if length < 8 or length % 4 or offset + length > len(block):
                yield Problem(text=f"directory block with an entry of length {length}")
                return
            if number and name_length <= length - 8:
                name = block[offset + 8 : offset + 8 + name_length]
                yield Dirent(name=name, node=number, kind=KINDS_BY_NUMBER.get(kind))
            elif number:
                yield Problem(text=f"directory entry with a name of length {name_length}")
            offset += length

    def _read_inode(self, number: int) -> _Inode:
        if not 1 <= number <= self._inode_count:
            raise Damaged(f"inode number {number} out of range")
        group, index = divmod(number - 1, self._inodes_per_group)
        descriptor: Any = self._fs._read_group_desc(group)
        table = int(descriptor.bg_inode_table_lo)
        table |= int(getattr(descriptor, "bg_inode_table_hi", 0)) << 32
        offset = table * self._block_size + index * self._inode_size
        raw = self._device.pread(offset, self._inode_size)
        if len(raw) < self._inode_size:
            raise Damaged(f"inode {number} lies outside the volume")
        fields = _INODE.unpack_from(raw)
        mode, uid, size, mtime, gid, _links, _blocks, flags, block = fields[:9]
        _acl, size_high, _blocks_high, _acl_high, uid_high, gid_high = fields[9:]
        if kind_of_mode(mode) in (FILE, DIRECTORY):
            size |= size_high << 32
        return _Inode(
            number=number,
            mode=mode,
            uid=uid | uid_high << 16,
            gid=gid | gid_high << 16,
            size=size,
            modified_ns=self._modified_ns(raw, mtime),
            flags=flags,
            block=block,
        )

    def _modified_ns(self, raw: bytes, seconds: int) -> int:
        seconds = seconds - (1 << 32) if seconds & 0x80000000 else seconds
        if self._inode_size < 140:
            return seconds * 1_000_000_000
        (extra_size,) = struct.unpack_from("<H", raw, 128)
        if extra_size < 12:
            return seconds * 1_000_000_000
        (extra,) = struct.unpack_from("<I", raw, 136)
        return (seconds + ((extra & 3) << 32)) * 1_000_000_000 + (extra >> 2)

    def _content(self, inode: _Inode) -> Stream:
        if inode.flags & _FLAG_INLINE:
            return io.BytesIO(self._inline(inode)[: inode.size])
        block_count = -(-inode.size // self._block_size)
        source = (
            self._extents(inode.block, None)
            if inode.flags & _FLAG_EXTENTS
            else self._pointers(inode, block_count)
        )
        runs = _as_runs(source, block_count)
        return self._streams.RunlistStream(self._device, runs, inode.size, self._block_size)

    def _inline(self, inode: _Inode) -> bytes:
        if inode.size <= 60:
            return inode.block[: inode.size]
        for attribute in self._fs.get_inode(inode.number).xattr:
            if attribute.entry.e_name_index == 7 and attribute.entry.e_name == b"data":
                return inode.block + bytes(attribute.value)
        raise Damaged("inline data without its second part")

    def _extents(
        self, node: bytes, parent_depth: int | None
    ) -> Iterator[tuple[int, int | None, int]]:
        magic, entries, _limit, depth = _EXTENT_HEADER.unpack_from(node)
        expected = parent_depth is None or depth == parent_depth - 1
        if magic != 0xF30A or depth > _MAX_EXTENT_DEPTH or not expected:
            raise Damaged("broken extent tree")
        if (entries + 1) * 12 > len(node):
            raise Damaged("extent tree node with too many entries")
        for position in range(12, 12 + entries * 12, 12):
            if depth == 0:
                logical, length, high, low = _EXTENT.unpack_from(node, position)
                if length > 0x8000:  # allocated, never written: reads as zeroes
                    yield logical, None, length - 0x8000
                else:
                    yield logical, high << 32 | low, length
                continue
            _logical, low, high = _EXTENT_INDEX.unpack_from(node, position)
            child = self._block(high << 32 | low)
            yield from self._extents(child, depth)

    def _pointers(self, inode: _Inode, count: int) -> Iterator[tuple[int, int | None, int]]:
        """Direct, then singly, doubly and triply indirect blocks."""
        pointers = struct.unpack("<15I", inode.block)
        for logical, pointer in enumerate(pointers[:12]):
            yield logical, pointer or None, 1
        logical = 12
        for level, pointer in enumerate(pointers[12:], start=1):
            if logical >= count:
                return
            yield from self._indirect(pointer, logical, level, count)
            logical += (self._block_size // 4) ** level

    def _indirect(
        self, pointer: int, logical: int, level: int, count: int
    ) -> Iterator[tuple[int, int | None, int]]:
        per_block = self._block_size // 4
        if pointer == 0:
            yield logical, None, min(per_block**level, count - logical)
            return
        span = per_block ** (level - 1)
        for child in struct.unpack(f"<{per_block}I", self._block(pointer)):
            if logical >= count:
                return
            if level == 1:
                yield logical, child or None, 1
            else:
                yield from self._indirect(child, logical, level - 1, count)
            logical += span

    def _block(self, number: int) -> bytes:
        data = self._device.pread(number * self._block_size, self._block_size)
        if len(data) < self._block_size:
            raise Damaged(f"block {number} lies outside the volume")
        return data


def _as_runs(
    extents: Iterator[tuple[int, int | None, int]], block_count: int
) -> list[tuple[int | None, int]]:
    """Adjacent (block, count) runs that cover exactly `block_count`; None is a hole."""
    runs: list[tuple[int | None, int]] = []
    position = 0
    for logical, physical, length in extents:
        if position >= block_count:
            break
        if logical < position:
            raise Damaged("extents overlap")
        if logical > position:
            _append_run(runs, None, logical - position)
        _append_run(runs, physical, length)
        position = logical + length
    if position < block_count:
        _append_run(runs, None, block_count - position)
    return runs


def _append_run(runs: list[tuple[int | None, int]], physical: int | None, length: int) -> None:
    if runs:
        before, count = runs[-1]
        follows = before is not None and physical == before + count
        if follows or (before is None and physical is None):
            runs[-1] = (before, count + length)
            return
    runs.append((physical, length))
