"""A disk taken out of a running VM and put back between two backups: what was written meanwhile, by
whomever, is in the next point."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from holdfast.backup.run import BackupOptions, back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from holdfast.repository import LocalStore, Repository
from tests.integration.libvirt.captures import assert_clean
from tests.support.engine import CREDENTIAL
from tests.support.guestless import GuestlessVm, create_image
from tests.support.oracle import assert_repository_sound

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu]

_SIZE = 16 * MIB


@dataclass(kw_only=True)
class Bench:
    """A VM whose disk vdc comes and goes, and a repository."""

    driver: LibvirtDriver
    vm: GuestlessVm
    folder: Path
    repository: Repository
    points: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])

    @property
    def image(self) -> Path:
        return self.folder / "c.qcow2"

    def attach(self, path: Path | None = None) -> None:
        self.vm.domain.attachDevice(_disk_xml(path or self.image))

    def detach(self, path: Path | None = None) -> None:
        self.vm.domain.detachDevice(_disk_xml(path or self.image))
        deadline = time.monotonic() + 30
        while "vdc" in self.vm.domain.XMLDesc():
            assert time.monotonic() < deadline, "the disk does not go"
            time.sleep(0.02)

    def write(self, offset: int, pattern: int) -> None:
        (name,) = [disk["qdev"] for disk in self.vm.qmp("query-block") if "usb" in disk["qdev"]]
        self.vm.hmp(f'qemu-io -d {name} "write -P {pattern} {offset} {64 * KIB}"')
        self.vm.hmp(f'qemu-io -d {name} "flush"')

    def back_up(self) -> dict[str, tuple[str, str]]:
        """Mode and reason of each disk."""
        manifest = back_up_vm(
            driver=self.driver,
            vm=self.driver.find_vm(self.vm.uuid),
            repository=self.repository,
            cancel=CancelToken(),
            options=BackupOptions(workers=1),
        ).manifest
        self.points[manifest.id] = {disk.key: self.content(disk.key) for disk in manifest.disks}
        assert_repository_sound(self.repository.store, CREDENTIAL, self.points)
        return {disk.key: (disk.mode, disk.reason) for disk in manifest.disks}

    def content(self, key: str) -> bytes:
        """By qemu-img, so that nothing of ours judges itself."""
        disk = next(d for d in self.driver.find_vm(self.vm.uuid).disks if d.key == key)
        plain = self.folder / "plain"
        command = ["qemu-img", "convert", "-U", "-f", disk.format, "-O", "raw", disk.path, plain]
        subprocess.run(command, check=True, timeout=60)
        return plain.read_bytes()


@pytest.fixture
def bench(driver: LibvirtDriver, vm: GuestlessVm, folder: Path, tmp_path: Path) -> Bench:
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    repository, _ = Repository.create(store, CREDENTIAL, chunk_bytes=4 * KIB)
    bench = Bench(driver=driver, vm=vm, folder=folder, repository=repository)
    create_image(bench.image, str(_SIZE))
    bench.attach()
    bench.write(MIB, 1)
    assert bench.back_up()["vdc"][0] == "full"
    bench.write(2 * MIB, 2)
    mode, _ = bench.back_up()["vdc"]
    assert mode == "changed"
    return bench


def _same_file(bench: Bench) -> str:
    del bench
    return "was detached and attached again"


def _written_past_the_bitmap(bench: Bench) -> str:
    """By a program that knows nothing of bitmaps: an older QEMU, a rescue tool."""
    command = ["qemu-img", "map", "-f", "qcow2", "--output=json", bench.image]
    extents = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    place = next(e["offset"] for e in extents if e["start"] == MIB)
    with bench.image.open("r+b") as file:
        file.seek(place)
        file.write(b"rescued")
    return "was detached and attached again"


def _other_file_of_that_name(bench: Bench) -> str:
    """Which may well get the inode of the first."""
    bench.image.unlink()
    create_image(bench.image, str(_SIZE))
    command = ["qemu-io", "-f", "qcow2", "-c", f"write -P 9 {5 * MIB} {MIB}", bench.image]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return "replaced|detached and attached again"


def _an_earlier_copy_of_the_file(bench: Bench) -> str:
    """A rollback, with the bitmap of that time."""
    bench.attach()
    bench.write(3 * MIB, 3)
    bench.detach()
    saved = bench.folder / "saved"
    shutil.copyfile(bench.image, saved)
    bench.attach()
    bench.write(4 * MIB, 4)
    assert bench.back_up()["vdc"][0] == "compare"
    bench.detach()
    shutil.copyfile(saved, bench.image)
    return "detached and attached again"


@pytest.mark.parametrize(
    "meanwhile",
    [_same_file, _written_past_the_bitmap, _other_file_of_that_name, _an_earlier_copy_of_the_file],
)
def test_same_target_and_name(bench: Bench, meanwhile: Callable[[Bench], str]) -> None:
    bench.detach()
    reason = meanwhile(bench)
    bench.attach()
    disks = bench.back_up()
    assert disks["vda"][0] == "changed"
    assert disks["vdc"][0] == "compare"
    assert re.search(reason, disks["vdc"][1]), disks["vdc"][1]
    bench.write(6 * MIB, 6)
    assert {key: mode for key, (mode, _) in bench.back_up().items()} == {
        "vda": "changed",
        "vdb": "compare",
        "vdc": "changed",
    }
    assert_clean(bench.vm, bench.folder / "scratch", bench.vm.checkpoints())
    assert len(bench.vm.checkpoints()) == 1


def test_another_file(bench: Bench) -> None:
    bench.detach()
    other = create_image(bench.folder / "other.qcow2", str(_SIZE))
    bench.attach(other)
    bench.write(7 * MIB, 7)
    mode, reason = bench.back_up()["vdc"]
    assert mode == "compare"
    assert f"is now at {other}" in reason


def test_away_during_one_backup(bench: Bench) -> None:
    bench.detach()
    assert set(bench.back_up()) == {"vda", "vdb"}
    bench.attach()
    bench.write(8 * MIB, 8)
    mode, reason = bench.back_up()["vdc"]
    assert mode == "full"
    assert "no earlier point of this disk" in reason
    bench.write(9 * MIB, 9)
    assert bench.back_up()["vdc"][0] == "changed"


def _disk_xml(path: Path) -> str:
    """On USB, which lets a device go without its guest's help."""
    return (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file={quoteattr(str(path))}/><target dev='vdc' bus='usb'/></disk>"
    )
