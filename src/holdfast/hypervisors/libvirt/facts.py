"""Gathers what a token is judged by: the images of a VM as files and as QEMU has them open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import libvirt

from holdfast.hypervisors.driver import Disk
from holdfast.hypervisors.libvirt.bitmaps import Bitmap, live_bitmaps, stored_bitmaps
from holdfast.hypervisors.libvirt.domain_xml import parse_xml
from holdfast.hypervisors.libvirt.errors import libvirt_errors
from holdfast.hypervisors.libvirt.host import qemu_start
from holdfast.hypervisors.libvirt.tokens import DiskFacts, Epoch, image_epoch


def live_facts(
    domain: libvirt.virDomain, platform: str, disks: Sequence[Disk]
) -> Mapping[str, DiskFacts]:
    """Facts about the disks of a running VM, by key."""
    with libvirt_errors(platform, "describe a VM"):
        layers = _layers(domain.XMLDesc())
        start = qemu_start(domain.name(), domain.ID())
    nodes = live_bitmaps(domain, platform)
    facts: dict[str, DiskFacts] = {}
    for disk in disks:
        node = nodes.get(disk.path)
        facts[disk.key] = DiskFacts(
            disk=disk,
            epoch=_epoch(
                disk, layers.get(disk.key, ()), start, node.node_name if node is not None else ""
            ),
            bitmaps=node.bitmaps if node is not None else None,
        )
    return facts


def stored_facts(disks: Sequence[Disk]) -> Mapping[str, DiskFacts]:
    """Facts about the disks of a shut-off VM, by key. Raises ToolFailed."""
    facts: dict[str, DiskFacts] = {}
    for disk in disks:
        bitmaps: Mapping[str, Bitmap] = {}
        if disk.tracks_changes:
            bitmaps = stored_bitmaps(Path(disk.path))
        facts[disk.key] = DiskFacts(disk=disk, epoch=_epoch(disk, (), ""), bitmaps=bitmaps)
    return facts


def _epoch(disk: Disk, layers: tuple[str, ...], start: str, node: str = "") -> Epoch:
    """The epoch; one that equals no other when the files cannot be looked at."""
    try:
        return image_epoch(disk, layers=layers, qemu_start=start, node=node)
    except OSError as error:
        return Epoch(
            path=disk.path,
            device="",
            inode=f"unknown: {error.strerror}",
            size_bytes=str(disk.size_bytes),
            layers="",
            qemu_start=start,
        )


def _layers(xml: str) -> Mapping[str, tuple[str, ...]]:
    """Paths of the backing files of each disk, top first, as the running QEMU has them open."""
    found: dict[str, tuple[str, ...]] = {}
    for disk in parse_xml(xml).iterfind("devices/disk"):
        target = disk.find("target")
        paths: list[str] = []
        layer = disk.find("backingStore")
        while layer is not None:
            source = layer.find("source")
            if source is not None:
                paths.append(source.get("file") or source.get("dev") or "")
            layer = layer.find("backingStore")
        if target is not None:
            found[target.get("dev", "")] = tuple(filter(None, paths))
    return found
