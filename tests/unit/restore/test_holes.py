"""Holes are filled only when that was asked for, each is reported, and nothing else is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.repository import LocalStore, Repository
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import pack_name
from holdfast.restore.disk import DiskRestore, restore_disk
from tests.support.damage import flip_bit
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine

_CHUNKS = 1100


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    made = Engine.create(store, disks={"vda": _CHUNKS * CHUNK_BYTES - 512})
    made.vm.disks["vda"].write(0, random.Random(3).randbytes(_CHUNKS * CHUNK_BYTES - 512))
    made.back_up()
    return made


def _content(engine: Engine) -> bytes:
    disk = engine.vm.disks["vda"]
    return disk.content.read(0, disk.size_bytes)


def _damage(engine: Engine, chunk_id: bytes) -> None:
    location = engine.repository.load_index().find(chunk_id)
    assert location is not None
    path = Path(engine.store.location) / pack_name(location.pack_hash)
    flip_bit(path, (location.offset + 30) * 8)


def _restore(engine: Engine, output: Path, *, fill_holes: bool) -> DiskRestore:
    repository = Repository.open(engine.store, CREDENTIAL)
    point = repository.point("latest")
    repository.load_index()
    return restore_disk(
        repository=repository,
        disk=point.disk("vda"),
        output=output,
        format="raw",
        cancel=CancelToken(),
        fill_holes=fill_holes,
    )


def test_lost_chunks_become_zeroes_and_are_named(engine: Engine, tmp_path: Path) -> None:
    stored = engine.repository.disk_map(engine.repository.point("latest").disk("vda"))
    lost = [3, 4, 700, _CHUNKS - 1]
    for index in lost:
        _damage(engine, stored.chunk_id(index))
    output = tmp_path / "disk.raw"
    with pytest.raises(ObjectDamaged):
        _restore(engine, output, fill_holes=False)
    assert not output.exists()
    done = _restore(engine, output, fill_holes=True)
    assert not done.is_whole
    expected = bytearray(_content(engine))
    named = {
        offset // CHUNK_BYTES
        for hole in done.holes
        for offset in range(hole.offset, hole.end, CHUNK_BYTES)
    }
    assert named == set(lost)
    assert done.holes[-1].end == len(expected)
    for hole in done.holes:
        expected[hole.offset : hole.end] = bytes(hole.length)
    assert output.read_bytes() == bytes(expected)


def test_a_lost_page_is_one_hole(engine: Engine, tmp_path: Path) -> None:
    stored = engine.repository.disk_map(engine.repository.point("latest").disk("vda"))
    _damage(engine, stored.page_id(1, 1))
    done = _restore(engine, tmp_path / "disk.raw", fill_holes=True)
    (hole,) = done.holes
    assert (hole.offset, hole.length) == (512 * CHUNK_BYTES, 512 * CHUNK_BYTES)
    expected = bytearray(_content(engine))
    expected[hole.offset : hole.end] = bytes(hole.length)
    assert (tmp_path / "disk.raw").read_bytes() == bytes(expected)


def test_a_sound_point_has_no_holes(engine: Engine, tmp_path: Path) -> None:
    done = _restore(engine, tmp_path / "disk.raw", fill_holes=True)
    assert done.is_whole
    assert (tmp_path / "disk.raw").read_bytes() == _content(engine)
