"""Each file system, filled by the kernel, reads back equal to the last attribute and byte."""

from __future__ import annotations

import functools
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.guest_files.comparison import assert_equal, guest_files
from tests.support.filesystems import MIB, make, populate

Case = tuple[int, tuple[str, ...], str, bool, int]

CASES: dict[str, Case] = {
    "ext4": (96, ("mkfs.ext4", "-q"), "", True, 4200 * MIB),
    "ext4-1k-no-checksums": (
        *(96, ("mkfs.ext4", "-q", "-b", "1024", "-O", "^metadata_csum,^64bit")),
        *("", True, 40 * MIB),
    ),
    "ext4-inline-data": (96, ("mkfs.ext4", "-q", "-O", "inline_data"), "", True, 40 * MIB),
    "ext3-small-inodes": (96, ("mkfs.ext3", "-q", "-I", "128"), "", True, 40 * MIB),
    "ext2-1k": (96, ("mkfs.ext2", "-q", "-b", "1024"), "", True, 40 * MIB),
    "xfs": (320, ("mkfs.xfs", "-q"), "", True, 40 * MIB),
    "xfs-large-directory-blocks": (320, ("mkfs.xfs", "-q", "-n", "size=16384"), "", True, 40 * MIB),
    "btrfs": (256, ("mkfs.btrfs", "-q"), "", True, 40 * MIB),
    "btrfs-zstd": (256, ("mkfs.btrfs", "-q"), "compress-force=zstd", True, 40 * MIB),
    "btrfs-zlib": (256, ("mkfs.btrfs", "-q"), "compress-force=zlib", True, 40 * MIB),
    "btrfs-lzo": (256, ("mkfs.btrfs", "-q"), "compress-force=lzo", True, 40 * MIB),
    "ntfs": (96, ("mkfs.ntfs", "-Q", "-F", "-q"), "", False, 40 * MIB),
}


@pytest.mark.parametrize("name", CASES)
def test_every_path_attribute_and_byte(name: str, tmp_path: Path) -> None:
    size, mkfs, options, posix, sparse = CASES[name]
    if shutil.which(mkfs[0]) is None:
        pytest.skip(f"not installed: {mkfs[0]}")
    fill: Callable[[Path], None] = functools.partial(populate, posix=posix, sparse_bytes=sparse)
    image = tmp_path / "image"
    expected = make(image, size * MIB, *mkfs, fill=fill, mount=options)
    with guest_files({"vda": image}) as guest:
        volume = guest.volumes()[0]
        assert (volume.id, volume.error) == ("vda", "")
        assert_equal(guest, "vda", expected, owners=posix)


def test_ntfs_contents_that_were_allocated_but_never_written_are_zeroes(tmp_path: Path) -> None:
    image = tmp_path / "image"

    def fill(root: Path) -> None:
        (root / "file").write_bytes(b"secret of another file" * 5000)

    make(image, 16 * MIB, "mkfs.ntfs", "-Q", "-F", "-q", fill=fill)
    data = image.read_bytes()
    lengths = struct.pack("<QQ", 110_000, 110_000)  # file size, and how much of it is valid
    assert lengths in data
    image.write_bytes(data.replace(lengths, struct.pack("<QQ", 110_000, 50_000)))
    with guest_files({"vda": image}) as guest:
        content = guest.open(b"/vda/file").read(0, 200_000)
    assert content[:50_000] == (b"secret of another file" * 5000)[:50_000]
    assert content[50_000:] == bytes(60_000)
