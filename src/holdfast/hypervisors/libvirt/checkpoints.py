"""Checkpoints of ours on a domain: their names, their owner, their removal.

A checkpoint is ours if its name is `holdfast-<uuid>` and its description names the repository and
the run that made it. Nothing else is ever removed. Enter at `own_checkpoints`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import libvirt

from holdfast.core.errors import ToolFailed
from holdfast.core.ids import CHECKPOINT_PREFIX, is_uuid
from holdfast.core.units import MIB
from holdfast.hypervisors.libvirt.bitmaps import (
    live_bitmaps,
    remove_live_bitmap,
    remove_stored_bitmap,
    stored_bitmaps,
)
from holdfast.hypervisors.libvirt.connection import is_active
from holdfast.hypervisors.libvirt.domain_xml import parse_domain, parse_xml
from holdfast.hypervisors.libvirt.errors import (
    LibvirtFault,
    LibvirtObjectMissing,
    libvirt_errors,
)
from holdfast.hypervisors.libvirt.scratch import free_bytes

BITMAP_HEADROOM_BYTES = 64 * MIB
"""Left free beside an image whenever its bitmaps are changed."""

_TAG = re.compile(r"holdfast repository=(?P<repository>[!-~]+) run=(?P<run>[!-~]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCheckpoint:
    """A checkpoint that carries our tag."""

    name: str
    repository_id: str
    run_id: str
    disk_keys: Sequence[str]
    """The disks that have a bitmap of this name."""


def checkpoint_xml(
    *, name: str, repository_id: str, run_id: str, disks: Sequence[tuple[str, bool]]
) -> str:
    """The definition of a new checkpoint; `disks` are (key, whether it gets a bitmap)."""
    root = ElementTree.Element("domaincheckpoint")
    ElementTree.SubElement(root, "name").text = name
    tag = f"holdfast repository={repository_id} run={run_id}"
    if not _TAG.fullmatch(tag):
        raise ValueError(f"ids must be printable without blanks: {tag!r}")
    ElementTree.SubElement(root, "description").text = tag
    element = ElementTree.SubElement(root, "disks")
    for key, tracked in disks:
        kind = "bitmap" if tracked else "no"
        ElementTree.SubElement(element, "disk", name=key, checkpoint=kind)
    return ElementTree.tostring(root, encoding="unicode")


def own_checkpoints(domain: libvirt.virDomain, platform: str) -> Sequence[OwnCheckpoint]:
    """Every checkpoint of the domain that is ours, whichever repository's."""
    with libvirt_errors(platform, "list checkpoints"):
        found = {item.getName(): item for item in _complete_checkpoints(domain)}
        named = {name: item.getXMLDesc() for name, item in found.items() if _is_our_name(name)}
    parsed = (_parse(name, xml) for name, xml in named.items())
    return [checkpoint for checkpoint in parsed if checkpoint is not None]


def _complete_checkpoints(domain: libvirt.virDomain) -> list[libvirt.virDomainCheckpoint]:
    """All but those still being made.

    The call that makes one goes on in libvirtd when its caller was killed, and libvirt 9.0 crashes
    when a checkpoint is deleted meanwhile. A plain listing shows it at once; its place in the tree
    it gets only when it is complete, so the tree is followed from its roots.
    """
    complete: list[libvirt.virDomainCheckpoint] = []
    for root in domain.listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_ROOTS):
        complete.append(root)
        complete += root.listAllChildren(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_DESCENDANTS)
    return complete


def delete_checkpoint(domain: libvirt.virDomain, platform: str, name: str) -> None:
    """Remove one checkpoint of ours and its bitmaps, whatever state they are in.

    Does nothing when it is gone already, and nothing when the tag is missing. Raises LibvirtFault.
    """
    ours = {checkpoint.name: checkpoint for checkpoint in own_checkpoints(domain, platform)}
    checkpoint = ours.get(name)
    if checkpoint is None:
        return
    with libvirt_errors(platform, f"delete the checkpoint {name}"):
        handle = domain.checkpointLookupByName(name)
    try:
        with libvirt_errors(platform, f"delete the checkpoint {name}"):
            handle.delete()
    except LibvirtObjectMissing:
        return
    except LibvirtFault:
        # libvirt cannot delete a checkpoint one of whose bitmaps is gone, nor any while the VM is
        # off. Its record goes alone, and the bitmaps that are left go one by one.
        with libvirt_errors(platform, f"forget the checkpoint {name}"):
            handle.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
        _remove_bitmaps(domain, platform, checkpoint)


def _remove_bitmaps(domain: libvirt.virDomain, platform: str, checkpoint: OwnCheckpoint) -> None:
    with libvirt_errors(platform, "describe a VM"):
        definition = parse_domain(domain.XMLDesc())
    paths = [
        disk.path
        for disk in definition.disks
        if disk.target in checkpoint.disk_keys and disk.format == "qcow2" and disk.path
    ]
    if is_active(domain, platform):
        nodes = live_bitmaps(domain, platform)
        for path in paths:
            node = nodes.get(path)
            if node is not None and checkpoint.name in node.bitmaps:
                remove_live_bitmap(domain, platform, node.node_name, checkpoint.name)
        return
    for path in map(Path, paths):
        if path.exists() and checkpoint.name in stored_bitmaps(path):
            _remove_stored(path, checkpoint.name, platform)


def _remove_stored(path: Path, name: str, platform: str) -> None:
    """Needs room: QEMU writes a new bitmap directory before it frees the old one, and an image
    on full storage can come out unusable (gitlab.com/qemu-project/qemu #3516)."""
    if free_bytes(path.parent) < BITMAP_HEADROOM_BYTES:
        raise LibvirtFault(
            platform=platform,
            action=f"remove the bitmap {name} of {path}",
            problem="its storage is nearly full",
            number=0,
        )
    try:
        remove_stored_bitmap(path, name)
    except ToolFailed as error:
        raise LibvirtFault(
            platform=platform,
            action=f"remove the bitmap {name} of {path}",
            problem=error.output,
            number=0,
        ) from error


def _is_our_name(name: str) -> bool:
    return name.startswith(CHECKPOINT_PREFIX) and is_uuid(name.removeprefix(CHECKPOINT_PREFIX))


def _parse(name: str, xml: str) -> OwnCheckpoint | None:
    root = parse_xml(xml)
    tag = _TAG.fullmatch(root.findtext("description", "").strip())
    if tag is None:
        return None
    return OwnCheckpoint(
        name=name,
        repository_id=tag["repository"],
        run_id=tag["run"],
        disk_keys=tuple(
            element.get("name", "")
            for element in root.iterfind("disks/disk")
            if element.get("checkpoint") == "bitmap"
        ),
    )
