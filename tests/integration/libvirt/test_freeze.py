"""Freezing through the guest agent: thawed in every outcome, consistency never overstated.

The agent is a fake behind a real guest's port (`tests/support/agent_bridge.py`); the guest boots
once for the module.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.hypervisors.driver import Consistency
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from tests.integration.libvirt.captures import new_id, request
from tests.support.agent_bridge import FakeAgent, bridged_vm
from tests.support.guestless import GuestlessDisk, GuestlessVm, create_image, qemu_folder
from tests.support.libvirtd import ensure_libvirtd

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu]

_FROZEN_LIMIT_S = 10.0
_WORKER = """
import sys
from pathlib import Path
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from tests.integration.libvirt.captures import request
uuid, scratch, run_id = sys.argv[1:]
driver = LibvirtDriver.connect("qemu:///system", scratch_root=Path(scratch))
with driver.capture(driver.find_vm(uuid), request(run_id=run_id)) as capture:
    print(capture.consistency.value, *capture.notes, sep="|", flush=True)
"""


@pytest.fixture(scope="module")
def guest() -> Iterator[tuple[GuestlessVm, FakeAgent, Path]]:
    ensure_libvirtd()
    with qemu_folder() as folder:
        disk = GuestlessDisk(target="vda", path=create_image(folder / "a.qcow2", "8M"))
        with bridged_vm(folder, [disk]) as (vm, agent):
            yield vm, agent, folder


@pytest.fixture
def vm(guest: tuple[GuestlessVm, FakeAgent, Path]) -> GuestlessVm:
    return guest[0]


@pytest.fixture
def agent(guest: tuple[GuestlessVm, FakeAgent, Path]) -> FakeAgent:
    guest[1].reset()
    return guest[1]


@pytest.fixture
def driver(guest: tuple[GuestlessVm, FakeAgent, Path]) -> Iterator[LibvirtDriver]:
    driver = LibvirtDriver.connect("qemu:///system", scratch_root=guest[2] / "scratch")
    yield driver
    driver.close()


def capture_once(driver: LibvirtDriver, vm: GuestlessVm) -> tuple[Consistency, str]:
    with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
        return capture.consistency, "; ".join(capture.notes)


def test_an_honest_agent(driver: LibvirtDriver, vm: GuestlessVm, agent: FakeAgent) -> None:
    assert capture_once(driver, vm) == (Consistency.FILESYSTEM, "")
    assert agent.thawed.is_set()
    assert agent.longest_frozen_s < 5


def test_not_asked(driver: LibvirtDriver, vm: GuestlessVm, agent: FakeAgent) -> None:
    with driver.capture(driver.find_vm(vm.uuid), request(freeze=False)) as capture:
        assert capture.consistency is Consistency.CRASH
    assert agent.longest_frozen_s == 0


def test_a_refused_freeze(driver: LibvirtDriver, vm: GuestlessVm, agent: FakeAgent) -> None:
    agent.failing = {"guest-fsfreeze-freeze"}
    consistency, notes = capture_once(driver, vm)
    assert consistency is Consistency.CRASH
    assert "could not be frozen" in notes


def test_nothing_frozen(driver: LibvirtDriver, vm: GuestlessVm, agent: FakeAgent) -> None:
    agent.frozen_count = 0
    try:
        assert capture_once(driver, vm)[0] is Consistency.CRASH
    finally:
        agent.frozen_count = 2


def test_thawed_behind_our_back(driver: LibvirtDriver, vm: GuestlessVm, agent: FakeAgent) -> None:
    agent.thaw_answer = 0
    consistency, notes = capture_once(driver, vm)
    assert consistency is Consistency.CRASH
    assert "only 0 were still frozen" in notes


def test_a_freeze_that_is_not_answered(
    driver: LibvirtDriver, vm: GuestlessVm, agent: FakeAgent
) -> None:
    agent.silent = {"guest-fsfreeze-freeze"}
    consistency, notes = capture_once(driver, vm)
    assert consistency is Consistency.CRASH
    assert "could not be frozen" in notes
    assert agent.thawed.wait(_FROZEN_LIMIT_S)
    assert agent.longest_frozen_s <= _FROZEN_LIMIT_S


def start_worker(vm: GuestlessVm, scratch: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, vm.uuid, str(scratch), new_id()],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.parametrize("answered", [True, False])
def test_worker_killed_while_frozen(
    guest: tuple[GuestlessVm, FakeAgent, Path], agent: FakeAgent, answered: bool
) -> None:
    vm, _, folder = guest
    agent.silent = set() if answered else {"guest-fsfreeze-freeze"}
    worker = start_worker(vm, folder / "scratch")
    janitors: list[int] = []

    def kill() -> None:
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text()
        janitors.extend(map(int, children.split()))
        worker.kill()

    agent.on_frozen = kill
    worker.communicate(timeout=60)
    assert agent.thawed.wait(_FROZEN_LIMIT_S + 5)
    assert agent.longest_frozen_s <= _FROZEN_LIMIT_S
    # It would go on thawing for half a minute, also in the next test.
    for janitor in janitors:
        os.kill(janitor, signal.SIGKILL)


@pytest.mark.slow
def test_worker_stopped_while_frozen(
    guest: tuple[GuestlessVm, FakeAgent, Path], agent: FakeAgent
) -> None:
    vm, _, folder = guest
    worker = start_worker(vm, folder / "scratch")
    agent.on_frozen = lambda: os.kill(worker.pid, signal.SIGSTOP)
    assert agent.thawed.wait(60)
    assert agent.longest_frozen_s <= _FROZEN_LIMIT_S
    worker.send_signal(signal.SIGCONT)
    output, _ = worker.communicate(timeout=60)
    assert output.startswith("crash|")
    assert "thawed before the instant" in output
