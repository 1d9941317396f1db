"""What a domain's XML says, as values. Pure: no connection, no file is touched.

XML comes from the daemon or, for a restore, from a repository: either way it is data. A document
type (and with it every entity definition) is refused. Enter at `parse_domain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.parsers import expat

from holdfast.core.errors import InvalidInput
from holdfast.core.units import GIB, KIB, MIB, TIB
from holdfast.hypervisors.driver import Firmware, NetworkInterface

AGENT_CHANNEL = "org.qemu.guest_agent.0"

_MEMORY_UNITS = {
    "b": 1,
    "bytes": 1,
    "kb": 1000,
    "k": KIB,
    "kib": KIB,
    "mb": 1000**2,
    "m": MIB,
    "mib": MIB,
    "gb": 1000**3,
    "g": GIB,
    "gib": GIB,
    "tb": 1000**4,
    "t": TIB,
    "tib": TIB,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDisk:
    """A `<disk>` element. Only what decides whether and how it is captured."""

    target: str
    device: str
    """`disk`, `lun`, `cdrom`, `floppy`."""
    source_type: str
    """`file`, `block`, `volume`, `network`, `dir`, `nvme`, `vhostuser`."""
    format: str
    path: str = ""
    pool: str = ""
    volume: str = ""
    protocol: str = ""
    read_only: bool = False
    transient: bool = False
    shareable: bool = False
    encrypted: bool = False
    sliced: bool = False
    data_file: bool = False
    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A `<domain>` element."""

    uuid: str
    name: str
    disks: Sequence[DomainDisk]
    networks: Sequence[NetworkInterface]
    firmware: Firmware
    vcpus: int
    memory_bytes: int
    nvram_path: str = ""
    has_emulated_tpm: bool = False
    agent_connected: bool = False
    """The guest side of the agent's channel is open: something in the guest listens."""


def parse_xml(text: str | bytes) -> ElementTree.Element:
    """The root element. Raises InvalidInput when it is not XML or declares a document type."""
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(_qualified(tag), {_qualified(k): v for k, v in attributes.items()})

    def end(tag: str) -> None:
        builder.end(_qualified(tag))

    def refuse(*_: object) -> None:
        raise InvalidInput(what="VM definition", problem="it declares a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
        return builder.close()
    except (expat.ExpatError, AssertionError, UnicodeError, ValueError) as error:
        raise InvalidInput(what="VM definition", problem=f"it is not XML: {error}") from error


def _qualified(name: str) -> str:
    """expat's `uri}local` as ElementTree's `{uri}local`."""
    return f"{{{name}" if "}" in name else name


def parse_domain(text: str | bytes) -> Domain:
    """Raises InvalidInput when it is no domain."""
    root = parse_xml(text)
    if root.tag != "domain":
        raise InvalidInput(what="VM definition", problem=f"it is a <{root.tag}>, not a <domain>")
    return Domain(
        uuid=root.findtext("uuid", "").strip(),
        name=root.findtext("name", "").strip(),
        disks=tuple(_disk(element) for element in root.iterfind("devices/disk")),
        networks=tuple(_interface(element) for element in root.iterfind("devices/interface")),
        firmware=_firmware(root),
        vcpus=int(root.findtext("vcpu", "0")),
        memory_bytes=_memory_bytes(root),
        nvram_path=_nvram_path(root),
        has_emulated_tpm=root.find("devices/tpm/backend[@type='emulator']") is not None,
        agent_connected=_agent_connected(root),
    )


def _disk(element: ElementTree.Element) -> DomainDisk:
    source = element.find("source")
    attributes = source.attrib if source is not None else {}
    return DomainDisk(
        target=_attribute(element, "target", "dev"),
        device=element.get("device", "disk"),
        source_type=element.get("type", "file"),
        format=_attribute(element, "driver", "type") or "raw",
        path=attributes.get("file") or attributes.get("dev") or attributes.get("dir") or "",
        pool=attributes.get("pool", ""),
        volume=attributes.get("volume", ""),
        protocol=attributes.get("protocol", ""),
        read_only=element.find("readonly") is not None,
        transient=element.find("transient") is not None,
        shareable=element.find("shareable") is not None,
        encrypted=element.find("encryption") is not None
        or element.find("source/encryption") is not None,
        sliced=element.find("source/slices") is not None,
        data_file=element.find("source/dataStore") is not None,
        alias=_attribute(element, "alias", "name"),
    )


def _interface(element: ElementTree.Element) -> NetworkInterface:
    source = element.find("source")
    attributes = source.attrib if source is not None else {}
    names = (attributes.get(key) for key in ("network", "bridge", "dev", "portgroup"))
    return NetworkInterface(
        mac=_attribute(element, "mac", "address").lower(),
        network=next(filter(None, names), element.get("type", "")),
        model=_attribute(element, "model", "type"),
    )


def _firmware(root: ElementTree.Element) -> Firmware:
    system = root.find("os")
    if system is None:
        return Firmware.BIOS
    uefi = (
        system.get("firmware") == "efi"
        or _attribute(system, "loader", "type") == "pflash"
        or system.find("nvram") is not None
    )
    return Firmware.UEFI if uefi else Firmware.BIOS


def _nvram_path(root: ElementTree.Element) -> str:
    text = root.findtext("os/nvram", "").strip()
    return text or _attribute(root, "os/nvram/source", "file")


def _agent_connected(root: ElementTree.Element) -> bool:
    return any(
        _attribute(channel, "target", "name") == AGENT_CHANNEL
        and _attribute(channel, "target", "state") == "connected"
        for channel in root.iterfind("devices/channel")
    )


def _memory_bytes(root: ElementTree.Element) -> int:
    element = root.find("memory")
    if element is None or not element.text:
        return 0
    return int(element.text) * _MEMORY_UNITS.get(element.get("unit", "KiB").lower(), KIB)


def _attribute(element: ElementTree.Element, path: str, name: str) -> str:
    child = element.find(path)
    return child.get(name, "") if child is not None else ""
