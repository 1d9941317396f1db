"""Every way to read a raw image gives the same bytes and the same errors: through the page cache
without staying in it, past it, and through it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.core.memory import page_area
from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.errors import SourceReadFailed
from holdfast.hypervisors.images import raw_reader
from holdfast.hypervisors.images.image_file import inspect_image
from holdfast.hypervisors.images.raw_reader import RawReader

SIZE = 3 * MIB + 777
_NO_SUCH_FLAG = 0x40000000


def nothing(_descriptor: int) -> int:
    return -1


@pytest.fixture(params=["passing", "direct", "cached"])
def reader_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "passing":
        monkeypatch.setattr(raw_reader, "_RWF_DONTCACHE", _NO_SUCH_FLAG)
    if request.param == "cached":
        monkeypatch.setattr(raw_reader, "_reopen_direct", nothing)
    return str(request.param)


def open_reader(path: Path) -> RawReader:
    return RawReader.open(inspect_image(path, "raw"))


@pytest.mark.usefixtures("reader_of")
class TestEveryWay:
    def test_reads_what_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.raw"
        content = os.urandom(SIZE)
        path.write_bytes(content)
        reader = open_reader(path)
        area = page_area(4 * MIB)
        # Twice: what a way cannot do is found out by the first read.
        for offset, length in [(0, SIZE), (0, SIZE), (MIB, MIB), (4 * KIB, 5), (777, MIB)]:
            view = area[:length]
            view[:] = bytes(length)
            reader.pread_into(offset, view)
            assert view == content[offset : offset + length]
        reader.close()

    def test_a_file_that_is_cut_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.raw"
        path.write_bytes(os.urandom(SIZE))
        reader = open_reader(path)
        os.truncate(path, MIB + 5)
        with pytest.raises(SourceReadFailed, match="was cut"):
            reader.pread_into(0, page_area(2 * MIB))
        reader.close()


def test_without_the_flag_the_first_read_goes_past_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_reader, "_RWF_DONTCACHE", _NO_SUCH_FLAG)
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    reader = open_reader(path)
    flags: list[int] = []
    real = os.preadv

    def noted(descriptor: int, buffers: list[memoryview], offset: int, flag: int = 0) -> int:
        flags.append(flag)
        return real(descriptor, buffers, offset, flag)

    monkeypatch.setattr(os, "preadv", noted)
    reader.pread_into(0, page_area(MIB))
    reader.pread_into(0, page_area(MIB))
    assert flags.count(_NO_SUCH_FLAG) == 1  # a kernel that cannot is not asked again
    reader.close()
