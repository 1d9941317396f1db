"""The small guest that system tests and the demo stand on: it boots, its agent answers, its file
systems freeze, and nothing of it stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from itertools import pairwise

import pytest

from holdfast.cli.demo import contents
from holdfast.cli.demo.errors import GuestCommandFailed, NotTheDemos
from holdfast.cli.demo.lab import Lab
from holdfast.cli.demo.libvirt_service import virsh
from tests.support.guest import running_guest

pytestmark = [pytest.mark.libvirt, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab() -> Generator[Lab, None, None]:
    with running_guest() as lab:
        yield lab


def test_guest_serves_both_disks(lab: Lab) -> None:
    letter = lab.agent.read_file(f"/srv/data/{contents.LETTER}")
    plan = lab.agent.read_file(f"/srv/files/{contents.PLAN}")

    assert letter.decode() == contents.LETTER_TEXT
    assert plan.decode() == contents.PLAN_TEXT
    mounts = lab.agent.run(["cat", "/proc/mounts"]).decode()
    assert "/dev/vda1 /srv/data ext4" in mounts
    assert "/dev/vdb /srv/files xfs" in mounts


def test_file_written_through_the_agent_is_read_back(lab: Lab) -> None:
    content = bytes(range(256)) * 1024  # several agent messages

    lab.agent.write_file("/srv/data/written", content)
    lab.agent.sync()

    assert lab.agent.read_file("/srv/data/written") == content


def test_failing_guest_command_is_an_error(lab: Lab) -> None:
    with pytest.raises(GuestCommandFailed) as caught:
        lab.agent.run(["cat", "/srv/absent"])

    assert caught.value.status == 1
    assert "/srv/absent" in caught.value.output


def test_freeze_stops_writes_until_thaw(lab: Lab) -> None:
    agent = lab.agent
    # The agent reads nothing while frozen, so the guest notes when it wrote, and is asked later.
    writer = "while :; do cut -d' ' -f1 /proc/uptime >> /srv/data/ticks; usleep 20000; done"
    agent.run(["/bin/sh", "-c", f"({writer}) >/dev/null 2>&1 & echo $! > /run/writer"])
    wait_until(lambda: len(read_ticks(lab)) > 3, timeout_s=60)

    assert agent.freeze() == 2
    frozen_at = time.monotonic()
    try:
        wait_until(lambda: time.monotonic() - frozen_at > 1, timeout_s=60)
        assert agent.freeze_status() == "frozen"
    finally:
        held_s = time.monotonic() - frozen_at
        assert agent.thaw() == 2

    assert agent.freeze_status() == "thawed"
    count = len(read_ticks(lab))
    wait_until(lambda: len(read_ticks(lab)) > count, timeout_s=60)
    agent.run(["/bin/sh", "-c", "kill $(cat /run/writer)"])
    ticks = read_ticks(lab)
    longest_gap_s = max(later - earlier for earlier, later in pairwise(ticks))
    assert longest_gap_s >= held_s - 0.1


def read_ticks(lab: Lab) -> list[float]:
    """Uptimes at which the guest wrote, in seconds."""
    return [float(line) for line in lab.agent.read_file("/srv/data/ticks").split()[:-1]]


def test_digest_of_the_tree_sees_one_changed_byte(lab: Lab) -> None:
    before = lab.tree_digest()

    lab.agent.write_file("/srv/files/projects/plan.txt", contents.PLAN_TEXT.encode() + b"!")

    assert lab.tree_digest() != before


def test_vm_of_another_lab_is_never_touched(lab: Lab) -> None:
    stranger = Lab.open(lab.folder.parent / "stranger", vm_name=lab.vm_name)

    with pytest.raises(NotTheDemos):
        stranger.remove()

    assert stranger.folder.exists()
    assert lab.state() == "running"


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


def test_guest_powers_off_cleanly_and_leaves_nothing() -> None:
    with running_guest() as lab:
        lab.agent.write_file("/srv/data/last-words", b"kept")
        virsh("shutdown", lab.vm_name)
        wait_until(lambda: lab.state() == "shut off", timeout_s=60)
        assert "reboot: Power down" in lab.console_log.read_text(errors="replace")

    assert lab.vm_name not in virsh("list", "--all", "--name").split()
    assert not lab.folder.exists()
