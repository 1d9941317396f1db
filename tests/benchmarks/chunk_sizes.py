"""Measures what the default chunk and pack sizes were chosen by: stored bytes, deduplication,
incremental size and speed for several sizes, on real disks. By hand:

    python -m tests.benchmarks.chunk_sizes DISK SECOND_DISK WORK_FOLDER

DISK and SECOND_DISK are raw images of file systems with much content in common; copies of DISK are
changed in WORK_FOLDER (which needs room for three of them).
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from holdfast.backup.run import BackupResult, back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.images.driver import ImagesDriver
from holdfast.repository import Credential, LocalStore, Repository
from holdfast.repository.packs import PackWriter
from holdfast.restore.disk import restore_disk

_CHUNKS_KIB = (128, 256, 512, 1024, 4096)
_PACKS_MIB = (8, 16, 32, 64)
_REWRITE_BYTES = 64 * KIB
_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    label: str
    full_s: float
    full_bytes: int
    rewrites_bytes: int
    files_bytes: int
    second_disk_bytes: int
    restore_s: float


def main() -> None:
    disk, second, work = (Path(name) for name in sys.argv[1:4])
    work.mkdir(exist_ok=True)
    rewritten = _changed_copy(disk, work / "rewritten.raw", _rewrite)
    edited = _changed_copy(disk, work / "edited.raw", _edit_files)
    heads = ("full", "stored", "rewrites", "files", "2nd disk", "restore")
    print(f"{'':>16} " + " ".join(f"{head:>9}" for head in heads))
    for chunk in _CHUNKS_KIB:
        _show(_measure(f"chunk {chunk} KiB", disk, second, rewritten, edited, work, chunk))
    for pack in _PACKS_MIB:
        PackWriter.__init__.__kwdefaults__["pack_bytes"] = pack * MIB
        _show(_measure(f"pack {pack} MiB", disk, second, rewritten, edited, work, 512))


def _measure(
    label: str, disk: Path, second: Path, rewritten: Path, edited: Path, work: Path, chunk: int
) -> Row:
    folder = work / "repository"
    shutil.rmtree(folder, ignore_errors=True)
    store = LocalStore(folder)
    store.prepare()
    repository, _ = Repository.create(
        store, Credential.passphrase("bench"), chunk_bytes=chunk * KIB
    )
    full = _back_up(repository, disk, work)
    rewrites = _back_up(repository, rewritten, work)
    files = _back_up(repository, edited, work)
    other = _back_up(repository, second, work)
    restored = work / "restored.raw"
    repository.load_index()
    done = restore_disk(
        repository=repository,
        disk=full.manifest.disks[0],
        output=restored,
        format="raw",
        cancel=CancelToken(),
    )
    restored.unlink()
    return Row(
        label=label,
        full_s=full.duration_s,
        full_bytes=full.manifest.stored_bytes,
        rewrites_bytes=rewrites.manifest.stored_bytes,
        files_bytes=files.manifest.stored_bytes,
        second_disk_bytes=other.manifest.stored_bytes,
        restore_s=done.duration_s,
    )


def _back_up(repository: Repository, image: Path, work: Path) -> BackupResult:
    subprocess.run(["sync"], check=True)
    driver = ImagesDriver(image, socket_dir=work)
    vm = driver.list_vms()[0]
    return back_up_vm(driver=driver, vm=vm, repository=repository, cancel=CancelToken())


def _changed_copy(disk: Path, copy: Path, change: Callable[[Path], None]) -> Path:
    if not copy.exists():
        subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
        change(copy)
    return copy


def _rewrite(image: Path) -> None:
    """One per cent of the disk in random places, as a database does."""
    source = random.Random(1)
    size = image.stat().st_size
    with image.open("r+b") as file:
        for _ in range(int(size * _SHARE / _REWRITE_BYTES)):
            file.seek(source.randrange(size // 4096 - 16) * 4096)
            file.write(source.randbytes(_REWRITE_BYTES))


def _edit_files(image: Path) -> None:
    """Every fiftieth file rewritten with other content of its size, as an upgrade does."""
    mount = image.with_suffix(".mount")
    mount.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        found = (path for path in mount.rglob("*") if path.is_file() and not path.is_symlink())
        files = sorted(found)
        for path in files[::50]:
            data = path.read_bytes()[::-1]
            path.unlink()
            path.write_bytes(data)
    finally:
        subprocess.run(["umount", mount], check=True)
        mount.rmdir()


def _show(row: Row) -> None:
    sizes = (row.full_bytes, row.rewrites_bytes, row.files_bytes, row.second_disk_bytes)
    cells = " ".join(f"{size / MIB:9.1f}" for size in sizes)
    print(f"{row.label:>16} {row.full_s:7.1f} s {cells} {row.restore_s:7.1f} s", flush=True)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s in all", file=sys.stderr)
