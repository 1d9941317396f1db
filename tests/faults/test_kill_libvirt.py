"""`holdfast backup libvirt:...` and QEMU killed in the middle, as a user would see it.

What a killed capture leaves in libvirt is covered by tests/integration/libvirt/test_faults.py;
here the whole command dies, and what counts is the repository and the next backup.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pytest

from holdfast.core.units import KIB, MIB
from holdfast.repository import LocalStore
from tests.faults.operations import Ground
from tests.support.guestless import (
    GuestlessDisk,
    GuestlessVm,
    create_image,
    guestless_vm,
    qemu_folder,
)
from tests.support.holdfast_command import Finished, finish
from tests.support.libvirtd import SYSTEM_URI
from tests.support.oracle import Soundness, assert_repository_sound

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.slow]

_CLEAN_WITHIN_S = 60.0
_BEGIN_TIMEOUT_S = 60.0
_DISK_BYTES = 64 * MIB
_MUCH_BYTES = 60 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A paused VM with one disk whose content is known, and a repository of its own."""

    ground: Ground
    vm: GuestlessVm
    folder: Path
    """One that QEMU's user may pass through."""
    repository: Path
    content: bytearray

    def write(self, offset: int, length: int, pattern: int) -> None:
        self.vm.write("vda", offset, length, pattern)
        self.content[offset : offset + length] = bytes([pattern]) * length

    def write_much(self) -> None:
        """So much that reading it takes a while."""
        data = random.Random(1).randbytes(_MUCH_BYTES)
        self.vm.write_bytes("vda", 0, data, self.folder)
        self.content[:_MUCH_BYTES] = data
        # What QEMU has not flushed dies with it.
        self.vm.hmp('qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "flush"')

    @contextmanager
    def started(self, failpoints: str = "") -> Generator[subprocess.Popen[str]]:
        """A backup under way; it is killed at the end, if it still runs."""
        process = self.ground.command.start(
            *self._arguments(), environment=self._environment(failpoints)
        )
        try:
            wait_until(self.is_open, _BEGIN_TIMEOUT_S, "the backup did not begin", process)
            yield process
        finally:
            if process.poll() is None:
                kill(process)

    def back_up_and_die(self, failpoint: str) -> Finished:
        """A backup that is killed at a failpoint."""
        environment = self._environment(f"{failpoint}:kill")
        return self.ground.command.run(*self._arguments(), environment=environment)

    def back_up(self) -> dict[str, Any]:
        result = self.ground.command.run(*self._arguments(), environment=self._environment(""))
        return result.require()

    def assert_sound(self, points: dict[str, bytes]) -> Soundness:
        acknowledged = {point: {"vda": content} for point, content in points.items()}
        store = LocalStore(self.repository)
        return assert_repository_sound(store, self.ground.credential, acknowledged, no_writer=True)

    def is_clean(self, checkpoints: set[str]) -> bool:
        """No job, no scratch file, and of checkpoints only those of committed points."""
        left = [entry for entry in self._scratch.glob("*") if entry.is_dir()]
        return not self.is_open() and not left and self.vm.checkpoints() == checkpoints

    def is_open(self) -> bool:
        """A backup job of this VM runs."""
        try:
            return self.vm.has_job()
        except libvirt.libvirtError as error:
            # While it begins: "backup job data missing".
            assert error.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR
            return False

    def packs(self) -> set[Path]:
        found = self.repository.glob("packs/**/*")
        return {path for path in found if path.is_file() and path.name[0] != "."}

    @property
    def _scratch(self) -> Path:
        return self.folder / "scratch"

    def _arguments(self) -> tuple[str | Path, ...]:
        source = f"libvirt:{SYSTEM_URI}/{self.vm.name}"
        return ("backup", source, "--repository", self.repository)

    def _environment(self, failpoints: str) -> dict[str, str]:
        return {"HOLDFAST_SCRATCH": str(self._scratch), "HOLDFAST_FAILPOINTS": failpoints}


@pytest.fixture
def scene(ground: Ground, tmp_path: Path) -> Iterator[Scene]:
    repository = tmp_path / "repository"
    shutil.copytree(ground.folder / "empty", repository)
    with qemu_folder() as folder:
        image = create_image(folder / "a.qcow2", str(_DISK_BYTES))
        with guestless_vm([GuestlessDisk(target="vda", path=image)]) as vm:
            scene = Scene(
                ground=ground,
                vm=vm,
                folder=folder,
                repository=repository,
                content=bytearray(_DISK_BYTES),
            )
            scene.write(MIB, 3 * MIB, 7)
            yield scene


def wait_until(
    condition: Callable[[], bool],
    timeout_s: float,
    what: str,
    process: subprocess.Popen[str] | None = None,
) -> None:
    """Other processes' deeds raise no event that could be awaited. `process` is the one that has to
    bring it about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            pytest.fail(f"{what}: {finish(process)}")
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> Finished:
    os.kill(process.pid, signal.SIGKILL)
    return finish(process)


def test_the_command_is_killed_while_its_job_is_open(scene: Scene) -> None:
    first = scene.back_up()["id"]
    acknowledged = {first: bytes(scene.content)}
    kept = scene.vm.checkpoints()
    scene.write(5 * MIB, 64 * KIB, 9)
    with scene.started("backup.after_snapshot:hang") as process:
        assert kill(process).status == -signal.SIGKILL
    wait_until(lambda: scene.is_clean(kept), _CLEAN_WITHIN_S, "something is left of the killed run")
    assert scene.assert_sound(acknowledged).points == (first,)
    again = scene.back_up()
    assert [disk["mode"] for disk in again["disks"]] == ["changed"]
    scene.assert_sound({**acknowledged, again["id"]: bytes(scene.content)})


@pytest.mark.parametrize("failpoint", ["backup.before_promote", "backup.after_promote"])
def test_the_command_is_killed_after_the_commit(scene: Scene, failpoint: str) -> None:
    first = scene.back_up()["id"]
    acknowledged = {first: bytes(scene.content)}
    scene.write(5 * MIB, 64 * KIB, 9)
    assert scene.back_up_and_die(failpoint).status == -signal.SIGKILL
    (committed,) = set(scene.assert_sound(acknowledged).points) - {first}
    acknowledged[committed] = bytes(scene.content)
    scene.write(6 * MIB, 64 * KIB, 3)
    again = scene.back_up()
    scene.assert_sound({**acknowledged, again["id"]: bytes(scene.content)})


def test_qemu_is_killed_during_a_backup(scene: Scene) -> None:
    first = scene.back_up()["id"]
    acknowledged = {first: bytes(scene.content)}
    scene.write_much()
    packs = scene.packs()
    with scene.started() as process:
        # While libvirt still begins the job, no view has been taken yet that could be lost.
        wait_until(lambda: scene.packs() > packs, _BEGIN_TIMEOUT_S, "no pack was put", process)
        scene.vm.kill()
        finished = finish(process)
    assert (finished.status, finished.error_code) == (1, "capture_lost"), finished.stderr
    assert "Traceback" not in finished.stderr
    assert scene.assert_sound(acknowledged).points == (first,)
    scene.vm.start()
    again = scene.back_up()
    (disk,) = again["disks"]
    assert disk["mode"] == "compare"
    assert "QEMU ended" in disk["reason"]
    scene.assert_sound({**acknowledged, again["id"]: bytes(scene.content)})
