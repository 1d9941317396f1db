"""Which file system a device holds, from its first bytes, with label and UUID. Must not open it.
Enter at `identify`."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

from .device import Device

EXT, XFS, BTRFS, NTFS, FAT, LVM = "ext", "xfs", "btrfs", "ntfs", "fat", "lvm"

_UNREADABLE = (
    (3, b"-FVE-FS-", "bitlocker", "encrypted with BitLocker"),
    (3, b"EXFAT   ", "exfat", "exFAT is not supported"),
    (0, b"LUKS\xba\xbe", "luks", "encrypted with LUKS"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """`family` names the reader to use; None for what is known but not readable, with `problem`.
    `filesystem` is the name for a person."""

    family: str | None
    filesystem: str
    label: bytes = b""
    uuid: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()


def identify(device: Device) -> Signature | None:
    """What the device holds; None when nothing is recognised."""
    head = device.pread(0, 4096)
    if len(head) < 512:
        return None
    return _at_start(head) or _ext(device) or _btrfs(device) or _other(device, head)


def _at_start(head: bytes) -> Signature | None:
    if head[:4] == b"XFSB":
        return Signature(
            family=XFS,
            filesystem="xfs",
            label=_until_nul(head[108:120]),
            uuid=str(uuid.UUID(bytes=head[32:48])),
        )
    if head[3:11] == b"NTFS    ":
        (serial,) = struct.unpack_from("<Q", head, 72)
        return Signature(family=NTFS, filesystem="ntfs", uuid=f"{serial:016X}")
    for offset, magic, name, problem in _UNREADABLE:
        if head[offset : offset + len(magic)] == magic:
            return Signature(family=None, filesystem=name, problem=problem)
    if any(head[512 * n : 512 * n + 8] == b"LABELONE" for n in range(4)):
        return Signature(family=LVM, filesystem="lvm")
    return _fat(head)


def _fat(head: bytes) -> Signature | None:
    sector, cluster, reserved, copies = struct.unpack_from("<HBHB", head, 11)
    plausible = (
        (head[0] == 0xE9 or (head[0] == 0xEB and head[2] == 0x90))
        and sector in (512, 1024, 2048, 4096)
        and cluster
        and cluster & (cluster - 1) == 0
        and reserved
        and copies in (1, 2)
        and head[21] >= 0xF0
    )
    if not plausible:
        return None
    wide = struct.unpack_from("<H", head, 22)[0] == 0
    base = 67 if wide else 39
    (serial,) = struct.unpack_from("<I", head, base)
    label = head[base + 4 : base + 15].rstrip(b" \0")
    return Signature(
        family=FAT,
        filesystem="vfat",
        label=b"" if label == b"NO NAME" else label,
        uuid=f"{serial >> 16:04X}-{serial & 0xFFFF:04X}",
    )


def _ext(device: Device) -> Signature | None:
    block = device.pread(1024, 1024)
    if len(block) < 1024 or block[56:58] != b"\x53\xef":
        return None
    compatible, incompatible = struct.unpack_from("<II", block, 92)
    if incompatible & 0x8:
        return Signature(family=None, filesystem="jbd", problem="journal of another file system")
    name = "ext2"
    if incompatible & 0x2C0 or struct.unpack_from("<I", block, 100)[0] & 0x478:
        name = "ext4"
    elif compatible & 0x4:
        name = "ext3"
    notes: tuple[str, ...] = ()
    if incompatible & 0x4:
        notes = (
            "was in use when it was captured: changes that were only in its journal are not shown",
        )
    return Signature(
        family=EXT,
        filesystem=name,
        label=_until_nul(block[120:136]),
        uuid=str(uuid.UUID(bytes=block[104:120])),
        notes=notes,
    )


def _btrfs(device: Device) -> Signature | None:
    block = device.pread(65536, 4096)
    if block[64:72] != b"_BHRfS_M":
        return None
    return Signature(
        family=BTRFS,
        filesystem="btrfs",
        label=_until_nul(block[299:555]),
        uuid=str(uuid.UUID(bytes=block[32:48])),
    )


def _other(device: Device, head: bytes) -> Signature | None:
    if head[4086:4096] in (b"SWAPSPACE2", b"SWAP-SPACE"):
        return Signature(family=None, filesystem="swap", problem="swap space holds no files")
    raid = b"\xfc\x4e\x2b\xa9"
    if head[:4] == raid or device.pread(4096, 4) == raid:
        return Signature(family=None, filesystem="mdraid", problem="Linux RAID is not supported")
    return None


def _until_nul(text: bytes) -> bytes:
    return text.split(b"\0", 1)[0]
