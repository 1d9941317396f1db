"""libvirtd restarted in the middle of a backup: QEMU goes on, the capture stays readable, and
nothing is left afterwards.

Restarts the one daemon of the machine under everybody who uses it, so it is collected only when
named: `pytest tests/integration/libvirt/restart_daemon.py`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from holdfast.core.units import MIB
from holdfast.hypervisors.errors import PlatformUnreachable
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from tests.integration.libvirt.captures import (
    assert_clean,
    back_up,
    disk_of,
    extents,
    read,
    request,
)
from tests.support.guestless import GuestlessDisk, create_image, guestless_vm
from tests.support.libvirtd import ensure_libvirtd

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.slow]

_PID_FILE = Path("/run/libvirtd.pid")


def end_daemon() -> None:
    """End libvirtd in order, and return once it is gone."""
    pid = int(_PID_FILE.read_text())
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "libvirtd does not end"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _own_daemon() -> None:
    ensure_libvirtd()
    if not _PID_FILE.exists():
        pytest.skip("libvirtd was not started by these tests: no /run/libvirtd.pid")


def test_restart_during_a_backup(driver: LibvirtDriver, folder: Path) -> None:
    disk = GuestlessDisk(target="vda", path=create_image(folder / "a.qcow2", "16M"))
    with guestless_vm([disk]) as vm:
        vm.write("vda", 0, MIB, 1)
        with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
            read(disk_of(capture, "vda"), 0, MIB)
            end_daemon()
            assert read(disk_of(capture, "vda"), 0, MIB) == b"\x01" * MIB
            ensure_libvirtd()
            vm.reconnect()
            capture.check()
            assert read(disk_of(capture, "vda"), MIB, MIB) == bytes(MIB)
        assert_clean(vm, folder / "scratch", set())
        _, tokens = back_up(driver, vm)
        changes, _ = back_up(driver, vm, tokens)
        assert extents(changes["vda"]) == []


def test_a_daemon_that_is_away(driver: LibvirtDriver, folder: Path) -> None:
    disk = GuestlessDisk(target="vda", path=create_image(folder / "a.qcow2", "16M"))
    with guestless_vm([disk]) as vm:
        capture = driver.capture(driver.find_vm(vm.uuid), request())
        end_daemon()
        try:
            with pytest.raises(PlatformUnreachable):
                driver.list_vms()
            # Nothing can be cleaned up now; the janitor does it once the daemon is back.
            capture.__exit__(None, None, None)
        finally:
            ensure_libvirtd()
            vm.reconnect()
        deadline = time.monotonic() + 60
        while vm.has_job() or vm.checkpoints():
            assert time.monotonic() < deadline, "the janitor did not clean up"
            time.sleep(0.1)
        assert_clean(vm, folder / "scratch", set())
