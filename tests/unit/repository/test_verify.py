"""Verify finds every damaged pack and exactly the points that it costs; backups and repair heal."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.backup.run import BackupResult
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Cancelled
from holdfast.core.progress import Progress, SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import LocalStore, Repository
from holdfast.repository.check import CheckReport, check_repository
from holdfast.repository.compact import CompactOptions, run_compact
from holdfast.repository.format.pack import pack_name
from holdfast.repository.losses import PointLoss
from holdfast.repository.repair import RepairReport, repair_repository
from holdfast.repository.session import point_key
from holdfast.repository.verify import (
    VerifyOptions,
    VerifyReport,
    lost_points,
    verify_repository,
    workers_for,
)
from tests.support.damage import flip_bit, flip_packs, pack_files, unreadable_points
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs
from tests.support.oracle import assert_repository_sound, read_disk

_CHUNKS = 600


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A hundred packs, three points."""
    small_packs(monkeypatch, 32 * KIB)
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    made = Engine.create(store, disks={"vda": _CHUNKS * CHUNK_BYTES, "vdb": 40 * CHUNK_BYTES})
    chance = random.Random(3)
    made.vm.disks["vda"].write(0, chance.randbytes(_CHUNKS * CHUNK_BYTES))
    made.back_up()
    for start in (0, 200):
        made.vm.disks["vda"].write(start * CHUNK_BYTES, chance.randbytes(100 * CHUNK_BYTES))
        made.vm.disks["vdb"].write(0, chance.randbytes(20 * CHUNK_BYTES))
        made.back_up()
    return made


def _root(engine: Engine) -> Path:
    return Path(engine.store.location)


def _verify(engine: Engine, options: VerifyOptions | None = None) -> VerifyReport:
    repository = Repository.open(engine.store, CREDENTIAL)
    chosen = options or VerifyOptions()
    return verify_repository(repository, chosen, cancel=CancelToken(), progress=SilentProgress())


def _repair(engine: Engine, source: Repository | None = None) -> RepairReport:
    repository = Repository.open(engine.store, CREDENTIAL)
    return repair_repository(repository, source, cancel=CancelToken(), progress=SilentProgress())


def _back_up(engine: Engine) -> BackupResult:
    engine.reopen()
    return engine.back_up()


def _assert_sound(engine: Engine, without: list[str] | None = None) -> None:
    promised = {
        point: disks for point, disks in engine.acknowledged.items() if point not in (without or [])
    }
    assert_repository_sound(engine.store, CREDENTIAL, promised)


def _modes(result: BackupResult) -> set[str]:
    return {plan.mode.value for plan in result.plans}


def test_a_sound_repository_is_called_sound(engine: Engine) -> None:
    report = _verify(engine)
    assert report.is_sound
    assert report.packs == len(pack_files(_root(engine))) > 80
    assert report.read_bytes == sum(path.stat().st_size for path in pack_files(_root(engine)))


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
def test_damage_is_found_exactly_and_the_next_backup_heals_it(engine: Engine, share: float) -> None:
    damaged = flip_packs(_root(engine), share, random.Random(share))
    lost = unreadable_points(engine.store, CREDENTIAL)
    report = _verify(engine)
    assert [bad.key for bad in report.bad_packs] == sorted(
        pack_name(bytes.fromhex(path.name)) for path in damaged
    )
    assert sorted(lost_points(report.losses)) == lost
    latest = max(engine.acknowledged)
    result = _back_up(engine)
    is_needed = latest in [loss.point_id for loss in report.losses]
    assert ("heal" in " ".join(plan.reason for plan in result.plans)) == is_needed
    # The latest content is whole again; older content that the source lost stays lost.
    after = _verify(engine)
    assert result.manifest.id not in [loss.point_id for loss in after.losses]
    assert set(lost_points(after.losses)) <= set(lost)
    assert sorted(lost_points(after.losses)) == unreadable_points(engine.store, CREDENTIAL)


def test_backup_heals_every_point_whose_data_the_source_still_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_packs(monkeypatch, 32 * KIB)
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    engine = Engine.create(store, disks={"vda": 600 * CHUNK_BYTES})
    engine.vm.disks["vda"].write(0, random.Random(5).randbytes(600 * CHUNK_BYTES))
    engine.back_up()
    engine.back_up()
    flip_packs(_root(engine), 0.1, random.Random(1))
    assert len(_verify(engine).losses) == 2
    result = _back_up(engine)
    assert _modes(result) & {"compare", "full"}
    _assert_sound(engine)
    after = _verify(engine)
    assert not after.losses
    assert after.bad_packs  # listed until compact has taken them
    repository = Repository.open(store, CREDENTIAL)
    options = CompactOptions(grace=timedelta(), maximum_delete_share=1.0)
    run_compact(repository, options, cancel=CancelToken(), progress=SilentProgress())
    assert _verify(engine).is_sound
    _assert_sound(engine)
    assert _modes(_back_up(engine)) == {"changed"}


@pytest.mark.parametrize("remove", [False, True])
def test_damaged_and_missing_map_pages_are_healed_by_a_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remove: bool
) -> None:
    small_packs(monkeypatch, 32 * KIB)
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    engine = Engine.create(store, disks={"vda": 600 * CHUNK_BYTES})
    engine.vm.disks["vda"].write(0, random.Random(5).randbytes(600 * CHUNK_BYTES))
    first = engine.back_up().manifest
    location = engine.repository.load_index().find(first.disks[0].root)
    assert location is not None
    path = _root(engine) / pack_name(location.pack_hash)
    if remove:
        path.unlink()
    else:
        flip_bit(path, (location.offset + 40) * 8)
    report = _verify(engine)
    (loss,) = report.losses
    assert loss.lost_bytes == 600 * CHUNK_BYTES
    assert _modes(_back_up(engine)) == {"full"}
    _assert_sound(engine)
    assert not _verify(engine).losses


def _check(engine: Engine, *, read_data: bool = False) -> CheckReport:
    repository = Repository.open(engine.store, CREDENTIAL)
    return check_repository(
        repository, cancel=CancelToken(), progress=SilentProgress(), read_data=read_data
    )


def test_check_tells_of_damage_that_verify_found_until_it_is_healed(engine: Engine) -> None:
    """Bits that rot inside a pack are seen by reading all of it only."""
    latest = max(engine.acknowledged)
    damaged = flip_packs(_root(engine), 0.05, random.Random(3))
    _verify(engine)
    report = _check(engine)
    names = {item.object for item in report.problems}
    # A point whose map lies in one of them is named beside the packs.
    lost_maps = {point_key(point) for point in engine.acknowledged}
    assert names - lost_maps <= {pack_name(bytes.fromhex(path.name)) for path in damaged}
    assert names & {pack_name(bytes.fromhex(path.name)) for path in damaged}
    assert latest in {point for item in report.problems for point in item.points}
    healed = _back_up(engine).manifest.id
    repository = Repository.open(engine.store, CREDENTIAL)
    for point in set(engine.acknowledged) - {healed}:
        repository.delete_point(point)
    assert _check(engine).is_sound
    hashed = _check(engine, read_data=True)
    assert not hashed.is_sound, "the damaged packs are there still"
    assert not any(item.points for item in hashed.problems)


def test_a_later_run_skips_what_was_proven_lately(engine: Engine) -> None:
    first = _verify(engine)
    lately = VerifyOptions(not_since=timedelta(days=1))
    again = _verify(engine, lately)
    assert (again.packs, again.skipped_packs) == (0, first.packs)
    assert _verify(engine, VerifyOptions(not_since=timedelta(0))).packs == first.packs
    flip_packs(_root(engine), 0.01, random.Random(2))
    assert _verify(engine).bad_packs
    # Skipping what is proven never hides what is known to be damaged.
    assert _verify(engine, lately).bad_packs


def test_a_cancelled_run_goes_on_where_it_was(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.repository.verify._RECORD_PACKS", 10)
    cancel = CancelToken()

    class CancelMidway:
        def update(self, progress: Progress) -> None:
            if progress.done_bytes > progress.total_bytes / 2:
                cancel.cancel("test")

        def message(self, text: str) -> None: ...

    repository = Repository.open(engine.store, CREDENTIAL)
    with pytest.raises(Cancelled):
        verify_repository(repository, VerifyOptions(), cancel=cancel, progress=CancelMidway())
    total = len(pack_files(_root(engine)))
    rest = _verify(engine, VerifyOptions(not_since=timedelta(days=1)))
    assert 0 < rest.packs < total * 0.6
    assert rest.packs + rest.skipped_packs == total


def test_a_whole_pack_in_anothers_place_is_damage(engine: Engine) -> None:
    """Each byte of it authenticates; only its name tells."""
    one, other = pack_files(_root(engine))[:2]
    shutil.copyfile(other, one)
    (bad,) = _verify(engine).bad_packs
    assert bad.key == pack_name(bytes.fromhex(one.name))
    assert bad.problem == "its bytes do not hash to its name"


def test_a_sample_reads_its_share(engine: Engine) -> None:
    total = len(pack_files(_root(engine)))
    report = _verify(engine, VerifyOptions(share=0.1))
    assert report.packs == round(total * 0.1)


def test_records_do_not_pile_up(engine: Engine) -> None:
    for _ in range(4):
        _verify(engine)
    assert len(list(engine.store.list("verified/"))) <= 2


def test_repair_without_a_copy_saves_what_can_be_read(engine: Engine) -> None:
    flip_packs(_root(engine), 0.1, random.Random(4))
    lost = unreadable_points(engine.store, CREDENTIAL)
    before = {loss.point_id: loss.lost_bytes for loss in _verify(engine).losses}
    kept = set(pack_files(_root(engine)))
    report = _repair(engine)
    assert report.saved_chunks > 0
    assert kept <= set(pack_files(_root(engine)))
    assert {loss.point_id: loss.lost_bytes for loss in report.losses} == {
        point: size for point, size in before.items() if size
    }
    assert sorted(lost_points(report.losses)) == lost
    assert _repair(engine).saved_chunks == 0
    _assert_lost_ranges_are_exact(engine, report.losses)


def _assert_lost_ranges_are_exact(engine: Engine, losses: list[PointLoss]) -> None:
    """What lies outside the reported ranges reads back; every chunk inside does not."""
    repository = Repository.open(engine.store, CREDENTIAL)
    for loss in losses:
        point = repository.point(loss.point_id)
        repository.load_index()
        for disk in loss.disks:
            bad = {
                offset // CHUNK_BYTES
                for extent in disk.extents
                for offset in range(extent.offset, extent.end, CHUNK_BYTES)
            }
            assert bad
            if disk.pages:
                continue
            stored = repository.disk_map(point.disk(disk.disk.key))
            for index, chunk_id in stored.data_chunks():
                found = _reads(repository, chunk_id)
                assert found != (index in bad)


def _reads(repository: Repository, chunk_id: bytes) -> bool:
    from holdfast.repository.losses import DAMAGE

    try:
        repository.chunks.read(chunk_id)
    except DAMAGE:
        return False
    return True


def test_compact_keeps_the_only_good_copy_of_a_chunk_in_a_damaged_pack(engine: Engine) -> None:
    """Saved chunks lie in a damaged and in a new pack; whichever goes, it is not the new one."""
    flip_packs(_root(engine), 0.05, random.Random(7))
    _verify(engine)
    _repair(engine)
    _back_up(engine)
    latest = max(engine.acknowledged)
    for point in list(engine.acknowledged):
        if point != latest:
            engine.repository.delete_point(point)
            del engine.acknowledged[point]
    for _ in range(2):
        repository = Repository.open(engine.store, CREDENTIAL)
        options = CompactOptions(grace=timedelta(), maximum_delete_share=1.0)
        run_compact(repository, options, cancel=CancelToken(), progress=SilentProgress())
        _assert_sound(engine)
    assert _verify(engine).is_sound


def test_a_chunk_that_is_lost_is_stored_again_though_unchanged(engine: Engine) -> None:
    """Compare mode alone would leave unchanged chunks in the damaged pack."""
    latest = max(engine.acknowledged)
    disk = engine.repository.point(latest).disk("vda")
    chunk_id = engine.repository.disk_map(disk).chunk_id(550)
    location = engine.repository.load_index().find(chunk_id)
    assert location is not None
    flip_bit(_root(engine) / pack_name(location.pack_hash), (location.offset + 30) * 8)
    assert len(lost_points(_verify(engine).losses)) == 3
    assert "compare" in _modes(_back_up(engine))
    _assert_sound(engine)
    repository = Repository.open(engine.store, CREDENTIAL)
    point = repository.point(latest)
    repository.load_index()
    assert len(read_disk(repository, point.disk("vda"))) == _CHUNKS * CHUNK_BYTES


@pytest.mark.parametrize(
    ("cores", "is_distant", "workers"),
    [(1, False, 3), (2, False, 4), (2, True, 6), (4, True, 10), (64, False, 12), (64, True, 12)],
)
def test_workers_keep_the_cores_busy_within_bounds(
    cores: int, is_distant: bool, workers: int
) -> None:
    assert workers_for(cores, is_distant=is_distant) == workers
