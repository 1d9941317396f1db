"""A copy is a full repository of its own: same content, other keys, only what was missing sent."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Cancelled, InvalidInput
from holdfast.core.progress import Progress, SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import Credential, LocalStore, Repository
from holdfast.repository.check import check_repository
from holdfast.repository.copy import CopyReport, copy_points
from holdfast.repository.errors import CopyMismatch
from holdfast.repository.format.pack import ChunkType, pack_name
from holdfast.repository.repair import repair_repository
from holdfast.repository.verify import VerifyOptions, verify_repository
from tests.support.damage import flip_bit, flip_packs, unreadable_points
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs
from tests.support.oracle import assert_repository_sound

_OTHER = Credential(kind="recovery", secret=bytes(range(1, 33)))
_CHUNKS = 600


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Two points; the second changed a sixth, grew one disk and zeroed a part."""
    small_packs(monkeypatch, 32 * KIB)
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    made = Engine.create(store, disks={"vda": _CHUNKS * CHUNK_BYTES, "vdb": 10 * CHUNK_BYTES + 512})
    chance = random.Random(3)
    made.vm.disks["vda"].write(0, chance.randbytes(560 * CHUNK_BYTES))
    made.vm.disks["vdb"].write(100, chance.randbytes(5 * CHUNK_BYTES))
    made.back_up()
    made.vm.disks["vda"].write(450 * CHUNK_BYTES, chance.randbytes(100 * CHUNK_BYTES))
    made.vm.disks["vda"].write(20 * CHUNK_BYTES, bytes(50 * CHUNK_BYTES))
    made.vm.disks["vdb"].resize(70 * CHUNK_BYTES)
    made.vm.disks["vdb"].write(60 * CHUNK_BYTES, b"end")
    made.back_up()
    return made


@pytest.fixture
def target(tmp_path: Path) -> Repository:
    return _new_target(tmp_path / "target", CHUNK_BYTES)


def _new_target(path: Path, chunk_bytes: int) -> Repository:
    store = LocalStore(path)
    store.prepare()
    return Repository.create(store, _OTHER, chunk_bytes=chunk_bytes)[0]


def _copy(
    engine: Engine,
    target: Repository,
    *,
    only: int | None = None,
    cancel: CancelToken | None = None,
) -> CopyReport:
    source = Repository.open(engine.store, CREDENTIAL)
    return copy_points(
        source,
        Repository.open(target.store, _OTHER),
        source.points()[:only],
        cancel=cancel or CancelToken(),
        progress=SilentProgress(),
    )


def _assert_copy(engine: Engine, target: Repository) -> None:
    soundness = assert_repository_sound(target.store, _OTHER, engine.acknowledged, no_writer=True)
    assert not soundness.unacknowledged
    opened = Repository.open(target.store, _OTHER)
    report = check_repository(
        opened, cancel=CancelToken(), progress=SilentProgress(), read_data=True
    )
    assert report.is_sound


@pytest.mark.parametrize("chunk_bytes", [CHUNK_BYTES, 4 * CHUNK_BYTES, 16 * KIB * 4])
def test_a_copy_is_a_whole_repository(engine: Engine, tmp_path: Path, chunk_bytes: int) -> None:
    target = _new_target(tmp_path / "other", chunk_bytes)
    report = _copy(engine, target)
    assert sorted(report.copied) == sorted(engine.acknowledged)
    _assert_copy(engine, target)
    for point in engine.repository.points():
        twin = target.point(point.id).manifest
        original = point.manifest
        assert (twin.captured_at, twin.created_at) == (original.captured_at, original.created_at)
        assert twin.vm == original.vm
        assert f"copied from repository {engine.repository.id}" in twin.notes
        assert all(disk.token is None for disk in twin.disks)


def test_a_copy_of_smaller_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_packs(monkeypatch)
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    engine = Engine.create(store, disks={"vda": 100 * 4 * KIB + 512}, chunk_bytes=16 * KIB)
    for seed in range(3):
        engine.vm.disks["vda"].write(seed * 40 * KIB, random.Random(seed).randbytes(90 * KIB))
        engine.back_up()
    target = _new_target(tmp_path / "other", 4 * KIB)
    _copy(engine, target, only=2)
    assert len(_copy(engine, target).copied) == 1
    _assert_copy(engine, target)


def test_only_what_is_missing_is_sent(engine: Engine, target: Repository) -> None:
    first = _copy(engine, target, only=1)
    assert first.read_bytes > 500 * CHUNK_BYTES
    second = _copy(engine, target)
    assert len(second.present) == len(second.copied) == 1
    assert 100 * CHUNK_BYTES < second.read_bytes < 120 * CHUNK_BYTES
    assert second.stored_bytes < 150 * CHUNK_BYTES
    again = _copy(engine, target)
    assert (again.copied, again.read_bytes, again.stored_bytes) == ([], 0, 0)
    _assert_copy(engine, target)


def test_a_copy_goes_on_where_it_was_stopped(engine: Engine, target: Repository) -> None:
    source = Repository.open(engine.store, CREDENTIAL)
    cancel = CancelToken()

    class CancelInTheSecond:
        def update(self, progress: Progress) -> None:
            if target.point_ids():
                cancel.cancel("test")

        def message(self, text: str) -> None: ...

    with pytest.raises(Cancelled):
        copy_points(source, target, source.points(), cancel=cancel, progress=CancelInTheSecond())
    assert len(target.point_ids()) == 1
    assert len(_copy(engine, target).copied) == 1
    _assert_copy(engine, target)


def test_the_mark_of_doubt_goes_with_the_point(engine: Engine, target: Repository) -> None:
    doubted = min(engine.acknowledged)
    engine.repository.mark_suspect([doubted], "a test doubts it")
    _copy(engine, target)
    assert {point.id: point.suspect for point in target.points()}[doubted] == "a test doubts it"


def test_a_repository_is_not_copied_onto_itself(engine: Engine) -> None:
    twin = Repository.open(engine.store, CREDENTIAL)
    with pytest.raises(InvalidInput):
        copy_points(engine.repository, twin, [], cancel=CancelToken(), progress=SilentProgress())


def test_a_point_that_cannot_be_read_is_left_out_and_told(
    engine: Engine, target: Repository
) -> None:
    flip_packs(Path(engine.store.location), 0.01, random.Random(1))
    lost = unreadable_points(engine.store, CREDENTIAL)
    assert lost
    report = _copy(engine, target)
    assert sorted(report.failed) == lost
    assert not set(target.point_ids()) & set(lost)


def test_a_wrong_map_is_not_committed(
    engine: Engine, target: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As memory faults would have it: one chunk is set in another's place."""
    from holdfast.repository.disk_map import DiskMapWriter

    write = DiskMapWriter.set

    def shifted(self: DiskMapWriter, index: int, chunk_id: bytes) -> None:
        write(self, index if index != 500 else 501, chunk_id)

    monkeypatch.setattr(DiskMapWriter, "set", shifted)
    with pytest.raises(CopyMismatch):
        _copy(engine, target)
    assert target.point_ids() == []


def test_a_copy_heals_the_original_and_the_other_way_round(
    engine: Engine, target: Repository
) -> None:
    _copy(engine, target)
    root = Path(engine.store.location)
    flip_packs(root, 0.1, random.Random(6))
    latest = engine.repository.point("latest").manifest
    for key in (latest.disks[0].root, latest.artifacts[0].chunks[0] if latest.artifacts else b""):
        location = engine.repository.load_index().find(key) if key else None
        if location is not None:
            flip_bit(root / pack_name(location.pack_hash), (location.offset + 40) * 8)
    repository = Repository.open(engine.store, CREDENTIAL)
    options = VerifyOptions()
    found = verify_repository(repository, options, cancel=CancelToken(), progress=SilentProgress())
    assert found.losses
    report = repair_repository(
        Repository.open(engine.store, CREDENTIAL),
        Repository.open(target.store, _OTHER),
        cancel=CancelToken(),
        progress=SilentProgress(),
    )
    assert report.is_whole
    assert report.fetched_chunks
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged, no_writer=True)
    repository = Repository.open(engine.store, CREDENTIAL)
    after = verify_repository(repository, options, cancel=CancelToken(), progress=SilentProgress())
    assert not after.losses


def test_a_copy_with_other_content_heals_nothing(engine: Engine, target: Repository) -> None:
    """A target whose point has the same id but not the same bytes must not be believed."""
    _copy(engine, target)
    repository = Repository.open(target.store, _OTHER)
    point = repository.points()[0]
    repository.load_index()
    disk = point.disk("vda")
    stored = repository.disk_map(disk)
    one = stored.chunk_id(100)
    here = engine.repository.points()[0].disk("vda")
    wanted = engine.repository.disk_map(here).chunk_id(100)
    location = engine.repository.load_index().find(wanted)
    assert location is not None
    flip_bit(
        Path(engine.store.location) / pack_name(location.pack_hash), (location.offset + 30) * 8
    )
    source = Repository.open(engine.store, CREDENTIAL)
    verify_repository(source, VerifyOptions(), cancel=CancelToken(), progress=SilentProgress())
    read = repository.chunks.read

    def swapped(chunk_id: bytes, kind: ChunkType = ChunkType.DATA) -> bytes:
        plain = read(chunk_id, kind)
        return plain[::-1] if chunk_id == one else plain

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repository.chunks, "read", swapped)
        report = repair_repository(
            Repository.open(engine.store, CREDENTIAL),
            repository,
            cancel=CancelToken(),
            progress=SilentProgress(),
        )
    assert not report.is_whole
    assert report.fetched_chunks == 0
    (lost,) = {extent for loss in report.losses for disk in loss.disks for extent in disk.extents}
    assert (lost.offset, lost.length) == (100 * CHUNK_BYTES, CHUNK_BYTES)
