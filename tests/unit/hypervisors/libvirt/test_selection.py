"""Which disks a capture takes, and what it says when it can take none."""

from __future__ import annotations

import pytest

from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.driver import Disk, Firmware, PowerState, VirtualMachine
from holdfast.hypervisors.errors import CaptureFailed
from holdfast.hypervisors.libvirt.selection import select_disks


def machine(**reasons: str) -> VirtualMachine:
    """A VM with these disks; those with a reason cannot be captured."""
    disks = [
        Disk(
            key=key,
            size_bytes=1,
            format="raw",
            path=f"/images/{key}",
            included=not reason,
            excluded_reason=reason,
        )
        for key, reason in reasons.items()
    ]
    return VirtualMachine(
        id="1",
        name="mail",
        platform="libvirt:test",
        power=PowerState.SHUT_OFF,
        firmware=Firmware.BIOS,
        disks=disks,
    )


def test_every_disk_that_can_be_captured() -> None:
    assert [disk.key for disk in select_disks(machine(vda="", vdb="a CD"), None)] == ["vda"]


def test_only_those_asked_for() -> None:
    assert [disk.key for disk in select_disks(machine(vda="", vdb=""), ["vdb", "vdb"])] == ["vdb"]
    with pytest.raises(InvalidInput, match="vdc"):
        select_disks(machine(vda=""), ["vdc"])
    with pytest.raises(CaptureFailed, match="vdb: a CD"):
        select_disks(machine(vda="", vdb="a CD"), ["vdb"])


def test_when_none_is_left_it_says_why() -> None:
    with pytest.raises(CaptureFailed) as raised:
        select_disks(machine(vda="its size cannot be read: no such file", vdb="a CD"), None)
    assert "vda: its size cannot be read: no such file; vdb: a CD" in raised.value.message
    with pytest.raises(CaptureFailed, match="it has no disks"):
        select_disks(machine(), None)
