"""Capture of running VMs: bytes, instants, changed extents, and what is left afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.driver import Consistency
from holdfast.hypervisors.errors import VmBusy
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from tests.integration.libvirt.captures import (
    assert_clean,
    back_up,
    disk_of,
    extents,
    read,
    reason,
    request,
    tokens_of,
    zero_parts,
)
from tests.support.guestless import GuestlessVm

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu]


def test_full_capture_reads_the_instant_while_the_guest_writes(
    driver: LibvirtDriver, vm: GuestlessVm, folder: Path
) -> None:
    vm.write("vda", 0, MIB, 7)
    vm.write("vdb", 0, MIB, 8)
    with driver.capture(driver.find_vm(vm.name), request()) as capture:
        vm.write("vda", 0, 2 * MIB, 9)
        vm.write("vdb", 0, 2 * MIB, 9)
        assert read(disk_of(capture, "vda"), 0, 2 * MIB) == b"\x07" * MIB + bytes(MIB)
        assert read(disk_of(capture, "vdb"), 0, 2 * MIB) == b"\x08" * MIB + bytes(MIB)
        assert capture.consistency is Consistency.CRASH
        reader = disk_of(capture, "vda").open_reader()
        assert zero_parts(list(reader.allocated(0, 64 * MIB))) == 63 * MIB
        reader.close()
        assert [a.name for a in capture.artifacts] == ["domain.xml"]
        assert vm.uuid.encode() in capture.artifacts[0].data
        capture.check()
    assert_clean(vm, folder / "scratch", set())


def test_incremental_capture_reports_exactly_what_was_written(
    driver: LibvirtDriver, vm: GuestlessVm, folder: Path
) -> None:
    changes, tokens = back_up(driver, vm)
    assert reason(changes["vda"]) == "no earlier point has a checkpoint of this disk"
    assert reason(changes["vdb"]) == "a raw disk cannot record what changes"
    assert set(tokens) == {"vda"}
    vm.write("vda", 5 * MIB, 64 * KIB, 1)
    vm.write("vda", 63 * MIB, 1 * MIB, 2)
    with driver.capture(driver.find_vm(vm.uuid), request(tokens)) as capture:
        vm.write("vda", 20 * MIB, MIB, 3)
        expected = [(5 * MIB, 64 * KIB), (63 * MIB, MIB)]
        assert extents(disk_of(capture, "vda").changes) == expected
        assert read(disk_of(capture, "vda"), 63 * MIB, MIB) == b"\x02" * MIB
        assert read(disk_of(capture, "vda"), 20 * MIB, MIB) == bytes(MIB)
        capture.promote()
        newer = tokens_of(capture)
    assert_clean(vm, folder / "scratch", {newer["vda"].values["checkpoint"]})
    changes, _ = back_up(driver, vm, newer)
    assert extents(changes["vda"]) == [(20 * MIB, MIB)]


def test_an_uncommitted_capture_changes_nothing_for_the_next(
    driver: LibvirtDriver, vm: GuestlessVm, folder: Path
) -> None:
    _, tokens = back_up(driver, vm)
    vm.write("vda", 0, 64 * KIB, 1)
    with driver.capture(driver.find_vm(vm.uuid), request(tokens)):
        vm.write("vda", MIB, 64 * KIB, 1)
    assert_clean(vm, folder / "scratch", {tokens["vda"].values["checkpoint"]})
    changes, _ = back_up(driver, vm, tokens)
    assert extents(changes["vda"]) == [(0, 64 * KIB), (MIB, 64 * KIB)]


def test_two_captures_at_once(driver: LibvirtDriver, vm: GuestlessVm, folder: Path) -> None:
    with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
        with pytest.raises(VmBusy):
            driver.capture(driver.find_vm(vm.uuid), request())
        capture.check()
        assert read(disk_of(capture, "vda"), 0, MIB) == bytes(MIB)
    assert_clean(vm, folder / "scratch", set())
