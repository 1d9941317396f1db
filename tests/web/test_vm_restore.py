"""A VM of libvirt from the browser: backed up, lost, given back whole."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from holdfast.core.units import MIB
from tests.support.guestless import (
    GuestlessDisk,
    GuestlessVm,
    create_image,
    guestless_vm,
    qemu_folder,
)
from tests.web.conftest import serious, signed_in_pages
from tests.web.lab import Lab, open_service

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu]

_SIZES = {"vda": 48 * MIB, "vdb": 8 * MIB}
_SECOND_CARD = "<interface type='user'><model type='e1000'/></interface>"


@dataclass(frozen=True, slots=True, kw_only=True)
class VmLab:
    lab: Lab
    vm: GuestlessVm
    backup_id: str
    """Of an incremental, after which the guest wrote more."""
    disks: dict[str, bytes]
    """What the disks held at that instant."""


@pytest.fixture(scope="module")
def vm_lab() -> Iterator[VmLab]:
    with qemu_folder() as folder, open_service(folder) as lab:
        disks = [
            GuestlessDisk(target="vda", path=create_image(folder / "a.qcow2", "48M")),
            GuestlessDisk(
                target="vdb", path=create_image(folder / "b.raw", "8M", "raw"), format="raw"
            ),
        ]
        with guestless_vm(disks, devices=_SECOND_CARD) as vm:
            address = {"transport": "local", "instance": "system"}
            lab.manage({"kind": "libvirt", "name": "This host", "address": address}, vm.name)
            content = {target: bytearray(size) for target, size in _SIZES.items()}
            for number, kind in enumerate(("full", "incremental")):
                _write(vm, content, folder, number)
                job = lab.back_up(vm.name, kind)
                assert (job["status"], job["backup_type"]) == ("completed", kind), job
            instant = {target: bytes(data) for target, data in content.items()}
            _write(vm, content, folder, 2)
            yield VmLab(lab=lab, vm=vm, backup_id=job["id"], disks=instant)


@pytest.fixture
def open_vm_page(vm_lab: VmLab, browser: Browser) -> Iterator[Callable[..., Page]]:
    with signed_in_pages(browser, vm_lab.lab.service, vm_lab.lab.cookies) as open_one:
        yield open_one


@pytest.fixture
def name(vm_lab: VmLab) -> Iterator[str]:
    """Of a VM that is restored; it and its images are removed at the end."""
    name = f"holdfast-test-{secrets.token_hex(4)}"
    yield name
    with suppress(libvirt.libvirtError):
        domain = vm_lab.vm.connection.lookupByName(name)
        images = [path for _, path, _ in _disks(domain)]
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
        for image in images:
            image.unlink(missing_ok=True)


def test_a_whole_vm_comes_back_beside_the_old_one(
    vm_lab: VmLab, open_vm_page: Callable[..., Page], name: str
) -> None:
    page = open_vm_page(f"/backups/{vm_lab.backup_id}")
    dialog = _wizard(page)
    expect(dialog.get_by_label("The whole VM")).to_be_checked()
    _next(dialog)
    expect(dialog.get_by_label("Platform")).to_contain_text("This host")
    dialog.get_by_label("Name").fill(name)
    expect(dialog.get_by_label("A new identity")).to_be_checked()
    expect(dialog.get_by_label("Leave its network disconnected")).to_be_checked()
    expect(dialog.get_by_label("Start it afterwards")).not_to_be_checked()
    assert serious(page) == []
    _next(dialog)
    expect(dialog).to_contain_text(f"Define the VM {name} on This host.")
    expect(dialog).to_contain_text("a new UUID and new MAC addresses")
    expect(dialog).to_contain_text("Leave its network cards disconnected.")
    expect(dialog).to_contain_text("Leave it shut off.")
    assert serious(page) == []
    dialog.get_by_role("button", name="Restore VM").click()
    _watch(page)
    expect(page.get_by_role("main")).to_contain_text(f"as {name}")
    assert serious(page) == []
    restored = vm_lab.vm.connection.lookupByName(name)
    assert not restored.isActive()
    assert restored.UUIDString() != vm_lab.vm.uuid
    assert vm_lab.vm.domain.isActive()
    macs, old_macs = _macs(restored), _macs(vm_lab.vm.domain)
    assert len(macs) == len(old_macs) == 2
    assert not set(macs) & set(old_macs)
    assert set(macs.values()) == {"down"}
    for _, image, _ in _disks(restored):
        expect(page.get_by_role("main")).to_contain_text(str(image))
    assert _content(restored) == vm_lab.disks
    restored.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    # A second one of that name is refused before it begins.
    page.goto(f"/backups/{vm_lab.backup_id}")
    dialog = _wizard(page)
    _next(dialog)
    dialog.get_by_label("Name").fill(name)
    _next(dialog)
    expect(dialog.get_by_role("alert")).to_contain_text(f"There is a VM {name} already")
    expect(dialog.get_by_role("button", name="Restore VM")).to_have_attribute(
        "aria-disabled", "true"
    )
    assert serious(page) == []


def test_the_old_identity_waits_until_the_old_vm_is_gone(
    vm_lab: VmLab, open_vm_page: Callable[..., Page], name: str
) -> None:
    page = open_vm_page(f"/backups/{vm_lab.backup_id}")
    dialog = _wizard(page)
    _next(dialog)
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("The old identity").check()
    _next(dialog)
    expect(dialog).to_contain_text("Keep its UUID and MAC addresses.")
    expect(dialog.get_by_role("alert")).to_contain_text(f"{vm_lab.vm.name} has its UUID")
    dialog.get_by_role("button", name="Back").click()
    _over_the_old_one(dialog, vm_lab.vm.name)
    _next(dialog)
    expect(dialog.get_by_role("alert")).to_contain_text("it runs")
    expect(dialog.get_by_role("button", name="Restore VM")).to_have_attribute(
        "aria-disabled", "true"
    )


def test_an_identity_that_is_taken_is_refused_before_a_byte_moves(vm_lab: VmLab, name: str) -> None:
    lab = vm_lab.lab
    [platform] = lab.get("/platforms")["items"]
    body = {"backup_id": vm_lab.backup_id, "platform_id": platform["id"], "name": name}
    accepted = lab.post("/restore/vms", {**body, "keep_identity": True})
    run = lab.run_ended(accepted["run_id"])
    assert (run["state"], run["error_code"]) == ("failed", "target_exists"), run
    assert vm_lab.vm.uuid in run["error_message"]
    assert run["bytes_done"] == 0
    lines = lab.get("/logs", run_id=run["id"])["entries"]
    assert "restored to" not in str(lines)
    assert {line["vm_name"] for line in lines} == {vm_lab.vm.name}


def test_a_vm_is_put_back_over_the_old_one(
    vm_lab: VmLab, open_vm_page: Callable[..., Page]
) -> None:
    """Last in this file: the VM is shut off and its disks are replaced."""
    old_macs = _macs(vm_lab.vm.domain)
    old_images = [path for _, path, _ in _disks(vm_lab.vm.domain)]
    vm_lab.vm.kill()
    page = open_vm_page(f"/backups/{vm_lab.backup_id}")
    dialog = _wizard(page)
    _next(dialog)
    _over_the_old_one(dialog, vm_lab.vm.name)
    dialog.get_by_label("Leave its network disconnected").uncheck()
    _next(dialog)
    expect(dialog).to_contain_text(f"Replace the VM {vm_lab.vm.name} on This host.")
    expect(dialog).to_contain_text("Connect its networks.")
    dialog.get_by_role("button", name="Restore VM").click()
    _watch(page)
    back = vm_lab.vm.connection.lookupByName(vm_lab.vm.name)
    images = [path for _, path, _ in _disks(back)]
    try:
        assert back.UUIDString() == vm_lab.vm.uuid
        assert _macs(back) == dict.fromkeys(old_macs, "up")
        assert _content(back) == vm_lab.disks
        assert not any(image.exists() for image in old_images)
    finally:
        for image in images:
            image.unlink(missing_ok=True)


def _wizard(page: Page) -> Locator:
    page.get_by_role("button", name="Restore", exact=True).click()
    return page.get_by_role("dialog")


def _over_the_old_one(dialog: Locator, name: str) -> None:
    """Which wants the name typed."""
    dialog.get_by_role("radio", name=re.compile("^The old VM")).check()
    forward = dialog.get_by_role("button", name="Next")
    expect(forward).to_have_attribute("aria-disabled", "true")
    dialog.get_by_label(f"Type {name} to confirm").fill(name)
    expect(forward).not_to_have_attribute("aria-disabled", "true")


def _next(dialog: Locator) -> None:
    dialog.get_by_role("button", name="Next").click()


def _watch(page: Page) -> None:
    """Until the run has completed, and once more after a reload."""
    page.wait_for_url("**/monitoring/runs/*")
    badge = page.get_by_role("main").locator("header").get_by_text("Completed", exact=True)
    expect(badge).to_be_visible(timeout=120_000)
    page.reload()
    expect(page.get_by_role("main")).to_contain_text("The VM is restored")


def _write(vm: GuestlessVm, content: dict[str, bytearray], folder: Path, number: int) -> None:
    """Something else into each disk, some of it over what the time before wrote."""
    for target, data in content.items():
        piece = np.random.default_rng(number).bytes(2 * MIB + 512)
        offset = MIB * (1 + number) + 512
        vm.write_bytes(target, offset, piece, folder)
        data[offset : offset + len(piece)] = piece


def _disks(domain: libvirt.virDomain) -> list[tuple[str, Path, str]]:
    """Target, image and format of each."""
    found: list[tuple[str, Path, str]] = []
    for disk in ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/disk"):  # noqa: S314
        target, source, driver = (disk.find(tag) for tag in ("target", "source", "driver"))
        assert target is not None and source is not None and driver is not None
        path = Path(source.get("file", ""))
        found.append((target.get("dev", ""), path, driver.get("type", "")))
    return found


def _macs(domain: libvirt.virDomain) -> dict[str, str]:
    """The state of each card's link by its address."""
    cards = ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/interface")  # noqa: S314
    found: dict[str, str] = {}
    for card in cards:
        mac, link = card.find("mac"), card.find("link")
        assert mac is not None
        found[mac.get("address", "")] = "up" if link is None else link.get("state", "")
    return found


def _content(domain: libvirt.virDomain) -> dict[str, bytes]:
    """What the disks of a VM that is off hold, read by QEMU."""
    found: dict[str, bytes] = {}
    for target, image, format in _disks(domain):
        raw = image.with_suffix(".compared")
        command = ["qemu-img", "convert", "-f", format, "-O", "raw", str(image), str(raw)]
        try:
            subprocess.run(command, check=True, timeout=120)
            found[target] = raw.read_bytes()
        finally:
            raw.unlink(missing_ok=True)
    return found
