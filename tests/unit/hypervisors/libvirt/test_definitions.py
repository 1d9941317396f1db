"""Reading domain definitions, and rewriting them for a restore."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from holdfast.core.errors import InvalidInput
from holdfast.core.units import GIB
from holdfast.hypervisors.driver import Firmware
from holdfast.hypervisors.libvirt.domain_xml import parse_domain, parse_xml
from holdfast.hypervisors.libvirt.restored_xml import DiskFile, Identity, restored_xml

STORED = b"""<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>web</name><uuid>6c0f0a2e-5f5f-4d6e-9c0e-0d3a3b0c1d2e</uuid>
<memory unit='GiB'>2</memory><vcpu placement='static'>4</vcpu>
<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type>
<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram>
</os>
<devices><emulator>/tmp/evil</emulator>
<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/>
<source dev='/dev/vg/web'/><target dev='vda' bus='virtio'/><boot order='1'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='/srv/data.qcow2'/><backingStore type='file'><source file='/srv/base'/></backingStore>
<target dev='sdb' bus='scsi'/></disk>
<disk type='file' device='cdrom'><source file='/srv/cd.iso'/><target dev='sda' bus='sata'/>
<readonly/></disk>
<interface type='bridge'><mac address='52:54:00:AA:bb:cc'/><source bridge='br0'/>
<target dev='vnet3'/><model type='virtio'/></interface>
<hostdev mode='subsystem' type='pci'/>
<serial type='file'><source path='/etc/cron.d/x'/><log file='/etc/passwd'/></serial>
<channel type='unix'><source mode='connect' path='/run/secret.sock'/>
<target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>
<qemu:commandline><qemu:arg value='-device'/></qemu:commandline></domain>"""


def test_a_definition_is_read() -> None:
    domain = parse_domain(STORED)
    assert (domain.name, domain.vcpus, domain.memory_bytes) == ("web", 4, 2 * GIB)
    assert domain.firmware is Firmware.UEFI
    assert domain.nvram_path == "/var/lib/libvirt/qemu/nvram/web_VARS.fd"
    assert domain.has_emulated_tpm and domain.agent_connected
    assert [(d.target, d.path, d.format) for d in domain.disks] == [
        ("vda", "/dev/vg/web", "raw"),
        ("sdb", "/srv/data.qcow2", "qcow2"),
        ("sda", "/srv/cd.iso", "raw"),
    ]
    assert domain.networks[0].mac == "52:54:00:aa:bb:cc"
    assert domain.networks[0].network == "br0"


@pytest.mark.parametrize(
    "text",
    [
        b"<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain>&x;</domain>",
        b"<!DOCTYPE domain><domain/>",
        b"<domain>",
        b"",
        b"\xff\xfe",
        b"<domain/><domain/>",
    ],
)
def test_what_is_not_plain_xml_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_xml(text)


def rewrite(*, keep_macs: bool = False, isolated: bool = False) -> ElementTree.Element:
    definition = restored_xml(
        STORED,
        identity=Identity(
            name="web-2", uuid="00000000-0000-4000-8000-000000000001", keep_macs=keep_macs
        ),
        isolated=isolated,
        disks={"vda": DiskFile(path=Path("/srv/new.qcow2"), format="qcow2")},
        nvram=Path("/var/lib/libvirt/qemu/nvram/web-2_VARS.fd"),
    )
    assert set(definition.dropped) == {"QEMU commandline", "disk sdb", "hostdev"}
    for old in (
        "/dev/vg",
        "/srv/data",
        "/srv/base",
        "cd.iso",
        "evil",
        "cron.d",
        "secret",
        "passwd",
    ):
        assert old not in definition.xml
    return parse_xml(definition.xml)


def test_only_what_was_restored_is_attached() -> None:
    root = rewrite()
    disk = root.find("devices/disk[@device='disk']")
    assert disk is not None and disk.get("type") == "file"
    assert [child.tag for child in disk] == ["driver", "target", "boot", "source"]
    assert ElementTree.tostring(disk).count(b"/srv/new.qcow2") == 1
    assert len(root.findall("devices/disk")) == 2
    assert root.findtext("os/loader") == "/usr/share/OVMF/OVMF_CODE_4M.fd"
    assert root.findtext("os/nvram") == "/var/lib/libvirt/qemu/nvram/web-2_VARS.fd"
    assert root.get("id") is None


def test_identity_and_network() -> None:
    root = rewrite(isolated=True)
    mac = root.find("devices/interface/mac")
    link = root.find("devices/interface/link")
    assert mac is not None and mac.get("address", "").startswith("52:54:00:")
    assert mac.get("address", "").lower() != "52:54:00:aa:bb:cc"
    assert link is not None and link.get("state") == "down"
    kept = rewrite(keep_macs=True).find("devices/interface/mac")
    assert kept is not None and kept.get("address") == "52:54:00:AA:bb:cc"


def test_a_disk_the_definition_lacks_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="no disk vdz"):
        restored_xml(
            STORED,
            identity=Identity(name="a", uuid="b", keep_macs=True),
            isolated=False,
            disks={"vdz": DiskFile(path=Path("/x"), format="raw")},
            nvram=None,
        )
