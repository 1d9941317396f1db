"""Partition tables: GPT (main or backup header) and MBR with logical partitions, for 512-byte and
4096-byte sectors. Must not know what is inside a partition. Enter at `read_partitions`.

Decoded here, because dissect.volume 3.18 makes each GPT partition one sector too short, numbers
logical partitions like primary ones, and does not stop on a loop of extended records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .device import Device

_MBR_ENTRY = struct.Struct("<B3xB3xII")
_GPT_HEADER = struct.Struct("<8s4xI4x4xQQQQ16sQIII")
_GPT_ENTRY = struct.Struct("<16s16sQQ8x72s")
_EXTENDED_TYPES = (0x05, 0x0F, 0x85)
_PROTECTIVE_TYPE = 0xEE
_SECTOR_SIZES = (512, 4096)
_MAX_GPT_ENTRIES = 1024
_MAX_LOGICAL = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Numbered as Linux does: MBR primaries 1 to 4, logical ones from 5."""

    number: int
    start: int
    size: int


def read_partitions(disk: Device) -> list[Partition]:
    """All partitions that start on the disk; empty when there is no table."""
    boot = disk.pread(0, 512)
    if len(boot) < 512 or boot[510:] != b"\x55\xaa":
        return _backup_gpt(disk)
    entries = [_MBR_ENTRY.unpack_from(boot, 446 + 16 * index) for index in range(4)]
    if any(kind == _PROTECTIVE_TYPE for _, kind, _, _ in entries):
        for sector in _SECTOR_SIZES:
            found = _gpt(disk, sector, sector)
            if found is not None:
                return found
        return _backup_gpt(disk)
    if any(flag not in (0, 0x80) for flag, _, _, _ in entries):
        return []  # boot code of a file system, not a table
    return _unique(_mbr(disk, entries))


def _unique(partitions: Iterator[Partition]) -> list[Partition]:
    return list({partition.number: partition for partition in partitions}.values())


def _mbr(disk: Device, entries: list[tuple[int, int, int, int]]) -> Iterator[Partition]:
    for number, (_, kind, first, count) in enumerate(entries, start=1):
        if kind == 0 or count == 0:
            continue
        if kind in _EXTENDED_TYPES:
            yield from _logical(disk, first)
        elif first * 512 < disk.size:
            yield Partition(number=number, start=first * 512, size=count * 512)


def _logical(disk: Device, extended: int) -> Iterator[Partition]:
    """The chain of extended boot records; offsets of links count from the first one."""
    record = extended
    seen: set[int] = set()
    for number in range(5, 5 + _MAX_LOGICAL):
        if record in seen:
            return
        seen.add(record)
        boot = disk.pread(record * 512, 512)
        if len(boot) < 512 or boot[510:] != b"\x55\xaa":
            return
        _, kind, first, count = _MBR_ENTRY.unpack_from(boot, 446)
        if kind and count and (record + first) * 512 < disk.size:
            yield Partition(number=number, start=(record + first) * 512, size=count * 512)
        _, kind, first, count = _MBR_ENTRY.unpack_from(boot, 462)
        if kind not in _EXTENDED_TYPES or not count:
            return
        record = extended + first


def _backup_gpt(disk: Device) -> list[Partition]:
    for sector in _SECTOR_SIZES:
        if disk.size % sector == 0 and disk.size > sector:
            found = _gpt(disk, sector, disk.size - sector)
            if found is not None:
                return found
    return []


def _gpt(disk: Device, sector: int, header_offset: int) -> list[Partition] | None:
    raw = disk.pread(header_offset, 512)
    if len(raw) < 512 or raw[:8] != b"EFI PART":
        return None
    *_, table, count, entry_size, _checksum = _GPT_HEADER.unpack_from(raw)
    if not 128 <= entry_size <= 4096 or entry_size % 8:
        return None
    partitions: list[Partition] = []
    data = disk.pread(table * sector, min(count, _MAX_GPT_ENTRIES) * entry_size)
    for index in range(len(data) // entry_size):
        kind, _, first, last, _name = _GPT_ENTRY.unpack_from(data, index * entry_size)
        if not any(kind) or last < first or first * sector >= disk.size:
            continue
        size = (last - first + 1) * sector
        partitions.append(Partition(number=index + 1, start=first * sector, size=size))
    return partitions
