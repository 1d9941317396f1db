"""What goes wrong during and between captures: QEMU killed, VM stopped, worker killed, disks
exchanged, checkpoints of others."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.clock import SystemClock
from holdfast.core.errors import HoldfastError
from holdfast.core.ids import CHECKPOINT_PREFIX, uuid7
from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.errors import CaptureLost, ScratchExhausted
from holdfast.hypervisors.libvirt import live_take
from holdfast.hypervisors.libvirt.artifacts import collect_artifacts
from holdfast.hypervisors.libvirt.checkpoints import checkpoint_xml, delete_checkpoint
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from tests.integration.libvirt.captures import (
    OTHER_REPOSITORY,
    REPOSITORY,
    assert_clean,
    back_up,
    disk_of,
    extents,
    left_in,
    new_id,
    read,
    reason,
    request,
)
from tests.support.guestless import GuestlessDisk, GuestlessVm, create_image, guestless_vm

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu]

_CLEAN_WITHIN_S = 60.0


def eventually(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Seconds until `condition` held. Other processes' deeds raise no event we could await."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, what
        time.sleep(0.02)
    return time.monotonic() - start


def is_dead(pid: int) -> bool:
    """Ended, whether or not anybody has taken note: then it holds nothing open."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def add_checkpoint(vm: GuestlessVm, name: str, description: str = "of another product") -> None:
    vm.domain.checkpointCreateXML(
        f"<domaincheckpoint><name>{name}</name><description>{description}</description>"
        "<disks><disk name='vda' checkpoint='bitmap'/><disk name='vdb' checkpoint='no'/></disks>"
        "</domaincheckpoint>"
    )


def kill_unnoticed(vm: GuestlessVm) -> None:
    """SIGKILL to QEMU; returns when it is gone, whether or not libvirt has noticed."""
    qemu = os.pidfd_open(vm.pid)
    os.kill(vm.pid, signal.SIGKILL)
    select.select([qemu], [], [])
    os.close(qemu)


class TestLostBitmaps:
    def test_qemu_killed_between_backups_after_the_bitmap_was_stored(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        _, tokens = back_up(driver, vm)
        vm.stop()
        vm.start()
        vm.write("vda", MIB, 64 * KIB, 1)
        vm.kill()
        vm.start()
        changes, newer = back_up(driver, vm, tokens)
        assert "not closed properly when QEMU ended" in reason(changes["vda"])
        assert_clean(vm, folder / "scratch", {newer["vda"].values["checkpoint"]})
        vm.write("vda", 2 * MIB, 64 * KIB, 1)
        changes, _ = back_up(driver, vm, newer)
        assert extents(changes["vda"]) == [(2 * MIB, 64 * KIB)]

    def test_qemu_killed_between_backups_before_the_bitmap_was_stored(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        _, tokens = back_up(driver, vm)
        vm.kill()
        vm.start()
        changes, newer = back_up(driver, vm, tokens)
        assert reason(changes["vda"]) == (
            "the checkpoint's bitmap was lost when QEMU ended without saving it"
        )
        assert_clean(vm, folder / "scratch", {newer["vda"].values["checkpoint"]})
        changes, _ = back_up(driver, vm, newer)
        assert extents(changes["vda"]) == []

    def test_an_orderly_restart_keeps_the_token(
        self, driver: LibvirtDriver, vm: GuestlessVm
    ) -> None:
        _, tokens = back_up(driver, vm)
        vm.write("vda", MIB, 64 * KIB, 1)
        vm.stop()
        vm.start()
        vm.write("vda", 3 * MIB, 64 * KIB, 1)
        changes, _ = back_up(driver, vm, tokens)
        assert extents(changes["vda"]) == [(MIB, 64 * KIB), (3 * MIB, 64 * KIB)]

    def test_a_shut_off_vm_reports_changes_and_keeps_the_token(
        self, driver: LibvirtDriver, vm: GuestlessVm
    ) -> None:
        _, tokens = back_up(driver, vm)
        vm.write("vda", MIB, 64 * KIB, 1)
        vm.stop()
        changes, newer = back_up(driver, vm, tokens)
        assert extents(changes["vda"]) == [(MIB, 64 * KIB)]
        assert newer == tokens
        vm.start()
        vm.write("vda", 9 * MIB, 64 * KIB, 1)
        changes, _ = back_up(driver, vm, newer)
        assert extents(changes["vda"]) == [(MIB, 64 * KIB), (9 * MIB, 64 * KIB)]

    def test_a_killed_and_shut_off_vm_is_read(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        _, tokens = back_up(driver, vm)
        vm.stop()
        vm.start()
        vm.kill()
        changes, newer = back_up(driver, vm, tokens)
        assert "not closed properly" in reason(changes["vda"])
        assert newer == {}
        assert_clean(vm, folder / "scratch", set())
        vm.start()
        changes, newer = back_up(driver, vm, newer)
        assert set(newer) == {"vda"}

    def test_a_checkpoint_whose_bitmap_someone_removed(
        self, driver: LibvirtDriver, vm: GuestlessVm
    ) -> None:
        _, tokens = back_up(driver, vm)
        name = tokens["vda"].values["checkpoint"]
        node = vm.qmp("query-named-block-nodes", flat=True)
        image = next(n for n in node if n["drv"] == "qcow2")
        vm.qmp("block-dirty-bitmap-remove", node=image["node-name"], name=name)
        changes, newer = back_up(driver, vm, tokens)
        assert reason(changes["vda"]) == "the checkpoint's bitmap is no longer in the image"
        changes, _ = back_up(driver, vm, newer)
        assert extents(changes["vda"]) == []


class TestChangedDisks:
    def test_resized(self, driver: LibvirtDriver, vm: GuestlessVm) -> None:
        _, tokens = back_up(driver, vm)
        vm.domain.blockResize("vda", 65 * 1024)
        changes, newer = back_up(driver, vm, tokens)
        assert "was resized from 67108864 to 68157440 bytes" in reason(changes["vda"])
        changes, _ = back_up(driver, vm, newer)
        assert extents(changes["vda"]) == []

    def test_replaced_file(self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path) -> None:
        _, tokens = back_up(driver, vm)
        vm.stop()
        image, copy = folder / "a.qcow2", folder / "copy.qcow2"
        subprocess.run(["cp", image, copy], check=True)
        copy.rename(image)
        vm.start()
        changes, _ = back_up(driver, vm, tokens)
        assert reason(changes["vda"]) == f"the file {image} was replaced since the earlier point"

    def test_added(self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path) -> None:
        _, tokens = back_up(driver, vm)
        path = create_image(folder / "c.qcow2", "8M")
        vm.domain.attachDevice(
            f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
            f"<source file='{path}'/><target dev='vdc' bus='virtio'/></disk>"
        )
        changes, newer = back_up(driver, vm, tokens)
        assert extents(changes["vda"]) == []
        assert reason(changes["vdc"]) == "no earlier point has a checkpoint of this disk"
        changes, _ = back_up(driver, vm, newer)
        assert extents(changes["vdc"]) == []


class TestOwnership:
    def test_foreign_checkpoints_and_other_repositories_stay(
        self, driver: LibvirtDriver, vm: GuestlessVm
    ) -> None:
        other_product = "virtnbdbackup.0"
        our_prefix_not_our_tag = f"{CHECKPOINT_PREFIX}{uuid7(SystemClock())}"
        add_checkpoint(vm, other_product)
        add_checkpoint(vm, our_prefix_not_our_tag)
        _, theirs = back_up(driver, vm, repository_id=OTHER_REPOSITORY)
        _, ours = back_up(driver, vm)
        foreign = {other_product, our_prefix_not_our_tag, theirs["vda"].values["checkpoint"]}
        vm.write("vda", 0, 64 * KIB, 1)
        _, ours = back_up(driver, vm, ours)
        assert vm.checkpoints() == foreign | {ours["vda"].values["checkpoint"]}
        changes, _ = back_up(driver, vm, theirs, repository_id=OTHER_REPOSITORY)
        assert extents(changes["vda"]) == [(0, 64 * KIB)]

    def test_an_unnamed_checkpoint_of_this_repository_is_a_leftover(
        self, driver: LibvirtDriver, vm: GuestlessVm
    ) -> None:
        stale = f"{CHECKPOINT_PREFIX}{uuid7(SystemClock())}"
        disks = [("vda", True), ("vdb", False)]
        vm.domain.checkpointCreateXML(
            checkpoint_xml(name=stale, repository_id=REPOSITORY, run_id=new_id(), disks=disks)
        )
        _, tokens = back_up(driver, vm)
        assert vm.checkpoints() == {tokens["vda"].values["checkpoint"]}

    def test_a_foreign_job_is_left_running(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        scratch = folder / "foreign"
        scratch.mkdir(mode=0o777)
        scratch.chmod(0o777)
        vm.domain.backupBegin(
            f"<domainbackup mode='pull'><server transport='unix' socket='{scratch}/s'/>"
            f"<disks><disk name='vda' backup='yes' type='file'><scratch file='{scratch}/a'/></disk>"
            "<disk name='vdb' backup='no'/></disks></domainbackup>",
            None,
        )
        with pytest.raises(HoldfastError) as caught:
            driver.capture(driver.find_vm(vm.uuid), request())
        assert caught.value.code == "vm_busy"
        assert vm.has_job()
        vm.domain.abortJob()


class TestLoss:
    @pytest.mark.parametrize("how", ["kill", "stop"])
    def test_vm_ends_during_a_backup(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path, how: str
    ) -> None:
        with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
            disk = disk_of(capture, "vda")
            read(disk, 0, MIB)
            if how == "kill":
                vm.kill()
            else:
                vm.stop()
            with pytest.raises(CaptureLost, match="shut down, or its QEMU ended"):
                read(disk, MIB, MIB)
            with pytest.raises(CaptureLost):
                capture.check()
        assert_clean(vm, folder / "scratch", set())
        vm.start()
        _, tokens = back_up(driver, vm)
        changes, _ = back_up(driver, vm, tokens)
        assert extents(changes["vda"]) == []

    def test_readers_notice_the_end_of_qemu_before_libvirt(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
            disk = disk_of(capture, "vda")
            reader = disk.open_reader()
            kill_unnoticed(vm)
            with pytest.raises(CaptureLost, match="its QEMU ended"):
                reader.pread_into(0, memoryview(bytearray(512)))
            with pytest.raises(CaptureLost, match="its QEMU ended"):
                disk.open_reader()
            reader.close()
        assert_clean(vm, folder / "scratch", set())

    def test_qemu_ends_before_its_disks_are_opened(
        self,
        driver: LibvirtDriver,
        vm: GuestlessVm,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The job has begun, and nobody is connected to its export yet."""

        def collect(*arguments: Any) -> Any:
            kill_unnoticed(vm)
            return collect_artifacts(*arguments)

        monkeypatch.setattr(live_take, "collect_artifacts", collect)
        with pytest.raises(CaptureLost, match="its QEMU ended"):
            driver.capture(driver.find_vm(vm.uuid), request())
        assert_clean(vm, folder / "scratch", set())

    def test_job_ended_from_outside(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
            vm.domain.abortJob()
            eventually(lambda: not vm.has_job(), 30, "the job does not end")
            with pytest.raises(CaptureLost, match="ended from outside"):
                capture.check()
        assert_clean(vm, folder / "scratch", set())

    def test_a_shut_off_vm_is_started(self, driver: LibvirtDriver, vm: GuestlessVm) -> None:
        vm.stop()
        with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
            vm.start()
            with pytest.raises(CaptureLost, match="was started"):
                capture.check()
            vm.stop()
            with pytest.raises(CaptureLost, match="was written or replaced"):
                capture.check()


_WORKER = """
import sys, signal
from pathlib import Path
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from tests.integration.libvirt.captures import request
uuid, scratch, run_id = sys.argv[1:]
driver = LibvirtDriver.connect("qemu:///system", scratch_root=Path(scratch))
with driver.capture(driver.find_vm(uuid), request(run_id=run_id)):
    print("open", flush=True)
    signal.pause()
"""


class TestBeginStillUnderWay:
    """The call that begins a backup goes on in libvirtd when its caller is killed."""

    def test_its_checkpoint_is_left_alone_until_it_is_made(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        """libvirt 9.0 dies of a request to delete a checkpoint that is being made, and with it goes
        the connection of everyone on the host."""
        name = f"{CHECKPOINT_PREFIX}{new_id()}"
        checkpoint = checkpoint_xml(
            name=name, repository_id=REPOSITORY, run_id=new_id(), disks=[("vda", True)]
        )
        own = folder / "job"
        own.mkdir()
        own.chmod(0o777)  # QEMU has another user
        job = (
            f"<domainbackup mode='pull'><server transport='unix' socket='{own}/s'/>"
            f"<disks><disk name='vda' type='file'><scratch file='{own}/scratch.qcow2'/></disk>"
            "<disk name='vdb' backup='no'/></disks></domainbackup>"
        )
        begin = threading.Thread(target=lambda: vm.domain.backupBegin(job, checkpoint), daemon=True)
        os.kill(vm.pid, signal.SIGSTOP)
        try:
            begin.start()
            eventually(lambda: name in vm.checkpoints(), 30, "the checkpoint is not begun")
            delete = threading.Thread(
                target=lambda: delete_checkpoint(vm.domain, driver.platform, name), daemon=True
            )
            delete.start()
            # It finds nothing that is complete. A request to delete would wait for QEMU, as the
            # begin does, and be looked at first when QEMU goes on.
            delete.join(20)
            left_alone = not delete.is_alive()
        finally:
            os.kill(vm.pid, signal.SIGCONT)
        delete.join(40)
        begin.join(40)
        assert left_alone, "libvirt was asked to delete it"
        assert vm.has_job(), "libvirtd did not survive"
        assert vm.checkpoints() == {name}
        delete_checkpoint(vm.domain, driver.platform, name)
        vm.domain.abortJob()
        eventually(lambda: not vm.has_job(), 30, "the job does not end")
        assert vm.checkpoints() == set()


class TestKilledWorker:
    def start_worker(self, vm: GuestlessVm, folder: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _WORKER, vm.uuid, str(folder / "scratch"), new_id()],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )

    def wait_clean(self, vm: GuestlessVm, folder: Path) -> float:
        scratch = folder / "scratch"

        def clean() -> bool:
            return not left_in(scratch) and not vm.has_job() and not vm.checkpoints()

        return eventually(clean, _CLEAN_WITHIN_S, "something is left of the killed capture")

    def test_killed_while_reading(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        worker = self.start_worker(vm, folder)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "open\n"
        assert vm.has_job() and vm.checkpoints()
        worker.kill()
        worker.wait()
        worker.stdout.close()
        assert self.wait_clean(vm, folder) < 30
        back_up(driver, vm)

    def test_killed_at_random_moments(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        """The worker needs some 0.6 s to its open capture."""
        for delay_s in (0.25, 0.35, 0.45, 0.55):
            worker = self.start_worker(vm, folder)
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(delay_s * random.uniform(0.9, 1.1))
            worker.kill()
            worker.communicate()
            self.wait_clean(vm, folder)
        back_up(driver, vm)

    def test_killed_together_with_its_janitor(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        worker = self.start_worker(vm, folder)
        assert worker.stdout is not None
        worker.stdout.readline()
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        (janitor,) = map(int, children)
        # Stopped first: a worker whose janitor died ends its run in order, if it has the time.
        worker.send_signal(signal.SIGSTOP)
        os.kill(janitor, signal.SIGKILL)
        worker.kill()
        worker.communicate()
        # Until it has died it holds the lock of the run's folder, and the VM is busy.
        eventually(lambda: is_dead(janitor), 30, "the janitor does not die")
        assert vm.has_job() and vm.checkpoints()
        _, tokens = back_up(driver, vm)
        assert_clean(vm, folder / "scratch", {tokens["vda"].values["checkpoint"]})

    def test_a_killed_janitor_ends_the_capture(
        self, driver: LibvirtDriver, vm: GuestlessVm, folder: Path
    ) -> None:
        with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
            me = os.getpid()
            children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
            for child in map(int, children):
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"holdfast.hypervisors.libvirt.janitor" in command:
                    os.kill(child, signal.SIGKILL)

            def lost() -> bool:
                try:
                    capture.check()
                except CaptureLost:
                    return True
                return False

            eventually(lost, 30, "nobody noticed that the janitor is gone")
        assert_clean(vm, folder / "scratch", set())


class TestInstant:
    def test_disks_are_of_one_instant(self, driver: LibvirtDriver, folder: Path) -> None:
        """A counter is written to disk A, then to B, over and over: at any one instant, A is equal
        to B or one ahead."""
        disks = [
            GuestlessDisk(target=key, path=create_image(folder / f"{key}.qcow2", "4M"))
            for key in ("vda", "vdb")
        ]
        with guestless_vm(disks) as vm:
            stop = threading.Event()

            def count() -> None:
                value = 0
                while not stop.is_set():
                    value += 1
                    for key in ("vda", "vdb"):
                        vm.write(key, 512 * (value // 256), 512, value % 256)

            writer = threading.Thread(target=count)
            writer.start()
            try:
                for _ in range(4):
                    with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
                        first, second = (
                            self.counter(read(disk_of(capture, key))) for key in ("vda", "vdb")
                        )
                        assert first - second in {0, 1}
                    assert first > 0
            finally:
                stop.set()
                writer.join()

    @staticmethod
    def counter(disk: bytes) -> int:
        """The value whose last write is found: sector n holds values 256 n to 256 n + 255."""
        value = 0
        for sector in range(len(disk) // 512):
            low = disk[sector * 512]
            if low == 0 and sector > 0 and not any(disk[(sector + 1) * 512 :]):
                return max(value, 256 * sector if value == 256 * sector - 1 else value)
            if low:
                value = 256 * sector + low
        return value


class TestScratch:
    def test_the_guest_never_sees_scratch_run_out(self, folder: Path) -> None:
        scratch = folder / "small"
        scratch.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m,mode=711", "tmpfs", scratch], check=True
        )
        # Mounted before QEMU starts, which keeps a view of the mounts of its own.
        try:
            self.overwrite_four_times_the_scratch(folder, scratch)
        finally:
            subprocess.run(["umount", "-l", scratch], check=True)

    def overwrite_four_times_the_scratch(self, folder: Path, scratch: Path) -> None:
        driver = LibvirtDriver.connect("qemu:///system", scratch_root=scratch)
        disk = GuestlessDisk(target="vda", path=create_image(folder / "big.qcow2", "64M"))
        with guestless_vm([disk]) as vm:
            vm.write("vda", 0, 64 * MIB, 1)
            with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
                for offset in range(0, 64 * MIB, 256 * KIB):
                    vm.write("vda", offset, 256 * KIB, 2)
                with pytest.raises(ScratchExhausted) as caught:
                    capture.check()
                assert 0.8 <= caught.value.used_bytes / caught.value.limit_bytes < 1
                with pytest.raises(ScratchExhausted):
                    read(disk_of(capture, "vda"), 0, MIB)
            assert "failed" not in vm.log and "No space" not in vm.log
            assert_clean(vm, scratch, set())
            with driver.capture(driver.find_vm(vm.uuid), request()) as capture:
                assert read(disk_of(capture, "vda")) == b"\x02" * 64 * MIB
        driver.close()


def test_tokens_are_plain_json(driver: LibvirtDriver, vm: GuestlessVm) -> None:
    _, tokens = back_up(driver, vm)
    values = dict(tokens["vda"].values)
    assert json.loads(json.dumps(values)) == values
    assert values["inode"] and values["size_bytes"] == str(64 * MIB)
