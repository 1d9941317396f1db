"""The volumes on the disks of a restore point: whole disks, partitions, logical volumes; each is
opened when first used. Must not know paths. Enter at `find_volumes`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import lvm, signatures
from .device import Device, Window
from .faults import Damaged, Unsupported, describe, parse_errors
from .filesystems.base import FileSystem
from .partitions import read_partitions
from .signatures import Signature

_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")
_MAX_VOLUMES = 1024


@dataclass(slots=True, kw_only=True)
class Volume:
    """`devices` are several only for a btrfs that spans volumes."""

    id: str
    size: int
    signature: Signature
    devices: list[Device]
    opened: FileSystem | None = field(default=None)

    def file_system(self) -> FileSystem:
        """Opened on first use. Raises `parse_errors()`."""
        if self.opened is None:
            self.opened = _open(self.signature, self.devices)
        return self.opened


def find_volumes(disks: Sequence[tuple[str, Device]]) -> list[Volume]:
    """Every volume with recognised contents, and every partition even without."""
    found: list[Volume] = []
    physical: list[Device] = []
    for key, disk in disks:
        for name, device, always in _candidates(key, disk):
            _add(found, physical, name, device, always)
    if physical:
        _add_logical(found, physical)
    _join_btrfs(found)
    return found[:_MAX_VOLUMES]


def _candidates(key: str, disk: Device) -> list[tuple[str, Device, bool]]:
    try:
        partitions = read_partitions(disk)
    except parse_errors():
        partitions = []
    separator = "p" if key[-1:].isdigit() else ""
    # A table over an old file system is common: the whole disk is offered too when recognised.
    candidates: list[tuple[str, Device, bool]] = [(key, disk, not partitions)]
    for partition in partitions:
        window = Window(disk, partition.start, partition.size)
        candidates.append((f"{key}{separator}{partition.number}", window, True))
    return candidates


def _add(
    found: list[Volume], physical: list[Device], name: str, device: Device, always: bool
) -> None:
    try:
        signature = signatures.identify(device)
    except parse_errors() as error:
        signature = Signature(family=None, filesystem="", problem=describe(error))
    if signature is None:
        if not always:
            return
        signature = Signature(family=None, filesystem="", problem="no known file system")
    if signature.family == signatures.LVM:
        physical.append(device)
        return
    found.append(
        Volume(id=_unique(found, name), size=device.size, signature=signature, devices=[device])
    )


def _add_logical(found: list[Volume], physical: list[Device]) -> None:
    volumes, problems = lvm.read_groups(physical)
    for volume in volumes:
        name = f"{volume.group}-{volume.name}"
        if volume.device is not None:
            _add(found, [], name, volume.device, True)
            continue
        signature = Signature(family=None, filesystem="lvm", problem=volume.problem)
        found.append(Volume(id=_unique(found, name), size=0, signature=signature, devices=[]))
    for problem in problems:
        signature = Signature(family=None, filesystem="lvm", problem=problem)
        found.append(Volume(id=_unique(found, "lvm"), size=0, signature=signature, devices=[]))


def _unique(found: Sequence[Volume], name: str) -> str:
    """The name made a safe path component, with a number if it is taken already."""
    base = _UNSAFE.sub("_", name)[:240].lstrip(".-") or "volume"
    taken = {volume.id for volume in found}
    candidate = base
    number = 2
    while candidate in taken:
        candidate = f"{base}+{number}"
        number += 1
    return candidate


def _join_btrfs(found: Sequence[Volume]) -> None:
    """Each member of a btrfs with several devices is given all of them."""
    members: dict[str, list[Volume]] = {}
    for volume in found:
        if volume.signature.family == signatures.BTRFS:
            members.setdefault(volume.signature.uuid, []).append(volume)
    for group in members.values():
        own = [volume.devices[0] for volume in group]
        for volume in group:
            if len(own) > 1:
                volume.devices = own


def _open(signature: Signature, devices: Sequence[Device]) -> FileSystem:
    if signature.family is None:
        raise Unsupported(signature.problem)
    if not devices:
        raise Damaged("no device")
    if signature.family == signatures.EXT:
        from .filesystems.ext import ExtFileSystem

        return ExtFileSystem(devices[0])
    if signature.family == signatures.XFS:
        from .filesystems.xfs import XfsFileSystem

        return XfsFileSystem(devices[0])
    if signature.family == signatures.BTRFS:
        from .filesystems.btrfs import BtrfsFileSystem

        return BtrfsFileSystem(devices)
    if signature.family == signatures.NTFS:
        from .filesystems.ntfs import NtfsFileSystem

        return NtfsFileSystem(devices[0])
    from .filesystems.fat import FatFileSystem

    return FatFileSystem(devices[0])
