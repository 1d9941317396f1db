"""Hostile and damaged guests: nothing escapes, nothing hangs, one bad part hides no other."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.core.extents import Extent
from holdfast.restore.guest_files.archive import ArchiveFormat, write_archive
from holdfast.restore.guest_files.entries import FileType, Found, Unreadable
from holdfast.restore.guest_files.errors import (
    GuestFileDamaged,
    GuestFileKindMismatch,
    GuestFileNotFound,
    GuestFileUnsupported,
    GuestPathRefused,
    GuestReaderExhausted,
    GuestReaderFailed,
    GuestReaderTimedOut,
)
from holdfast.restore.guest_files.reader_process import ReaderLimits
from holdfast.restore.guest_files.session import GuestFiles, open_guest_files
from tests.integration.guest_files.comparison import guest_files
from tests.support.file_block_source import FileBlockSource
from tests.support.filesystems import MIB, make, mounted, populate, run

TYPED = (
    GuestFileDamaged,
    GuestFileKindMismatch,
    GuestFileNotFound,
    GuestFileUnsupported,
    GuestReaderExhausted,
    GuestReaderFailed,
    GuestReaderTimedOut,
)
MKFS = {
    "ext4": (48, ("mkfs.ext4", "-q", "-b", "1024")),
    "ext2": (48, ("mkfs.ext2", "-q", "-b", "1024")),
    "xfs": (320, ("mkfs.xfs", "-q")),
    "btrfs": (128, ("mkfs.btrfs", "-q")),
    "ntfs": (48, ("mkfs.ntfs", "-Q", "-F", "-q")),
}
TRIALS = 10


class DamagedBlockSource(FileBlockSource):
    """An image whose bytes differ at some places; the file itself is not touched."""

    def __init__(self, path: Path, changes: dict[int, int]) -> None:
        super().__init__(path)
        self._changes = sorted(changes.items())

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(super().read(offset, length))
        for place, value in self._changes:
            if offset <= place < offset + length:
                data[place - offset] = value
        return bytes(data)

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        yield Extent(offset=offset, length=length)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("damage")
    made: dict[str, Path] = {}
    for name, (size, mkfs) in MKFS.items():
        made[name] = folder / name
        make(made[name], size * MIB, *mkfs, fill=lambda root, n=name: _small_tree(root, n))
    return made


def _small_tree(root: Path, name: str) -> None:
    populate(root, posix=name != "ntfs", sparse_bytes=2 * MIB)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other disk of the point, which must stay readable whatever happens to the first."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "source").mkdir()
    (folder / "source" / "file").write_bytes(b"sound")
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(4 * MIB)
    run("mkfs.ext4", "-q", "-d", folder / "source", image)
    return image


def _metadata_places(image: Path, name: str) -> list[int]:
    """Blocks in use that are likely metadata: not the repeated content of the test files."""
    limit = {"xfs": 320, "btrfs": 128}.get(name, 48) * MIB
    places: list[int] = []
    with image.open("rb") as file:
        for offset in range(0, limit, 4096):
            block = file.read(4096)
            if block.count(0) > 200 and any(block):
                places.append(offset)
    return places


@pytest.mark.parametrize("name", MKFS)
def test_random_damage_never_hangs_or_hides_the_other_disk(
    name: str, images: dict[str, Path], sound: Path
) -> None:
    places = _metadata_places(images[name], name)
    limits = ReaderLimits(request_s=10, address_space_bytes=400 * MIB)
    for seed in range(TRIALS):
        generator = random.Random(f"{name}{seed}")
        changes: dict[int, int] = {}
        for place in generator.sample(places, min(len(places), 12)):
            for _ in range(generator.choice((1, 8, 64))):
                changes[place + generator.randrange(4096)] = generator.randrange(256)
        sources = {"a": DamagedBlockSource(images[name], changes), "z": FileBlockSource(sound)}
        began = time.monotonic()
        with open_guest_files(sources, limits=limits) as guest:
            _look_everywhere(guest)
            assert guest.open(b"/z/file").read(0, 10) == b"sound", seed
        assert time.monotonic() - began < 40, seed
        for source in sources.values():
            source.close()


def _look_everywhere(guest: GuestFiles) -> None:
    files: list[bytes] = []
    for volume in guest.volumes():
        path = f"/{volume.id}".encode()
        try:
            for item in guest.walk(path):
                if isinstance(item, Found) and item.path and item.entry.type is FileType.FILE:
                    files.append(item.path)
        except TYPED:
            continue
    for path in files[:: max(1, len(files) // 25)]:
        try:
            guest.open(path).read(0, 200_000)
        except TYPED:
            continue


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """ext4 with `../` and worse as names of directory entries, made with debugfs."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 * MIB)
    run("mkfs.ext4", "-q", "-O", "^metadata_csum,^dir_index", image)
    content = tmp_path / "content"
    content.write_bytes(b"x")
    names = {
        b"AAAAAAAAAAAA": b"../../../etc",
        b"QQevilQQ": b'<b>\n\xff"/x',
        b"BB": b"..",
        b"C": b".",
        b"DDDDDDDDDDD": b"/etc/passwd",
        b"EEEE": b"nul\0",
    }
    for name in [*names, b"norm.txt"]:
        run("debugfs", "-w", "-R", f"write {content} {name.decode()}", image)
    data = bytearray(image.read_bytes())
    for old, new in names.items():
        # The entry's name length and type stand before its name.
        place = data.find(bytes([len(old), 1]) + old)
        assert place > 0, old
        data[place + 2 : place + 2 + len(old)] = new
    image.write_bytes(data)
    return image


def test_hostile_names_are_shown_and_never_used(hostile: Path, tmp_path: Path) -> None:
    with guest_files({"vda": hostile}) as guest:
        entries = {entry.name: entry for entry in guest.list(b"/vda").entries}
        for name in (b"../../../etc", b'<b>\n\xff"/x', b"..", b".", b"/etc/passwd", b"nul\0"):
            assert entries[name].error is not None and "unsafe" in entries[name].error
        assert entries[b"norm.txt"].error is None
        assert guest.open(b"/vda/norm.txt").read(0, 10) == b"x"
        for path in (b"/vda/../../../etc", b"/vda/..", b"/vda/.", b"/vda/nul\0", b"relative"):
            with pytest.raises(GuestPathRefused):
                guest.open(path)
        found = [item for item in guest.walk(b"/vda") if isinstance(item, Found)]
        assert len([item for item in found if item.path is None]) == 6
        for archive_format in ArchiveFormat:
            archive = tmp_path / archive_format.value
            with archive.open("wb") as output:
                report = write_archive(guest, [b"/vda"], output, archive_format=archive_format)
            assert report.files == 1
            assert report.error_count == 6


def test_one_bad_directory_hides_no_other(tmp_path: Path) -> None:
    image = tmp_path / "image"

    def fill(root: Path) -> None:
        for folder in ("bad", "good"):
            (root / folder).mkdir()
            for number in range(50):
                (root / folder / f"{folder}{number}").write_bytes(b"x" * number)

    make(image, 16 * MIB, "mkfs.ext4", "-q", fill=fill)
    data = bytearray(image.read_bytes())
    place = data.find(b"bad0") - 8
    data[place + 4 : place + 6] = b"\x03\x00"  # a record length that cannot be
    image.write_bytes(data)
    with guest_files({"vda": image}) as guest:
        items = list(guest.walk(b"/vda"))
        assert [i.path for i in items if isinstance(i, Unreadable)] == [b"/vda/bad"]
        good = [i for i in items if isinstance(i, Found) and i.folder == b"/vda/good"]
        assert len(good) == 50
        with pytest.raises(GuestFileDamaged):
            guest.list(b"/vda/bad/none")


def test_a_directory_that_contains_itself_is_entered_once(tmp_path: Path) -> None:
    image = tmp_path / "image"

    def fill(root: Path) -> None:
        (root / "outer" / "inner").mkdir(parents=True)
        (root / "outer" / "inner" / "file").write_bytes(b"x")

    make(image, 8 * MIB, "mkfs.ext4", "-q", "-O", "^metadata_csum", fill=fill)
    with mounted(image, tmp_path / "mnt", "ro") as root:
        outer = (root / "outer").stat().st_ino
        inner = (root / "outer" / "inner").stat().st_ino
    data = image.read_bytes()
    # The directory's block is there twice: in its place and in the journal.
    pattern = re.escape(inner.to_bytes(4, "little")) + rb"(..\x05\x02inner)"
    data, count = re.subn(pattern, lambda m: outer.to_bytes(4, "little") + m[1], data, flags=re.S)
    assert count
    image.write_bytes(data)
    with guest_files({"vda": image}) as guest:
        items = list(guest.walk(b"/vda"))
    problems = [item for item in items if isinstance(item, Unreadable)]
    assert [(p.path, "itself" in p.error) for p in problems] == [(b"/vda/outer/inner", True)]
    assert len(items) < 10


def test_symbolic_links_are_followed_on_request_inside_their_volume_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "etc").mkdir(parents=True)
    (source / "etc" / "real").write_bytes(b"guest's own")
    (source / "absolute").symlink_to("/etc/real")
    (source / "climbing").symlink_to("../../../../../etc/real")
    (source / "folder").symlink_to("etc")
    (source / "a").symlink_to("b")
    (source / "b").symlink_to("a")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 * MIB)
    run("mkfs.ext4", "-q", "-d", source, image)
    with guest_files({"vda": image}) as guest:
        for path in (b"/vda/absolute", b"/vda/climbing", b"/vda/folder/real"):
            assert guest.open(path, follow=True).read(0, 20) == b"guest's own"
        with pytest.raises(GuestFileKindMismatch):
            guest.open(b"/vda/absolute")
        with pytest.raises(GuestFileKindMismatch):
            guest.open(b"/vda/folder/real")
        with pytest.raises(GuestFileDamaged, match="symbolic links"):
            guest.stat(b"/vda/a", follow=True)


def test_errors_of_the_repository_reach_the_caller_unchanged(sound: Path) -> None:
    class Broken(HoldfastError):
        code = "broken"

    class BrokenSource(FileBlockSource):
        broken = False

        def read(self, offset: int, length: int) -> bytes:
            if self.broken:
                raise Broken
            return super().read(offset, length)

    source = BrokenSource(sound)
    with open_guest_files({"vda": source}) as guest:
        guest.volumes()
        source.broken = True
        with pytest.raises(Broken):
            guest.open(b"/vda/file")
        source.broken = False
        assert guest.open(b"/vda/file").read(0, 10) == b"sound"
    source.close()
