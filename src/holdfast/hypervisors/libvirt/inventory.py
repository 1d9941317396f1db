"""VMs and disks as libvirt knows them, in Holdfast's terms. Enter at `Inventory`.

Owns the verdict which disks can be captured and why not. Formats come from the definition, sizes
from the daemon; nothing is probed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import libvirt

from holdfast.core.ids import is_uuid
from holdfast.hypervisors.driver import Disk, PowerState, VirtualMachine
from holdfast.hypervisors.errors import VmAmbiguous, VmNotFound
from holdfast.hypervisors.libvirt.connection import LibvirtConnection
from holdfast.hypervisors.libvirt.domain_xml import Domain, DomainDisk, parse_domain
from holdfast.hypervisors.libvirt.errors import (
    LibvirtFault,
    LibvirtObjectMissing,
    libvirt_errors,
)
from holdfast.hypervisors.libvirt.qcow2_header import read_qcow2_header

_POWER = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.SHUT_OFF,
}
_FORMATS = frozenset({"raw", "qcow2"})
_DATA_FILE = "its data lies in an external data file, where changes escape tracking"
_KNOWN_NAMES_SHOWN = 20


class Inventory:
    """Reads a daemon's VMs. Thread-safe."""

    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection
        self._platform = connection.platform

    def list_vms(self) -> Sequence[VirtualMachine]:
        """Every VM, sorted by name. One that vanishes while it is listed is left out."""
        vms: list[VirtualMachine] = []
        for domain in self._domains():
            try:
                vms.append(self.describe(domain))
            except LibvirtObjectMissing:
                continue
        return sorted(vms, key=lambda vm: (vm.name, vm.id))

    def find_vm(self, name_or_id: str) -> VirtualMachine:
        """By name or UUID. Raises VmNotFound, VmAmbiguous."""
        if is_uuid(name_or_id.lower()):
            try:
                return self.describe(self._connection.domain(name_or_id.lower()))
            except LibvirtObjectMissing as error:
                raise self.not_found(name_or_id) from error
        with libvirt_errors(self._platform, "list its VMs"):
            matches = [domain for domain in self._domains() if domain.name() == name_or_id]
            ids = ", ".join(domain.UUIDString() for domain in matches)
        if len(matches) > 1:
            raise VmAmbiguous(name=name_or_id, platform=self._platform, ids=ids)
        if not matches:
            raise self.not_found(name_or_id)
        return self.describe(matches[0])

    def describe(self, domain: libvirt.virDomain) -> VirtualMachine:
        """The VM as it is now. Raises LibvirtObjectMissing when it is gone."""
        with libvirt_errors(self._platform, "describe a VM"):
            definition = parse_domain(domain.XMLDesc())
            state = domain.state()[0]
        power = _POWER.get(state, PowerState.UNKNOWN)
        return VirtualMachine(
            id=definition.uuid,
            name=definition.name,
            platform=self._platform,
            power=power,
            firmware=definition.firmware,
            disks=tuple(self._disk(domain, disk, power) for disk in definition.disks),
            networks=definition.networks,
            vcpus=definition.vcpus,
            memory_bytes=definition.memory_bytes,
        )

    def definition(self, domain: libvirt.virDomain) -> Domain:
        """The domain's XML in its present state, parsed."""
        with libvirt_errors(self._platform, "describe a VM"):
            return parse_domain(domain.XMLDesc())

    def _domains(self) -> list[libvirt.virDomain]:
        handle = self._connection.handle()
        with libvirt_errors(self._platform, "list its VMs"):
            return handle.listAllDomains()

    def _disk(self, domain: libvirt.virDomain, disk: DomainDisk, power: PowerState) -> Disk:
        disk, unresolved = self._resolve_volume(disk)
        reason = unresolved or _exclusion(disk)
        size_bytes = 0
        if not reason:
            try:
                with libvirt_errors(self._platform, f"measure the disk {disk.target}"):
                    size_bytes = domain.blockInfo(disk.target)[0]
            except LibvirtFault as error:
                reason = f"its size cannot be read: {error.problem}"
        tracks = False
        if not reason:
            reason, tracks = self._judge_image(disk, power)
        return Disk(
            key=disk.target,
            size_bytes=size_bytes,
            format=disk.format,
            path=disk.path,
            included=not reason,
            excluded_reason=reason,
            tracks_changes=tracks,
        )

    def _resolve_volume(self, disk: DomainDisk) -> tuple[DomainDisk, str]:
        """A disk named by storage pool and volume, by its path instead."""
        if disk.source_type != "volume":
            return disk, ""
        handle = self._connection.handle()
        try:
            with libvirt_errors(self._platform, f"find the storage pool {disk.pool}"):
                pool = handle.storagePoolLookupByName(disk.pool)
                path = pool.storageVolLookupByName(disk.volume).path()
        except LibvirtFault as error:
            return disk, f"its volume cannot be found: {error.problem}"
        return replace(disk, path=path, source_type="file"), ""

    def _judge_image(self, disk: DomainDisk, power: PowerState) -> tuple[str, bool]:
        """(why not captured or "", whether it tracks changes)."""
        if disk.format != "qcow2":
            return "", False
        if not self._connection.address.is_local:
            return "", True
        header = read_qcow2_header(Path(disk.path))
        if header is None:
            return "", True
        if header.has_external_data_file:
            return _DATA_FILE, False
        if header.has_backing_file and power is PowerState.SHUT_OFF:
            return "it has a backing file; back it up while the VM runs", False
        return "", header.holds_bitmaps

    def not_found(self, name: str) -> VmNotFound:
        """The error that says so and names some VMs that exist."""
        with libvirt_errors(self._platform, "list its VMs"):
            names = sorted(domain.name() for domain in self._domains())
        known = ", ".join(names[:_KNOWN_NAMES_SHOWN]) or "none"
        if len(names) > _KNOWN_NAMES_SHOWN:
            known += f" and {len(names) - _KNOWN_NAMES_SHOWN} more"
        return VmNotFound(name=name, platform=self._platform, known=known)


def _exclusion(disk: DomainDisk) -> str:
    """Why the definition alone rules the disk out, or ""."""
    drive = disk.device in {"cdrom", "floppy"}
    verdicts = (
        (drive, f"it is a {disk.device} drive"),
        (disk.device == "lun", "it is a SCSI device passed through, which QEMU cannot back up"),
        (disk.source_type == "network", f"it is reached over the network ({disk.protocol})"),
        (
            disk.source_type not in {"file", "block"},
            f"a source of type {disk.source_type} has no image file",
        ),
        (disk.transient, "it is transient: its contents are dropped when the VM stops"),
        (disk.read_only, "it is read-only for the guest"),
        (disk.format not in _FORMATS, f"the format {disk.format} is not supported"),
        (disk.data_file, _DATA_FILE),
        (disk.sliced, "it is a slice of a larger file"),
        (disk.encrypted, "it is encrypted by QEMU with a key that a restore would lack"),
        (not disk.path, "it has no image"),
    )
    return next((reason for applies, reason in verdicts if applies), "")
