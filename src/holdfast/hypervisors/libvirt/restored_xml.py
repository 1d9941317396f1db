"""Rewrites a stored domain definition for a VM that is given back. Pure.

The stored definition is data: elements that name files, sockets or programs of the old host are
replaced or dropped, never followed. Enter at `restored_xml`.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.libvirt.domain_xml import parse_xml

_QEMU_NAMESPACE = "{http://libvirt.org/schemas/domain/qemu/1.0}"
_LOCAL_MAC_PREFIX = (0x52, 0x54, 0x00)
"""The prefix that QEMU and libvirt give to their virtual network cards."""
_HOST_BOUND_DEVICES = ("hostdev", "filesystem", "shmem", "smartcard", "redirdev", "lease")
_FORMATS = frozenset({"raw", "qcow2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFile:
    """A restored image on the host that the VM is defined on."""

    path: Path
    format: str
    """`raw` or `qcow2`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the restored VM is."""

    name: str
    uuid: str
    """Of the new VM."""
    keep_macs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredDefinition:
    """A definition ready for libvirt."""

    xml: str
    dropped: tuple[str, ...]
    """What of the old machine it leaves out, in words."""


def restored_xml(
    stored: bytes,
    *,
    identity: Identity,
    isolated: bool,
    disks: Mapping[str, DiskFile],
    nvram: Path | None,
) -> RestoredDefinition:
    """The definition of a VM with the restored disks only. `nvram` is the file with its UEFI
    variables, None for fresh ones. Raises InvalidInput."""
    root = parse_xml(stored)
    devices = root.find("devices")
    if root.tag != "domain" or devices is None:
        raise InvalidInput(what="VM definition", problem="it is not a libvirt domain")
    dropped: list[str] = []
    _set_identity(root, identity)
    _drop_host_extensions(root, dropped)
    _set_disks(devices, disks, dropped)
    _drop_host_devices(devices, dropped)
    _reset_channels(devices)
    _set_interfaces(devices, keep_macs=identity.keep_macs, isolated=isolated)
    _set_nvram(root, nvram)
    return RestoredDefinition(
        xml=ElementTree.tostring(root, encoding="unicode"), dropped=tuple(dropped)
    )


def _set_identity(root: ElementTree.Element, identity: Identity) -> None:
    for tag, text in (("name", identity.name), ("uuid", identity.uuid)):
        element = root.find(tag)
        if element is None:
            element = ElementTree.SubElement(root, tag)
        element.text = text
    root.attrib.pop("id", None)
    # A generation id tells the guest (Windows, mainly) that it is a copy: libvirt makes a new one.
    generation = root.find("genid")
    if generation is not None:
        generation.text = str(uuid.uuid4())
    for entry in root.iterfind("sysinfo/system/entry[@name='uuid']"):
        # libvirt refuses a definition in which this differs from the domain's.
        entry.text = identity.uuid


def _drop_host_extensions(root: ElementTree.Element, dropped: list[str]) -> None:
    """QEMU arguments, labels and key files of the old host. Arguments are code: a definition from
    a repository must not choose what QEMU runs."""
    for tag in ("commandline", "capabilities", "override", "deprecation"):
        for element in root.findall(f"{_QEMU_NAMESPACE}{tag}"):
            root.remove(element)
            dropped.append(f"QEMU {tag}")
    for tag in ("seclabel", "launchSecurity", "resource", "keywrap"):
        for element in root.findall(tag):
            root.remove(element)
            dropped.append(tag)
    devices = root.find("devices")
    if devices is not None:
        # The old host's program may not exist here, and must not be chosen by stored data.
        for element in devices.findall("emulator"):
            devices.remove(element)


def _set_disks(
    devices: ElementTree.Element, disks: Mapping[str, DiskFile], dropped: list[str]
) -> None:
    left = dict(disks)
    for element in devices.findall("disk"):
        target = element.find("target")
        key = target.get("dev", "") if target is not None else ""
        if element.get("device") in {"cdrom", "floppy"}:
            _empty_drive(element)
            continue
        file = left.pop(key, None)
        if file is None:
            devices.remove(element)
            dropped.append(f"disk {key}")
            continue
        _point_to(element, file)
    if left:
        raise InvalidInput(what="VM definition", problem=f"it has no disk {min(left)}")


def _empty_drive(element: ElementTree.Element) -> None:
    element.set("type", "file")
    for tag in ("source", "backingStore", "encryption", "auth", "mirror"):
        for child in element.findall(tag):
            element.remove(child)


def _point_to(element: ElementTree.Element, file: DiskFile) -> None:
    if file.format not in _FORMATS:
        raise InvalidInput(what="disk format", problem=f"{file.format!r} cannot be attached")
    element.set("type", "file")
    element.set("device", "disk")
    for tag in ("source", "backingStore", "encryption", "auth", "mirror", "transient"):
        for child in element.findall(tag):
            element.remove(child)
    driver = element.find("driver")
    if driver is None:
        driver = ElementTree.SubElement(element, "driver")
    driver.set("name", "qemu")
    driver.set("type", file.format)
    ElementTree.SubElement(element, "source", file=str(file.path.absolute()))


def _drop_host_devices(devices: ElementTree.Element, dropped: list[str]) -> None:
    """Devices that hand over something of the old host."""
    for tag in _HOST_BOUND_DEVICES:
        for element in devices.findall(tag):
            devices.remove(element)
            dropped.append(tag)
    for element in devices.findall("tpm"):
        if element.find("backend[@type='emulator']") is None:
            devices.remove(element)
            dropped.append("tpm passed through")
    for element in devices.findall("rng"):
        if element.find("backend[@model='egd']") is not None:
            devices.remove(element)
            dropped.append("rng over a socket")


def _reset_channels(devices: ElementTree.Element) -> None:
    """Sockets, files and pipes that ports were connected to are the old host's: a port keeps its
    place in the machine and gets a socket or terminal of libvirt's choice."""
    for tag in ("channel", "serial", "console", "parallel"):
        for element in devices.findall(tag):
            for child in element.findall("source"):
                element.remove(child)
            for child in element.findall("log"):
                element.remove(child)
            if element.get("type") in {"file", "pipe", "dev", "tcp", "udp", "nmdm"} or (
                element.get("type") == "unix" and tag != "channel"
            ):
                element.set("type", "pty")
    for element in devices.findall("graphics"):
        for name in ("port", "websocket", "tlsPort", "socket", "passwd", "passwdValidTo"):
            element.attrib.pop(name, None)
        element.set("autoport", "yes")


def _set_interfaces(devices: ElementTree.Element, *, keep_macs: bool, isolated: bool) -> None:
    for element in devices.findall("interface"):
        mac = element.find("mac")
        if not keep_macs and mac is not None:
            mac.set("address", _new_mac())
        for tag in ("target", "script", "downscript", "backend"):
            for child in element.findall(tag):
                element.remove(child)
        if isolated:
            link = element.find("link")
            if link is None:
                link = ElementTree.SubElement(element, "link")
            link.set("state", "down")


def _new_mac() -> str:
    chance = random.SystemRandom()
    octets = (*_LOCAL_MAC_PREFIX, *(chance.randrange(256) for _ in range(3)))
    return ":".join(f"{octet:02x}" for octet in octets)


def _set_nvram(root: ElementTree.Element, nvram: Path | None) -> None:
    """The loader stays; variables go to a file of the new VM's own, or libvirt makes one from the
    template."""
    system = root.find("os")
    element = root.find("os/nvram")
    if system is None:
        return
    if nvram is None:
        if element is not None and element.get("template") is None:
            system.remove(element)
        elif element is not None:
            element.text = None
        return
    if element is None:
        element = ElementTree.SubElement(system, "nvram")
    for child in list(element):
        element.remove(child)
    element.attrib.pop("type", None)
    element.text = str(nvram)
