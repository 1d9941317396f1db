"""FAT12, FAT16 and FAT32 over dissect's boot sector.

Directories and cluster chains are decoded here: dissect.fat 3.13 joins clusters that are not
neighbours, never ends on a chain with a loop, shows lower-case short names in capitals, and gives
up a directory on a name that is no valid UTF-16. Enter at `FatFileSystem`.
"""

from __future__ import annotations

import struct
from calendar import timegm
from collections.abc import Hashable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from ..device import Device, Mapping, Piece
from ..faults import Damaged, NotAFile
from .base import DIRECTORY, FILE, Attributes, Dirent, Problem, Stream

_DIRENT = struct.Struct("<11sBBBHHHHHHHI")
_LONG_NAME = struct.Struct("<B10sBBB12sH4s")
_ATTRIBUTE_READONLY, _ATTRIBUTE_LABEL, _ATTRIBUTE_DIRECTORY = 0x01, 0x08, 0x10
_ATTRIBUTE_LONG_NAME = 0x0F
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10
_MAX_DIRECTORY_BYTES = 65536 * 32


class _Node(NamedTuple):
    cluster: int
    size: int
    attributes: int
    date: int
    time: int


class FatFileSystem:
    """See `FileSystem`. A node is what the directory entry says; FAT has no inodes.

    Times are local to the guest without a zone; they are given as if they were UTC.
    """

    def __init__(self, device: Device) -> None:
        module: Any = import_module("dissect.fat.fat")
        fs: Any = module.FATFS(device)
        self._device = device
        self._bits = {"FAT12": 12, "FAT16": 16, "FAT32": 32}[str(fs.type.name)]
        self._cluster_bytes = int(fs.cluster_size)
        self._data_start = int(fs.first_data_sector) * int(fs.sector_size)
        self._fat_start = int(fs.bpb.BPB_RsvdSecCnt) * int(fs.sector_size)
        fat_bytes = int(fs.fat_size) * int(fs.sector_size)
        data_bytes = min(device.size, int(fs.total_sectors) * int(fs.sector_size))
        clusters = (data_bytes - self._data_start) // self._cluster_bytes
        self._last_cluster = min(clusters + 1, fat_bytes * 8 // self._bits - 1)
        self._root_start = self._fat_start + int(fs.bpb.BPB_NumFATs) * fat_bytes
        self._root_bytes = int(fs.bpb.BPB_RootEntCnt) * 32
        cluster = int(fs.bpb_ext.BPB_RootClus) if self._bits == 32 else 0
        self.root = _Node(cluster, 0, _ATTRIBUTE_DIRECTORY, 0, 0)

    def identity(self, node: _Node) -> Hashable:
        return node.cluster if node.attributes & _ATTRIBUTE_DIRECTORY else node

    def attributes(self, node: _Node) -> Attributes:
        directory = bool(node.attributes & _ATTRIBUTE_DIRECTORY)
        writable = 0 if node.attributes & _ATTRIBUTE_READONLY else 0o200
        return Attributes(
            kind=DIRECTORY if directory else FILE,
            size=0 if directory else node.size,
            mode=(0o555 if directory else 0o444) | writable,
            uid=0,
            gid=0,
            modified_ns=_timestamp(node.date, node.time) * 1_000_000_000,
        )

    def target(self, node: _Node) -> bytes:
        del node
        raise Damaged("FAT has no symbolic links")

    def open(self, node: _Node) -> Stream:
        if node.attributes & _ATTRIBUTE_DIRECTORY:
            raise NotAFile("is a directory")
        if node.size == 0:
            return Mapping([])
        return self._chain(node.cluster, node.size)

    def scan(self, node: _Node) -> Iterator[Dirent | Problem]:
        if not node.attributes & _ATTRIBUTE_DIRECTORY:
            raise Damaged("is not a directory")
        if node.cluster == 0:
            data = self._device.pread(self._root_start, self._root_bytes)
        else:
            data = self._chain(node.cluster, None).read()
        long_name: dict[int, bytes] = {}
        for offset in range(0, len(data) - 31, 32):
            raw = data[offset : offset + 32]
            if raw[0] == 0:
                return
            if raw[0] == 0xE5:
                long_name.clear()
            elif raw[11] & 0x3F == _ATTRIBUTE_LONG_NAME:
                order, first, _, _, checksum, second, _, third = _LONG_NAME.unpack(raw)
                if order & 0x40:
                    long_name.clear()
                long_name[order & 0x3F] = bytes([checksum]) + first + second + third
            else:
                dirent = self._dirent(raw, long_name)
                long_name.clear()
                if dirent is not None:
                    yield dirent

    def _dirent(self, raw: bytes, long_name: dict[int, bytes]) -> Dirent | None:
        short, attributes, case, _, _, _, _, high, time, date, low, size = _DIRENT.unpack(raw)
        if attributes & _ATTRIBUTE_LABEL or short in (b".          ", b"..         "):
            return None
        cluster = low | (high << 16 if self._bits == 32 else 0)
        name = _long_name(short, long_name) or _short_name(short, case)
        node = _Node(cluster, size, attributes, date, time)
        kind = DIRECTORY if attributes & _ATTRIBUTE_DIRECTORY else FILE
        return Dirent(name=name, node=node, kind=kind)

    def _chain(self, cluster: int, size: int | None) -> Mapping:
        """The clusters from `cluster` on as one device of `size` bytes, or all of them."""
        limit = _MAX_DIRECTORY_BYTES if size is None else size
        needed = -(-limit // self._cluster_bytes)
        pieces: list[Piece] = []
        start, count, total = cluster, 0, 0
        while 2 <= cluster <= self._last_cluster and total < needed:
            if cluster != start + count:
                pieces.append(self._piece(start, count))
                start, count = cluster, 0
            count += 1
            total += 1
            cluster = self._next(cluster)
        if count:
            pieces.append(self._piece(start, count))
        if size is None:
            return Mapping(pieces)
        if total < needed:
            raise Damaged(f"cluster chain ends after {total} of {needed} clusters")
        surplus = total * self._cluster_bytes - size
        last = pieces[-1]
        pieces[-1] = Piece(device=last.device, start=last.start, length=last.length - surplus)
        return Mapping(pieces)

    def _piece(self, cluster: int, count: int) -> Piece:
        start = self._data_start + (cluster - 2) * self._cluster_bytes
        return Piece(device=self._device, start=start, length=count * self._cluster_bytes)

    def _next(self, cluster: int) -> int:
        if self._bits == 12:
            raw = self._device.pread(self._fat_start + cluster + cluster // 2, 2)
            value = int.from_bytes(raw, "little")
            return value >> 4 if cluster & 1 else value & 0xFFF
        width = self._bits // 8
        raw = self._device.pread(self._fat_start + cluster * width, width)
        return int.from_bytes(raw, "little") & 0x0FFFFFFF


def _long_name(short: bytes, parts: dict[int, bytes]) -> bytes | None:
    """The long name, if all its parts are there and belong to this short name."""
    if not parts or sorted(parts) != list(range(1, len(parts) + 1)):
        return None
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7) + (checksum >> 1) + byte & 0xFF
    if any(part[0] != checksum for part in parts.values()):
        return None
    utf16 = b"".join(parts[order][1:] for order in sorted(parts))
    units = [utf16[index : index + 2] for index in range(0, len(utf16), 2)]
    if b"\0\0" in units:
        units = units[: units.index(b"\0\0")]
    return b"".join(units).decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")


def _short_name(short: bytes, case: int) -> bytes:
    first = b"\xe5" if short[0] == 0x05 else short[:1]
    base = (first + short[1:8]).rstrip(b" \0").decode("cp437")
    extension = short[8:].rstrip(b" \0").decode("cp437")
    base = base.lower() if case & _LOWER_BASE else base
    extension = extension.lower() if case & _LOWER_EXTENSION else extension
    return (f"{base}.{extension}" if extension else base).encode("utf-8")


def _timestamp(date: int, time: int) -> int:
    if not date:
        return 0
    day = ((date >> 9) + 1980, max(1, date >> 5 & 15), max(1, date & 31))
    clock = (min(23, time >> 11), min(59, time >> 5 & 63), min(59, (time & 31) * 2))
    return timegm((*day, *clock))
