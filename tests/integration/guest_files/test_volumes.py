"""Whole disks, partition tables, logical volumes and volumes over several disks."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.restore.guest_files.errors import GuestFileDamaged
from tests.integration.guest_files.comparison import assert_equal, guest_files
from tests.support.filesystems import (
    MIB,
    Expected,
    LogicalVolume,
    gpt_disk,
    loop_device,
    lvm_disks,
    make,
    mbr_disk,
    mounted,
    place,
    run,
    snapshot,
)


def _fill(root: Path, *, text: str) -> None:
    (root / "folder").mkdir()
    for number in range(20):
        (root / "folder" / f"{text}-{number}").write_bytes(os.urandom(5000 * number))


def _part(folder: Path, name: str, kind: str, size: int) -> tuple[Path, dict[bytes, Expected]]:
    mkfs = {"ext4": ("mkfs.ext4", "-q", "-L", name), "xfs": ("mkfs.xfs", "-q", "-L", name)}[kind]
    image = folder / f"{name}.part"
    fill: Callable[[Path], None] = functools.partial(_fill, text=name)
    return image, make(image, size, *mkfs, fill=fill)


@pytest.mark.parametrize("sector", [512, 4096])
def test_gpt(tmp_path: Path, sector: int) -> None:
    one, expected_one = _part(tmp_path, "one", "ext4", 24 * MIB)
    two, expected_two = _part(tmp_path, "two", "ext4", 17 * MIB + 4096)
    disk = tmp_path / "disk"
    gpt_disk(disk, [one, two], sector)
    with guest_files({"vda": disk}) as guest:
        volumes = guest.volumes()
        assert [(v.id, v.label, v.filesystem) for v in volumes] == [
            ("vda1", b"one", "ext4"),
            ("vda2", b"two", "ext4"),
        ]
        # The last sector belongs to the partition.
        assert [v.size_bytes for v in volumes] == [24 * MIB, 17 * MIB + 4096]
        assert_equal(guest, "vda1", expected_one)
        assert_equal(guest, "vda2", expected_two)


def test_gpt_from_its_backup_when_the_first_sectors_are_gone(tmp_path: Path) -> None:
    one, expected = _part(tmp_path, "one", "ext4", 24 * MIB)
    disk = tmp_path / "disk"
    gpt_disk(disk, [one])
    with disk.open("r+b") as file:
        file.write(bytes(34 * 512))
    with guest_files({"vda": disk}) as guest:
        assert_equal(guest, "vda1", expected)


def test_mbr_with_logical_partitions_numbered_as_linux_does(tmp_path: Path) -> None:
    parts = [_part(tmp_path, name, "ext4", 20 * MIB) for name in ("a", "b", "c", "d")]
    disk = tmp_path / "disk"
    mbr_disk(disk, parts[0][0], [part for part, _ in parts[1:]])
    with guest_files({"nvme0n1": disk}) as guest:
        ids = [volume.id for volume in guest.volumes()]
        assert ids == ["nvme0n1p1", "nvme0n1p5", "nvme0n1p6", "nvme0n1p7"]
        for identity, (_, expected) in zip(ids, parts, strict=True):
            assert_equal(guest, identity, expected)


def test_mbr_whose_extended_records_form_a_loop(tmp_path: Path) -> None:
    parts = [_part(tmp_path, name, "ext4", 20 * MIB) for name in ("a", "b", "c")]
    disk = tmp_path / "disk"
    mbr_disk(disk, parts[0][0], [part for part, _ in parts[1:]])
    with disk.open("r+b") as file:
        # Let the second extended record's link point at itself: 21 MiB behind the first.
        file.seek(21 * MIB + 462 + 8)
        link = file.read(4)
        file.seek(21 * MIB + int.from_bytes(link, "little") * 512 + 462)
        file.write(bytes([0, 0, 0, 0, 5, 0, 0, 0]) + link + b"\x01\0\0\0")
    with guest_files({"vda": disk}) as guest:
        assert [volume.id for volume in guest.volumes()] == ["vda1", "vda5", "vda6"]
        assert_equal(guest, "vda1", parts[0][1])


@pytest.mark.skipif(shutil.which("pvcreate") is None, reason="not installed: lvm2")
def test_volume_group_over_two_disks(tmp_path: Path) -> None:
    root, expected_root = _part(tmp_path, "root", "xfs", 320 * MIB)
    striped, expected_striped = _part(tmp_path, "striped", "ext4", 40 * MIB)
    disks = [tmp_path / "pv1", tmp_path / "pv2"]
    volumes = {
        "str-iped": LogicalVolume(contents=striped, options=("-i", "2", "-I", "64k")),
        "root": LogicalVolume(contents=root),
    }
    group = lvm_disks(disks, [260 * MIB, 260 * MIB], volumes)
    with guest_files({"vda": disks[0], "vdb": disks[1]}) as guest:
        assert {v.id for v in guest.volumes()} == {f"{group}-root", f"{group}-str-iped"}
        assert_equal(guest, f"{group}-root", expected_root)
        assert_equal(guest, f"{group}-str-iped", expected_striped)
    with guest_files({"vda": disks[0]}) as guest:
        problems = {volume.id: volume.error for volume in guest.volumes()}
        assert "not among the disks" in problems[f"{group}-root"]


@pytest.mark.skipif(shutil.which("mcopy") is None, reason="not installed: mtools")
@pytest.mark.parametrize("bits", [12, 16, 32])
def test_fat(tmp_path: Path, bits: int) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate({12: 2, 16: 32, 32: 80}[bits] * MIB)
    run("mkfs.vfat", "-F", str(bits), "-s", "1", "-n", "EFI", image)
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    contents = {
        b"lower.txt": b"lower",
        b"UPPER.TXT": b"upper",
        b"Mixed Case Name.text": b"mixed",
        "grüße-日本.txt".encode(): b"unicode",
        b"thirteen.char": b"no padding behind the name",
        b"l" * 200: os.urandom(100_000),
        b"sub/inner": os.urandom(3000),
        b"empty": b"",
    }
    for name, content in contents.items():
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(content)
    environment = {"MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin"}
    items = [source / name for name in os.listdir(source)]
    run("mcopy", "-s", "-m", "-i", image, *items, "::", env=environment)
    # Holes between old files make the next one fragmented.
    fragmented = os.urandom(60_000)
    for number in range(40):
        (tmp_path / f"f{number}").write_bytes(os.urandom(1500))
    run("mcopy", "-i", image, *(tmp_path / f"f{n}" for n in range(40)), "::", env=environment)
    run("mdel", "-i", image, *(f"::f{n}" for n in range(1, 40, 2)), env=environment)
    (tmp_path / "pieces").write_bytes(fragmented)
    run("mcopy", "-i", image, tmp_path / "pieces", "::", env=environment)
    contents[b"pieces"] = fragmented
    with guest_files({"vda": image}) as guest:
        volume = guest.volumes()[0]
        assert (volume.filesystem, volume.label) == ("vfat", b"EFI")
        names = {entry.name for entry in guest.list(b"/vda").entries}
        assert {name for name in contents if b"/" not in name} <= names
        assert len(names) == 8 + 20 + 1
        for name, content in contents.items():
            file = guest.open(b"/vda/" + name)
            assert file.read(0, file.size_bytes) == content, name


def test_btrfs_subvolumes_snapshots_and_two_devices(tmp_path: Path) -> None:
    images = [tmp_path / "one", tmp_path / "two"]
    for image in images:
        with image.open("wb") as file:
            file.truncate(256 * MIB)
    with loop_device(images[0]) as first, loop_device(images[1]) as second:
        run("mkfs.btrfs", "-q", "-d", "raid0", "-m", "raid1", first, second)
        run("btrfs", "device", "scan", first, second)
        folder = tmp_path / "mnt"
        folder.mkdir()
        run("mount", first, folder)
        try:
            run("btrfs", "subvolume", "create", folder / "@")
            _fill(folder / "@", text="base")
            run("btrfs", "subvolume", "create", folder / "@" / "nested")
            (folder / "@" / "nested" / "inner").write_bytes(b"inner")
            run("btrfs", "subvolume", "snapshot", "-r", folder / "@", folder / "@/nested/snap")
            (folder / "@" / "after").write_bytes(os.urandom(3_000_000))
            run("sync", "-f", folder)
            expected = snapshot(folder)
        finally:
            run("umount", folder)
    with guest_files({"vda": images[0], "vdb": images[1]}) as guest:
        # A snapshot's own copy of a nested subvolume is an empty folder without an inode.
        empty = b"@/nested/snap/nested"
        for volume in ("vda", "vdb"):
            assert guest.list(f"/{volume}/".encode() + empty).total == 0
        seen = {
            found.path: found
            for found in guest.walk(b"/vda")
            if getattr(found, "path", None)  # nothing unreadable
        }
        assert len(seen) == len(expected)
        for path, wanted in expected.items():
            if wanted.kind == "file":
                file = guest.open(b"/vda/" + path)
                assert file.size_bytes == wanted.size
        assert guest.open(b"/vda/@/after").size_bytes == 3_000_000
    with guest_files({"vda": images[0]}) as guest:
        assert guest.volumes()[0].error == ""
        with pytest.raises(GuestFileDamaged, match="Missing stripe disk"):
            guest.list(b"/vda")


def test_a_file_system_below_a_partition_table_is_offered_too(tmp_path: Path) -> None:
    whole, expected_whole = _part(tmp_path, "whole", "ext4", 64 * MIB)
    part, expected_part = _part(tmp_path, "part", "ext4", 16 * MIB)
    commands = ("mklabel", "msdos", "mkpart", "primary", f"{40 * MIB}B", f"{56 * MIB - 1}B")
    boot = tmp_path / "boot"
    with boot.open("wb") as file:
        file.truncate(64 * MIB)
    run("parted", "-s", "-a", "none", boot, *commands)
    with whole.open("r+b") as file:
        file.write(boot.read_bytes()[:512])
    place(part, whole, 40 * MIB)
    with guest_files({"vda": whole}) as guest:
        assert [volume.id for volume in guest.volumes()] == ["vda", "vda1"]
        assert_equal(guest, "vda1", expected_part)
        assert guest.list(b"/vda").total == len([p for p in expected_whole if b"/" not in p])


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    swap, luks, noise = tmp_path / "swap", tmp_path / "luks", tmp_path / "noise"
    for image in (swap, luks, noise):
        with image.open("wb") as file:
            file.truncate(MIB)
    subprocess.run(["/usr/sbin/mkswap", str(swap)], check=True, capture_output=True)
    luks.write_bytes(b"LUKS\xba\xbe\0\2" + bytes(MIB - 8))
    noise.write_bytes(os.urandom(510) + bytes(MIB - 510))
    with guest_files({"a": swap, "b": luks, "c": noise}) as guest:
        errors = {volume.id: volume.error for volume in guest.volumes()}
    assert errors == {
        "a": "swap space holds no files",
        "b": "encrypted with LUKS",
        "c": "no known file system",
    }


def test_a_volume_in_use_when_captured_says_so(tmp_path: Path) -> None:
    image, copy = tmp_path / "image", tmp_path / "copy"
    make(image, 64 * MIB, "mkfs.ext4", "-q")
    with mounted(image, tmp_path / "mnt") as root:
        (root / "new").write_bytes(b"new")
        run("sync", "-f", root)
        shutil.copyfile(image, copy)
    with guest_files({"vda": image, "vdb": copy}) as guest:
        clean, used = guest.volumes()
        assert not clean.notes
        assert "in use" in used.notes[0]
