"""Archives and saved files hold what the kernel saw, and only harmless names."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from holdfast.core.errors import TargetExists
from holdfast.restore.guest_files.archive import ArchiveFormat, write_archive
from holdfast.restore.guest_files.errors import GuestFileNotFound
from holdfast.restore.guest_files.save import new_file, save_file
from tests.integration.guest_files.comparison import guest_files
from tests.support.filesystems import MIB, Expected, make, populate, run


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[bytes, Expected]]:
    image = tmp_path_factory.mktemp("archive") / "image"
    expected = make(image, 96 * MIB, "mkfs.ext4", "-q", fill=populate)
    return image, expected


def _archive(image: Path, paths: list[bytes], archive_format: ArchiveFormat) -> tuple[bytes, int]:
    output = io.BytesIO()
    with guest_files({"vda": image}) as guest:
        report = write_archive(guest, paths, output, archive_format=archive_format)
    assert report.error_count == 0, report.errors
    return output.getvalue(), report.skipped


def _tar(compressed: bytes) -> tarfile.TarFile:
    plain = zstandard.ZstdDecompressor().stream_reader(compressed).read()
    return tarfile.open(
        fileobj=io.BytesIO(plain), encoding="utf-8", errors="surrogateescape", mode="r:"
    )


def test_tar_holds_every_name_attribute_and_byte(disk: tuple[Path, dict[bytes, Expected]]) -> None:
    image, expected = disk
    data, skipped = _archive(image, [b"/vda"], ArchiveFormat.TAR_ZST)
    assert skipped == 2  # the FIFO and the device
    tar = _tar(data)
    members = {os.fsencode(member.name): member for member in tar.getmembers()}
    wanted = {b"vda/" + path: each for path, each in expected.items() if each.kind != "other"}
    assert set(members) == {*wanted, b"vda"}
    kinds = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}
    for path, each in wanted.items():
        member = members[path]
        assert member.type == kinds[each.kind], path
        assert (member.mode, member.uid, member.gid) == (each.mode, each.uid, each.gid), path
        assert abs(member.mtime * 1e9 - each.modified_ns) < 1000, path
        if each.kind == "symlink":
            assert os.fsencode(member.linkname) == each.target
        if each.digest is not None:
            content = tar.extractfile(member)
            assert content is not None
            assert hashlib.file_digest(content, "sha1").hexdigest() == each.digest, path


def test_gnu_tar_takes_it(disk: tuple[Path, dict[bytes, Expected]], tmp_path: Path) -> None:
    image, expected = disk
    data, _ = _archive(image, [b"/vda"], ArchiveFormat.TAR_ZST)
    archive = tmp_path / "a.tar"
    archive.write_bytes(zstandard.ZstdDecompressor().stream_reader(data).read())
    target = tmp_path / "out"
    target.mkdir()
    run("tar", "-xf", archive, "-C", target)
    top = os.fsencode(target) + b"/vda/"
    for path, each in expected.items():
        if each.kind != "other":
            status = os.lstat(top + path)
            assert stat.S_IMODE(status.st_mode) == each.mode, path
            if each.kind != "directory":
                assert status.st_mtime_ns == each.modified_ns, path


def test_the_same_point_gives_the_same_archive(disk: tuple[Path, dict[bytes, Expected]]) -> None:
    image, _ = disk
    for archive_format in ArchiveFormat:
        paths = [b"/vda/deep", b"/vda/many", b"/vda/odd"]
        first, _ = _archive(image, paths, archive_format)
        assert first == _archive(image, paths, archive_format)[0]


def test_names_begin_with_the_chosen_folder_or_with_the_volume(
    disk: tuple[Path, dict[bytes, Expected]],
) -> None:
    image, _ = disk
    one, _ = _archive(image, [b"/vda/deep/d0/d1"], ArchiveFormat.TAR_ZST)
    assert {"d1", "d1/leaf"} <= set(_tar(one).getnames())
    several, _ = _archive(image, [b"/vda/deep/d0/d1/leaf", b"/vda/tiny"], ArchiveFormat.TAR_ZST)
    assert _tar(several).getnames() == ["vda/deep/d0/d1/leaf", "vda/tiny"]


def test_zip_holds_every_byte_under_safe_names(
    disk: tuple[Path, dict[bytes, Expected]], tmp_path: Path
) -> None:
    image, expected = disk
    data, _ = _archive(image, [b"/vda"], ArchiveFormat.ZIP)
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    names = archive.namelist()
    assert len(names) == len({name.casefold() for name in names})
    assert len(names) == 1 + sum(each.kind != "other" for each in expected.values())
    for name in names:
        assert "\\" not in name and ":" not in name and not name.startswith("/")
        assert not any(part in ("", ".", "..") for part in name.rstrip("/").split("/"))
        assert name.isprintable()
    digests = {
        hashlib.sha1(archive.read(info), usedforsecurity=False).hexdigest()
        for info in archive.infolist()
        if stat.S_ISREG(info.external_attr >> 16)
    }
    assert digests == {each.digest for each in expected.values() if each.digest}
    link = archive.getinfo("vda/link")
    assert stat.S_ISLNK(link.external_attr >> 16)
    assert archive.read(link) == b"plain.txt"
    assert not any(info.external_attr >> 16 & 0o7000 for info in archive.infolist())


def test_zip_keeps_names_apart_that_differ_by_case_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "Folder").mkdir(parents=True)
    (source / "folder").mkdir()
    for name in ("Folder/A", "Folder/a", "folder/A", "x:y", "x_y", "CON. "):
        (source / name).write_text(name)
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 * MIB)
    run("mkfs.ext4", "-q", "-d", source, image)
    data, _ = _archive(image, [b"/vda"], ArchiveFormat.ZIP)
    archive = zipfile.ZipFile(io.BytesIO(data))
    texts = {info.filename: archive.read(info) for info in archive.infolist()}
    assert {name: text for name, text in texts.items() if text} == {
        "vda/CON._": b"CON. ",
        "vda/Folder/A": b"Folder/A",
        "vda/Folder/a~2": b"Folder/a",
        "vda/folder~2/A": b"folder/A",
        "vda/x_y": b"x:y",
        "vda/x_y~2": b"x_y",
    }


def test_what_is_damaged_is_reported_and_the_rest_is_there(tmp_path: Path) -> None:
    image = tmp_path / "image"

    def fill(root: Path) -> None:
        (root / "large").write_bytes((b"large" * MIB)[: 3 * MIB])
        (root / "other").write_bytes(os.urandom(3 * MIB))
        (root / "sound").write_bytes(b"sound")

    make(image, 24 * MIB, "mkfs.ext2", "-q", "-b", "1024", fill=fill)
    # One pointer leads outside the volume, in the second MiB of the file.
    place = int(run("debugfs", "-R", "bmap large 2000", image).stdout)
    pointers = struct.pack("<II", place - 1, place)
    data = image.read_bytes()
    assert pointers in data
    image.write_bytes(data.replace(pointers, struct.pack("<II", place - 1, 4_000_000)))
    run("debugfs", "-w", "-R", "sif other block[DIND] 4000000", image)
    output = io.BytesIO()
    with guest_files({"vda": image}) as guest:
        report = write_archive(guest, [b"/vda"], output, archive_format=ArchiveFormat.TAR_ZST)
    assert [problem.path for problem in report.errors] == [b"/vda/large", b"/vda/other"]
    assert "filled with zeroes from byte 1048576" in report.errors[0].error
    tar = _tar(output.getvalue())
    assert "vda/other" not in tar.getnames()
    stored = tar.extractfile("vda/large")
    assert stored is not None
    content = stored.read()
    assert (content[:MIB], any(content[MIB:])) == (b"large" * (MIB // 5) + b"l", False)
    assert len(content) == 3 * MIB
    sound = tar.extractfile("vda/sound")
    assert sound is not None
    assert sound.read() == b"sound"


def test_a_path_that_is_not_there_writes_nothing(disk: tuple[Path, dict[bytes, Expected]]) -> None:
    output = io.BytesIO()
    with guest_files({"vda": disk[0]}) as guest, pytest.raises(GuestFileNotFound):
        write_archive(guest, [b"/vda/tiny", b"/vda/none"], output, archive_format=ArchiveFormat.ZIP)
    assert output.getvalue() == b""


def test_saving_one_file(disk: tuple[Path, dict[bytes, Expected]], tmp_path: Path) -> None:
    image, expected = disk
    with guest_files({"vda": image}) as guest:
        sparse = save_file(guest.open(b"/vda/sparse"), tmp_path / "sparse")
        setuid = save_file(guest.open(b"/vda/setuid"), tmp_path)
        strange = save_file(guest.open(b"/vda/not-utf8-\xff\xfe\x80"), tmp_path)
        existing = tmp_path / "existing"
        existing.write_text("mine")
        with pytest.raises(TargetExists):
            save_file(guest.open(b"/vda/tiny"), existing)
        assert existing.read_text() == "mine"
        outside = tmp_path / "outside"
        outside.write_text("outside")
        existing.unlink()
        existing.symlink_to(outside)
        with pytest.raises(TargetExists):
            save_file(guest.open(b"/vda/tiny"), existing)
        save_file(guest.open(b"/vda/tiny"), existing, overwrite=True)
        assert outside.read_text() == "outside"  # the link was replaced, not followed
        assert not existing.is_symlink()
    with sparse.open("rb") as file:
        assert hashlib.file_digest(file, "sha1").hexdigest() == expected[b"sparse"].digest
    status = sparse.stat()
    assert status.st_blocks * 512 < status.st_size / 2
    assert status.st_mtime_ns == expected[b"sparse"].modified_ns
    assert setuid == tmp_path / "setuid"
    assert stat.S_IMODE(setuid.stat().st_mode) == 0o755
    assert setuid.stat().st_uid == os.geteuid()
    assert strange.parent == tmp_path and strange.name.isprintable()
    assert not list(tmp_path.glob(".holdfast-*"))


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_file(tmp_path / "file") as output:
        output.write(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_destination_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with pytest.raises(TargetExists), new_file(target) as output:
        output.write(b"ours")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
