"""The contract's conformance suite on libvirt, for a running and for a shut-off VM."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.driver import VirtualMachine
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from tests.conformance.subjects import Subject, initial_writes
from tests.conformance.test_driver import (
    TestChanges,
    TestInstant,
    TestInventory,
    TestLeaving,
    TestReading,
    TestRefusals,
)
from tests.integration.libvirt.captures import left_in
from tests.support.guestless import GuestlessDisk, create_image, guestless_vm, qemu_folder
from tests.support.libvirtd import ensure_libvirtd

__all__ = [
    "TestChanges",
    "TestInstant",
    "TestInventory",
    "TestLeaving",
    "TestReading",
    "TestRefusals",
]

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu]

SIZES = {"vda": 6 * MIB, "vdb": 1 * MIB + 64 * KIB + 512}


class RunningSubject:
    """Two qcow2 disks of a paused QEMU."""

    tracks_changes = True
    survives_writes = True
    keys = ("vda", "vdb")

    def __init__(self, stack: ExitStack) -> None:
        self._folder = stack.enter_context(qemu_folder())
        self._content = {key: bytearray(size) for key, size in SIZES.items()}
        disks = [
            GuestlessDisk(target=key, path=create_image(self._folder / f"{key}.qcow2", str(size)))
            for key, size in SIZES.items()
        ]
        self.driver = LibvirtDriver.connect(
            ensure_libvirtd(), scratch_root=self._folder / "scratch"
        )
        stack.callback(self.driver.close)
        self._vm = stack.enter_context(guestless_vm(disks))
        self._stack = stack
        for key, size in SIZES.items():
            for offset, data in initial_writes(size):
                self.write(key, offset, data)

    def vm(self) -> VirtualMachine:
        return self.driver.find_vm(self._vm.name)

    def content(self, key: str) -> bytes:
        return bytes(self._content[key])

    def write(self, key: str, offset: int, data: bytes) -> None:
        self._content[key][offset : offset + len(data)] = data
        self._vm.write_bytes(key, offset, data, self._folder)

    def lose_instant(self) -> None:
        self._vm.kill()

    def left_behind(self) -> list[str]:
        scratch = self._folder / "scratch"
        job = ["a job"] if self._vm.domain.isActive() and self._vm.has_job() else []
        return [*left_in(scratch), *job, *self._vm.checkpoints()]

    def close(self) -> None:
        self._stack.close()


class ShutOffSubject(RunningSubject):
    """The same VM after it was stopped."""

    tracks_changes = False
    survives_writes = False

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self._vm.stop()

    def write(self, key: str, offset: int, data: bytes) -> None:
        if self._vm.domain.isActive():
            super().write(key, offset, data)
            return
        # Another QEMU than the VM's, which keeps bitmaps as the VM's would.
        self._content[key][offset : offset + len(data)] = data
        source = self._folder / "source"
        source.write_bytes(data)
        command = f"write -s {source} {offset} {len(data)}"
        image = self._folder / f"{key}.qcow2"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, image], check=True)

    def lose_instant(self) -> None:
        path = self._folder / "vdb.qcow2"
        copy = path.with_name("copy")
        subprocess.run(["cp", path, copy], check=True)
        copy.rename(path)


@pytest.fixture(params=["running", pytest.param("shut-off", marks=pytest.mark.slow)])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with ExitStack() as stack:
        kind = RunningSubject if request.param == "running" else ShutOffSubject
        yield kind(stack)
