"""A repository with one small VM of real images, and its point."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.backup.run import back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.core.units import KIB, MIB, TIB
from holdfast.hypervisors.images.driver import ImagesDriver
from holdfast.repository import Credential, DiskRecord, LocalStore, Repository

CREDENTIAL = Credential(kind="recovery", secret=bytes(range(32)))
"""Its slot costs one hash to open instead of the quarter of a second that a passphrase's does."""

# Writes a copy of itself to sector 1 through the BIOS, says W or R (refused) on port 0xE9, and
# ends QEMU through isa-debug-exit.
BOOT_SECTOR = (
    bytes.fromhex(
        "31c0 8ed8 8ec0"  # xor ax,ax; mov ds,ax; mov es,ax
        "b80103 b90200 b600 bb007c cd13"  # int 13h: write 1 sector from 7c00h to sector 2 (1-based)
        "b057 7302 b052 e6e9"  # al = carry ? 'R' : 'W'; out 0e9h
        "ba0105 ee f4 ebfd"  # out 501h; hlt
    )
).ljust(510, b"\0") + b"\x55\xaa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A committed point, and the images it was made of."""

    repository: Repository
    folder: Path
    images: Path
    disks: dict[str, DiskRecord]


@pytest.fixture
def point(tmp_path: Path) -> Exported:
    images = tmp_path / "vm"
    images.mkdir()
    _file_system(images / "files.raw", tmp_path / "tree")
    (images / "boot.raw").write_bytes(BOOT_SECTOR + bytes(16 * MIB - 512))
    (images / "odd.raw").write_bytes(random.Random(3).randbytes(700 * KIB + 511))
    (images / "tiny.raw").write_bytes(b"t" * 511)
    (images / "empty.raw").write_bytes(b"")
    with (images / "sparse.raw").open("wb") as file:
        file.truncate(3 * TIB)
        file.seek(2 * TIB)
        file.write(b"island")
    folder = tmp_path / "repository"
    store = LocalStore(folder)
    store.prepare()
    repository, _ = Repository.create(store, CREDENTIAL, chunk_bytes=64 * KIB)
    driver = ImagesDriver(images)
    vm = driver.list_vms()[0]
    back_up_vm(driver=driver, vm=vm, repository=repository, cancel=CancelToken())
    manifest = repository.point("latest").manifest
    return Exported(
        repository=repository,
        folder=folder,
        images=images,
        disks={disk.key: disk for disk in manifest.disks},
    )


def _file_system(image: Path, tree: Path) -> None:
    """ext4 with random data, text and much free space."""
    tree.mkdir()
    (tree / "random").write_bytes(random.Random(1).randbytes(5 * MIB))
    (tree / "text").write_text("a restore point is a full view\n" * 20000)
    with image.open("wb") as file:
        file.truncate(48 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, image], check=True, timeout=60)
