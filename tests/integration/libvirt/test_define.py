"""Giving a VM back under libvirt: identity, network, firmware, and what a failure leaves."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest

from holdfast.core.errors import HoldfastError, TargetExists
from holdfast.core.units import MIB
from holdfast.hypervisors.driver import Firmware, PowerState
from holdfast.hypervisors.libvirt.artifacts import NVRAM, TPM
from holdfast.hypervisors.libvirt.connection import LibvirtConnection
from holdfast.hypervisors.libvirt.define import (
    DiskFile,
    define_restored_vm,
    start_vm,
    stop_vm,
    undefine_vm,
    vm_exists,
)
from holdfast.hypervisors.libvirt.domain_xml import parse_xml
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from holdfast.hypervisors.libvirt.errors import LibvirtFault
from tests.integration.libvirt.captures import request
from tests.support.guestless import GuestlessDisk, GuestlessVm, create_image, guestless_vm

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu]

_UEFI_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
_UEFI_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


@pytest.fixture
def name(driver: LibvirtDriver) -> Iterator[str]:
    """A name for a restored VM, which is removed at the end."""
    name = f"holdfast-test-restored-{secrets.token_hex(4)}"
    yield name
    if vm_exists(driver.connection, name):
        vm = driver.find_vm(name)
        stop_vm(driver.connection, vm.id)
        undefine_vm(driver.connection, vm.id)


def stored_definition(driver: LibvirtDriver, vm: GuestlessVm) -> dict[str, bytes]:
    with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
        return {artifact.name: artifact.data for artifact in capture.artifacts}


def restored_disks(folder: Path) -> dict[str, DiskFile]:
    return {"vda": DiskFile(path=create_image(folder / "restored.raw", "64M", "raw"), format="raw")}


def live_xml(connection: LibvirtConnection, vm_id: str) -> ElementTree.Element:
    return parse_xml(connection.domain(vm_id).XMLDesc())


def test_a_new_vm_beside_the_original(
    driver: LibvirtDriver, vm: GuestlessVm, folder: Path, name: str
) -> None:
    stored = stored_definition(driver, vm)
    original = driver.find_vm(vm.uuid)
    restored = define_restored_vm(
        driver.connection,
        domain_xml=stored["domain.xml"],
        name=name,
        keep_identity=False,
        isolated=True,
        disk_files=restored_disks(folder),
        nvram=None,
        tpm=None,
    )
    assert restored.name == name
    assert restored.id != original.id
    assert restored.power is PowerState.SHUT_OFF
    assert [(disk.key, disk.format, disk.size_bytes) for disk in restored.disks] == [
        ("vda", "raw", 64 * MIB)
    ]
    assert restored.networks[0].mac != original.networks[0].mac
    assert restored.memory_bytes == original.memory_bytes
    start_vm(driver.connection, restored.id, paused=True)
    xml = live_xml(driver.connection, restored.id)
    assert [link.get("state") for link in xml.iterfind("devices/interface/link")] == ["down"]
    stop_vm(driver.connection, restored.id)
    undefine_vm(driver.connection, restored.id)
    assert not vm_exists(driver.connection, name)
    undefine_vm(driver.connection, restored.id)


def test_the_original_again(driver: LibvirtDriver, folder: Path, name: str) -> None:
    disk = GuestlessDisk(target="vda", path=create_image(folder / "a.qcow2", "64M"))
    with guestless_vm([disk]) as vm:
        stored = stored_definition(driver, vm)
        original = driver.find_vm(vm.uuid)
        with pytest.raises(TargetExists):
            define_restored_vm(
                driver.connection,
                domain_xml=stored["domain.xml"],
                name=name,
                keep_identity=True,
                isolated=False,
                disk_files=restored_disks(folder),
                nvram=None,
                tpm=None,
            )
    restored = define_restored_vm(
        driver.connection,
        domain_xml=stored["domain.xml"],
        name=name,
        keep_identity=True,
        isolated=False,
        disk_files={"vda": DiskFile(path=folder / "restored.raw", format="raw")},
        nvram=None,
        tpm=None,
    )
    assert restored.id == original.id
    assert restored.networks == original.networks


def test_firmware_state_comes_back(driver: LibvirtDriver, folder: Path, name: str) -> None:
    for part in (_UEFI_CODE, _UEFI_VARS, Path("/usr/bin/swtpm")):
        if not part.exists():
            pytest.skip(f"{part} is not installed")
    firmware = (
        f"<loader readonly='yes' type='pflash'>{_UEFI_CODE}</loader>"
        f"<nvram template='{_UEFI_VARS}'/>"
    )
    tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
    disk = GuestlessDisk(target="vda", path=create_image(folder / "a.qcow2", "64M"))
    with guestless_vm([disk], devices=tpm, os_extra=firmware) as vm:
        assert driver.find_vm(vm.uuid).firmware is Firmware.UEFI
        stored = stored_definition(driver, vm)
        variables = bytearray(stored[NVRAM])
        variables[-1] ^= 1
    with tarfile.open(fileobj=io.BytesIO(stored[TPM])) as tar:
        state = {member.name: member.size for member in tar if member.isfile()}
    assert any(file.endswith("tpm2-00.permall") for file in state), state
    restored = define_restored_vm(
        driver.connection,
        domain_xml=stored["domain.xml"],
        name=name,
        keep_identity=False,
        isolated=False,
        disk_files=restored_disks(folder),
        nvram=bytes(variables),
        tpm=stored[TPM],
    )
    assert restored.firmware is Firmware.UEFI
    start_vm(driver.connection, restored.id, paused=True)
    again = stored_definition_of(driver, restored.id)
    assert again[NVRAM] == bytes(variables)
    assert again[TPM] == stored[TPM]


def stored_definition_of(driver: LibvirtDriver, vm_id: str) -> dict[str, bytes]:
    with driver.capture(driver.find_vm(vm_id), request()) as capture:
        return {artifact.name: artifact.data for artifact in capture.artifacts}


def test_a_refused_definition_leaves_nothing(
    driver: LibvirtDriver, vm: GuestlessVm, folder: Path, name: str
) -> None:
    stored = stored_definition(driver, vm)["domain.xml"]
    unusable = stored.replace(b"machine='", b"machine='no-such-")
    before = set(Path("/var/lib/libvirt/qemu/nvram").glob("*"))
    with pytest.raises(LibvirtFault):
        define_restored_vm(
            driver.connection,
            domain_xml=unusable,
            name=name,
            keep_identity=False,
            isolated=False,
            disk_files=restored_disks(folder),
            nvram=b"variables",
            tpm=None,
        )
    assert set(Path("/var/lib/libvirt/qemu/nvram").glob("*")) == before
    assert not vm_exists(driver.connection, name)


def test_tpm_state_cannot_leave_its_folder(
    driver: LibvirtDriver, vm: GuestlessVm, folder: Path, name: str
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"))
    swtpm = Path("/var/lib/libvirt/swtpm")
    before = set(swtpm.glob("*"))
    with pytest.raises(HoldfastError, match="not expected"):
        define_restored_vm(
            driver.connection,
            domain_xml=stored_definition(driver, vm)["domain.xml"],
            name=name,
            keep_identity=False,
            isolated=False,
            disk_files=restored_disks(folder),
            nvram=None,
            tpm=buffer.getvalue(),
        )
    assert set(swtpm.glob("*")) == before


def test_vms_that_are_not_there(driver: LibvirtDriver) -> None:
    assert not vm_exists(driver.connection, "no-such-vm")
    assert not vm_exists(driver.connection, "00000000-0000-4000-8000-ffffffffffff")
    assert isinstance(driver.connection.handle(), libvirt.virConnect)
