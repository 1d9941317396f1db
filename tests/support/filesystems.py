# ruff: noqa: PTH101, PTH102, PTH103, PTH108, PTH115, PTH123, PTH211
# Guest names are bytes; pathlib knows text only.
"""Builds real file systems and disks for tests of guest file access: mkfs, loop mounts, partition
tables, LVM metadata. Needs root for everything but FAT. Enter at `populate`, the `make_*`
functions and the `*_disk` functions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
_LOOP_ATTEMPTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the kernel says about one path of a mounted file system."""

    kind: str
    size: int
    mode: int
    uid: int
    gid: int
    modified_ns: int
    digest: str | None
    target: bytes | None


Tree = Mapping[bytes, Expected]


def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """A tool that must succeed; its output is part of the failure otherwise."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done


@contextlib.contextmanager
def mounted(image: Path, folder: Path, options: str = "") -> Generator[Path]:
    """The image's file system, mounted by the kernel, or by ntfs-3g where it has no driver."""
    folder.mkdir(exist_ok=True)
    kind = run("blkid", "-p", "-o", "value", "-s", "TYPE", image).stdout.strip()
    program = "ntfs-3g" if kind == "ntfs" else "mount"
    with loop_device(image) as device:
        run(program, *(["-o", options] if options else []), device, folder)
        try:
            yield folder
        finally:
            run("umount", folder)


def populate(root: Path, *, posix: bool = True, sparse_bytes: int = 40 * MIB) -> None:
    """Names, links, sizes and special files that file systems are known to stumble over."""
    top = os.fsencode(root)
    names = [b"plain.txt", "grüße-日本-🙂".encode(), b"n" * 255, b" leading", b"with\nnewline"]
    if posix:
        names += [
            b"not-utf8-\xff\xfe\x80",
            b'quote"<script>',
            b"back\\slash",
            b"trailing.",
            b"a" * 4,
        ]
    for number, name in enumerate(names):
        _write(top + b"/" + name, _content(number, 1000 + number * 1357))
    for name, size in ((b"empty", 0), (b"tiny", 1), (b"block", 4096), (b"odd", 300_001)):
        _write(top + b"/" + name, _content(size, size))
    os.makedirs(top + b"/deep/" + b"/".join(b"d%d" % level for level in range(30)))
    _write(top + b"/deep/d0/d1/leaf", b"leaf")
    _fragment(top + b"/fragmented")
    _sparse(top + b"/sparse", sparse_bytes)
    _write(top + b"/preallocated", b"x" * 5000)
    with open(top + b"/preallocated", "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 2 * MIB)
        os.pwrite(file.fileno(), b"end", 2 * MIB - 3)
    os.mkdir(top + b"/many")
    for number in range(1500):
        _write(top + b"/many/file-%05d-with-a-rather-long-name" % number, b"%d" % number)
    for number in range(0, 1500, 3):
        os.unlink(top + b"/many/file-%05d-with-a-rather-long-name" % number)
    if posix:
        _posix_only(top)


def _posix_only(top: bytes) -> None:
    os.symlink(b"plain.txt", top + b"/link")
    os.symlink(b"/etc/passwd", top + b"/absolute-link")
    os.symlink(b"loop-b", top + b"/loop-a")
    os.symlink(b"loop-a", top + b"/loop-b")
    os.symlink(b"t" * 900, top + b"/long-link")
    os.mkfifo(top + b"/fifo")
    os.mknod(top + b"/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.link(top + b"/plain.txt", top + b"/hard-link")
    _write(top + b"/setuid", b"#!/bin/sh\n")
    os.chown(top + b"/setuid", 70_000, 80_000)
    os.chmod(top + b"/setuid", 0o6755)  # noqa: S103
    _write(top + b"/old", b"old")
    os.utime(top + b"/old", ns=(-86_400_000_000_000, -86_400_000_000_000))


def snapshot(root: Path) -> dict[bytes, Expected]:
    """Everything below a mounted root, keyed by path relative to it."""
    top = os.fsencode(root)
    found: dict[bytes, Expected] = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            found[path[len(top) + 1 :]] = _expected(path)
    return found


def _expected(path: bytes) -> Expected:
    status = os.lstat(path)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "other")
    return Expected(
        kind=kind,
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        modified_ns=status.st_mtime_ns,
        digest=_digest(path) if kind == "file" else None,
        target=os.readlink(path) if kind == "symlink" else None,
    )


def _digest(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def _write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _content(seed: int, size: int) -> bytes:
    block = hashlib.sha512(b"%d" % seed).digest()
    return (block * (size // len(block) + 1))[:size]


def _fragment(path: bytes) -> None:
    """Two files written by turns with a sync between, one of them deleted again."""
    with open(path, "wb") as file, open(path + b"-other", "wb") as other:
        for number in range(60):
            file.write(_content(number, 8192))
            other.write(bytes(8192))
            for each in (file, other):
                each.flush()
                os.fsync(each.fileno())
    os.unlink(path + b"-other")


def _sparse(path: bytes, size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)
        for place in (0, 5 * MIB + 17, size // 2, size - 100):
            file.seek(place)
            file.write(b"island")


def make(
    image: Path, size: int, *mkfs: str, fill: Callable[[Path], None] | None = None, mount: str = ""
) -> dict[bytes, Expected]:
    """A file system in `image`, filled by `fill`; what the kernel then sees in it.

    The image is no blank disk: what was never written must read as zeroes all the same.
    """
    with image.open("wb") as file:
        for _ in range(size // MIB):
            file.write(b"old data" * (MIB // 8))
        file.truncate(size)
    keep = {"mkfs.xfs": ["-K"], "mkfs.btrfs": ["-K"]}.get(mkfs[0], [])
    if mkfs[0].startswith("mkfs.ext"):
        keep = ["-E", "nodiscard"]
    run(*mkfs, *keep, *(["-f"] if keep == ["-K"] else []), image)
    folder = image.with_suffix(".mnt")
    if fill is not None:
        with mounted(image, folder, mount):
            fill(folder)
    with mounted(image, folder, f"{mount},ro" if mount else "ro"):
        return snapshot(folder)


def place(part: Path, disk: Path, offset: int) -> None:
    """Copy `part` into `disk` at `offset`, keeping holes."""
    run(
        *("dd", f"if={part}", f"of={disk}", "bs=1M", f"seek={offset // MIB}"),
        *("conv=sparse,notrunc", "status=none"),
    )


def gpt_disk(disk: Path, parts: list[Path], sector: int = 512) -> None:
    """Partitions 1..n, each exactly as large as its file system."""
    with disk.open("wb") as file:
        file.truncate(sum(part.stat().st_size for part in parts) + 3 * MIB)
    offset = MIB
    commands = ["mklabel", "gpt"]
    for number, part in enumerate(parts, start=1):
        end = offset + part.stat().st_size
        commands += ["mkpart", f"p{number}", f"{offset}B", f"{end - 1}B"]
        offset = end
    with loop_device(disk, sector) as device:
        run("parted", "-s", "-a", "none", device, *commands)
    offset = MIB
    for part in parts:
        place(part, disk, offset)
        offset += part.stat().st_size


def mbr_disk(disk: Path, primary: Path, logical: list[Path]) -> None:
    """One primary partition, and logical ones (5, 6, ...) in an extended partition 2."""
    with disk.open("wb") as file:
        file.truncate(sum(p.stat().st_size + 2 * MIB for p in [primary, *logical]) + 4 * MIB)
    end = MIB + primary.stat().st_size
    commands = ["mklabel", "msdos", "mkpart", "primary", f"{MIB}B", f"{end - 1}B"]
    commands += ["mkpart", "extended", f"{end}B", "100%"]
    places = [(primary, MIB)]
    for part in logical:
        start = end + MIB
        end = start + part.stat().st_size
        commands += ["mkpart", "logical", f"{start}B", f"{end - 1}B"]
        places.append((part, start))
    run("parted", "-s", "-a", "none", disk, *commands)
    for part, offset in places:
        place(part, disk, offset)


@contextlib.contextmanager
def loop_device(image: Path, sector: int = 512) -> Generator[str]:
    """A loop device over the image. Free ones are found and taken in two steps, so several test
    runs at once may be given the same: the one that loses asks again."""
    device = _take_loop(image, sector)
    try:
        yield device
    finally:
        run("losetup", "-d", device)


def _take_loop(image: Path, sector: int) -> str:
    command = ("losetup", "-f", "--show", "-b", str(sector), image)
    for _ in range(_LOOP_ATTEMPTS):
        with contextlib.suppress(AssertionError):
            return run(*command).stdout.strip()
    return run(*command).stdout.strip()


_LVM_CONFIG = (
    "global{activation=0 use_lvmpolld=0} backup{backup=0 archive=0} devices{use_devicesfile=0}"
)
"""Without activation LVM writes its metadata but needs no device-mapper, which is absent here."""


def lvm_disks(
    disks: list[Path],
    sizes: list[int],
    volumes: Mapping[str, LogicalVolume],
) -> str:
    """A volume group over whole disks with these volumes; returns its name. The contents are
    copied to where LVM's own report says that the extents are."""
    group = f"vg{os.urandom(4).hex()}"
    devices: dict[str, Path] = {}
    with contextlib.ExitStack() as opened:
        for disk, size in zip(disks, sizes, strict=True):
            with disk.open("wb") as file:
                file.truncate(size)
            devices[opened.enter_context(loop_device(disk))] = disk
        only = ["--devices", ",".join(devices), "--config", _LVM_CONFIG]
        run("pvcreate", "-q", *only, *devices)
        run("vgcreate", "-q", *only, "-s", "4m", group, *devices)
        for name, volume in volumes.items():
            size = f"{volume.contents.stat().st_size}b"
            made = ["-an", "-Zn", "-Wn", "-y", "-L", size, "-n", name, *volume.options]
            run("lvcreate", "-q", *only, *made, group)
        fields = "lv_name,seg_start,seg_size,stripe_size,seg_pe_ranges"
        units = ["--units", "b", "--nosuffix", "--reportformat", "json"]
        report = run("lvs", *only, *units, "--segments", "-o", fields, group).stdout
        run("sync", *devices)
    for segment in json.loads(report)["report"][0]["seg"]:
        _fill_segment(segment, volumes[segment["lv_name"]].contents, devices)
    return group


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalVolume:
    contents: Path
    options: tuple[str, ...] = ()


def _fill_segment(segment: Mapping[str, str], contents: Path, devices: Mapping[str, Path]) -> None:
    areas: list[tuple[Path, int]] = []
    for text in segment["seg_pe_ranges"].split():
        device, _, extents = text.rpartition(":")
        areas.append((devices[device], MIB + int(extents.split("-")[0]) * 4 * MIB))
    start, length = int(segment["seg_start"]), int(segment["seg_size"])
    step = int(segment["stripe_size"]) if len(areas) > 1 else length
    with contents.open("rb") as source:
        for index in range(length // step):
            row, column = divmod(index, len(areas))
            disk, offset = areas[column]
            source.seek(start + index * step)
            data = source.read(step)
            with disk.open("r+b") as target:
                target.seek(offset + row * step)
                target.write(data)
