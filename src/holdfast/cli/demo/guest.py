"""Builds the demo's guest once and keeps it: a kernel of this host, an initramfs, and two populated
disks, one ext4 on a GPT, one XFS without a partition table. Needs no root.

A build is a folder named by a hash of what went in; it appears by one rename, so that a build that
is visible is complete. Must not know libvirt or where the guest runs. Enter at `build_guest`.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import stat
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.cli.demo import contents, initramfs
from holdfast.cli.demo.initramfs import Kernel
from holdfast.cli.demo.programs import find_program, run_program
from holdfast.core.units import MIB

BUILD_VERSION = "2"
"""Raise when the modules that go into a build change what they make."""

_PREFIX = "build-"
_TEMPORARY_PREFIX = "tmp-"
_DATA_BYTES = 512 * MIB
# mkfs.xfs refuses anything below 300 MiB since xfsprogs 5.19.
_FILES_BYTES = 320 * MIB
_PARTITION_OFFSET = 1 * MIB
_GPT_BACKUP_BYTES = 1 * MIB
_DATA_UUID = "6e1f2b0c-51b5-4d0e-9d40-5d0a3cf0a001"
_FILES_UUID = "6e1f2b0c-51b5-4d0e-9d40-5d0a3cf0a002"
_BUILD_TIME = "1700000000"
_MKFS_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A finished build. Its files are shared by everything that boots from it: read only."""

    folder: Path
    kernel_release: str

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    @property
    def data_disk(self) -> Path:
        """qcow2; GPT with one ext4 partition, /srv/data in the guest."""
        return self.folder / "data.qcow2"

    @property
    def files_disk(self) -> Path:
        """qcow2; XFS on the whole disk, /srv/files in the guest."""
        return self.folder / "files.qcow2"


def build_guest(cache: Path, tell: Callable[[str], None] = lambda _: None) -> Guest:
    """The guest for this host, from `cache` if it was built before. Safe from several processes.

    `tell` is called with each step of a build. Raises `ToolMissing`, `ToolFailed` or
    `HostNotReady`; a build that fails leaves nothing behind.
    """
    kernel = initramfs.find_kernel()
    folder = cache / f"{_PREFIX}{_fingerprint(kernel)}"
    guest = Guest(folder=folder, kernel_release=kernel.release)
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not folder.exists():
            _remove(cache.glob(f"{_TEMPORARY_PREFIX}*"))
            _build_into(folder, kernel, tell)
            _remove(path for path in cache.glob(f"{_PREFIX}*") if path != folder)
    return guest


def _build_into(folder: Path, kernel: Kernel, tell: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_TEMPORARY_PREFIX) as name:
        temporary = Path(name)
        build = temporary / "build"
        build.mkdir()
        tell(f"kernel {kernel.release} and an initramfs with the guest agent")
        shutil.copyfile(kernel.image, build / "vmlinuz")
        (build / "initramfs").write_bytes(initramfs.build_initramfs(kernel))
        tell(f"data disk, {_DATA_BYTES // MIB} MiB: ext4 on GPT")
        _make_data_disk(temporary, build / "data.qcow2")
        tell(f"files disk, {_FILES_BYTES // MIB} MiB: XFS")
        _make_files_disk(temporary, build / "files.qcow2")
        for path in build.iterdir():
            path.chmod(0o644)
        build.chmod(0o755)
        build.rename(folder)


def _make_data_disk(temporary: Path, target: Path) -> None:
    staged, raw = temporary / "data", temporary / "data.raw"
    staged.mkdir()
    contents.stage_data(staged)
    _create_sparse(raw, _DATA_BYTES)
    run_program(
        [
            *("sgdisk", "--clear", "--disk-guid", _FILES_UUID, "--new", "1:2048:0"),
            *("--typecode", "1:8300", "--partition-guid", f"1:{_DATA_UUID}", str(raw)),
        ],
        timeout_s=_MKFS_TIMEOUT_S,
    )
    # Everything is initialised here: otherwise the guest's kernel does it after the first mount,
    # and the demo's incremental backup would show those writes.
    options = f"offset={_PARTITION_OFFSET},lazy_itable_init=0,lazy_journal_init=0,hash_seed="
    file_system_bytes = _DATA_BYTES - _PARTITION_OFFSET - _GPT_BACKUP_BYTES
    run_program(
        [
            *("mkfs.ext4", "-q", "-F", "-b", "4096", "-L", "data", "-U", _DATA_UUID),
            *("-E", options + _DATA_UUID, "-d", str(staged)),
            *(str(raw), str(file_system_bytes // 4096)),
        ],
        timeout_s=_MKFS_TIMEOUT_S,
        environment={"E2FSPROGS_FAKE_TIME": _BUILD_TIME},
    )
    _convert(raw, target)


def _make_files_disk(temporary: Path, target: Path) -> None:
    staged, raw, prototype = temporary / "files", temporary / "files.raw", temporary / "proto"
    staged.mkdir()
    contents.stage_files(staged)
    lines = ["/unused", "0 0", "d--755 0 0", *_prototype_entries(staged), "$"]
    prototype.write_text("\n".join(lines) + "\n")
    _create_sparse(raw, _FILES_BYTES)
    run_program(
        [
            "mkfs.xfs",
            "-q",
            "-L",
            "files",
            "-m",
            f"uuid={_FILES_UUID}",
            "-p",
            str(prototype),
            str(raw),
        ],
        timeout_s=_MKFS_TIMEOUT_S,
    )
    _convert(raw, target)


def _prototype_entries(folder: Path) -> Iterator[str]:
    """The folder's entries in the proto file format of mkfs.xfs(8), which needs no mount."""
    for path in sorted(folder.iterdir()):
        if stat.S_ISDIR(path.lstat().st_mode):
            yield f"{path.name} d--755 0 0"
            yield from _prototype_entries(path)
            yield "$"
        else:
            yield f"{path.name} ---644 0 0 {path}"


def _create_sparse(path: Path, size_bytes: int) -> None:
    with path.open("xb") as file:
        file.truncate(size_bytes)


def _convert(raw: Path, target: Path) -> None:
    run_program(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(target)],
        timeout_s=_MKFS_TIMEOUT_S,
    )


def _fingerprint(kernel: Kernel) -> str:
    """Hash of what a build is made of; files of packages count by path, size and time."""
    digest = hashlib.sha256(BUILD_VERSION.encode())
    programs = [find_program(name) for name in ("busybox", "qemu-ga", "mkfs.ext4", "mkfs.xfs")]
    for path in (kernel.image, kernel.modules / "modules.dep", *map(Path, programs)):
        facts = path.stat()
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder)


@contextmanager
def _locked(path: Path) -> Generator[None, None, None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
