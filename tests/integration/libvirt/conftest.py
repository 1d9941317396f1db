"""Fixtures: a folder QEMU can use, a driver, a VM with a qcow2 and a raw disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from tests.support.guestless import (
    GuestlessDisk,
    GuestlessVm,
    create_image,
    guestless_vm,
    qemu_folder,
)
from tests.support.libvirtd import ensure_libvirtd


@pytest.fixture
def folder() -> Iterator[Path]:
    with qemu_folder() as path:
        yield path


@pytest.fixture
def driver(folder: Path) -> Iterator[LibvirtDriver]:
    driver = LibvirtDriver.connect(ensure_libvirtd(), scratch_root=folder / "scratch")
    yield driver
    driver.close()


@pytest.fixture
def vm(folder: Path) -> Iterator[GuestlessVm]:
    """vda: 64 MiB qcow2; vdb: 16 MiB raw."""
    disks = [
        GuestlessDisk(target="vda", path=create_image(folder / "a.qcow2", "64M")),
        GuestlessDisk(
            target="vdb", path=create_image(folder / "b.raw", "16M", "raw"), format="raw"
        ),
    ]
    with guestless_vm(disks) as vm:
        yield vm
