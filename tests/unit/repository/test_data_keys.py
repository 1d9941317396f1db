"""Rotating the data key: new packs get the newest, old ones stay readable, and whoever began before
may finish."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from holdfast.core import failpoints
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import InjectedFault
from holdfast.core.progress import SilentProgress
from holdfast.repository import Repository
from holdfast.repository.check import CheckReport, check_repository
from holdfast.repository.compact import CompactOptions, CompactReport, run_compact
from holdfast.repository.errors import ObjectDamaged, ObjectExists
from holdfast.repository.format.pack import HEADER_BYTES, decode_header
from holdfast.repository.repair import repair_repository
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs
from tests.support.memory_store import MemoryStore
from tests.support.oracle import assert_repository_sound

_FIRST = {"datakeys/00000001/a", "datakeys/00000001/b"}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def engine(store: MemoryStore) -> Engine:
    """With one backup under the master key."""
    made = Engine.create(store)
    made.vm.disks["vda"].write(0, random.Random(1).randbytes(20 * CHUNK_BYTES))
    made.back_up()
    return made


def _rotate(repository: Repository) -> int:
    with repository.begin_maintenance():
        return repository.data_keys.rotate()


def _generations(engine: Engine) -> list[int]:
    """Of every pack, by what its header says."""
    owner = engine.repository.config.repository_id.bytes
    headers = [
        engine.store.get_range(info.key, 0, HEADER_BYTES) for info in engine.store.list("packs/")
    ]
    return sorted(decode_header(header, owner, key="").generation for header in headers)


def _key_objects(store: MemoryStore) -> set[str]:
    return {key for key in store.objects if key.startswith("datakeys/")}


def _change(engine: Engine, seed: int, offset: int = 0) -> None:
    content = random.Random(100 + seed).randbytes(3 * CHUNK_BYTES)
    engine.vm.disks["vda"].write(offset * CHUNK_BYTES, content)


def _assert_sound(engine: Engine) -> None:
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged)


def _check(engine: Engine) -> CheckReport:
    return check_repository(
        Repository.open(engine.store, CREDENTIAL),
        cancel=CancelToken(),
        progress=SilentProgress(),
        read_data=True,
    )


def _compact(engine: Engine, *, old_data_keys: bool) -> CompactReport:
    options = CompactOptions(
        grace=timedelta(), minimum_fill=0, maximum_delete_share=1, old_data_keys=old_data_keys
    )
    return run_compact(engine.repository, options, cancel=CancelToken(), progress=SilentProgress())


def test_a_repository_that_never_rotated_has_nothing_of_it(
    engine: Engine, store: MemoryStore
) -> None:
    assert _key_objects(store) == set()
    assert _generations(engine) == [0]
    for key, data in store.objects.items():
        if key.startswith("packs/"):
            assert (data[8:16], data[:8]) == (b"\1" + bytes(7), b"HFPACK1\n")


def test_new_packs_get_the_new_key_and_old_ones_stay_readable(
    engine: Engine, store: MemoryStore
) -> None:
    for generation in (1, 2):
        assert _rotate(engine.repository) == generation
        _change(engine, generation)
        engine.back_up()
        assert _generations(engine) == list(range(generation + 1))
    assert _key_objects(store) == _FIRST | {"datakeys/00000002/a", "datakeys/00000002/b"}
    _assert_sound(engine)
    assert _check(engine).is_sound


def test_the_key_is_in_no_object_and_the_master_key_opens_no_new_pack(engine: Engine) -> None:
    _rotate(engine.repository)
    _change(engine, 1)
    engine.back_up()
    # As if the generation in the header did not count.
    mistaken = Repository.open(engine.store, CREDENTIAL)
    mistaken.data_keys._secrets[1] = mistaken.data_keys._secrets[0]  # pyright: ignore[reportPrivateUsage]
    newest = mistaken.points()[-1]
    mistaken.load_index()
    with pytest.raises(ObjectDamaged, match="fails authentication"):
        list(mistaken.disk_map(newest.manifest.disks[0]).data_chunks())


def test_chunks_are_shared_across_generations(engine: Engine) -> None:
    before = engine.store.list("packs/")
    count = len(list(before))
    _rotate(engine.repository)
    result = engine.back_up(full=True)
    assert result.manifest.disks[0].stored_bytes == 0
    assert len(list(engine.store.list("packs/"))) - count <= 1, "more than the VM's artifacts"
    _assert_sound(engine)


def test_a_writer_that_began_before_may_finish_and_others_read_it(engine: Engine) -> None:
    """Another process rotates while this one is writing; a third has the repository open."""
    reader = Repository.open(engine.store, CREDENTIAL)
    reader.load_index()
    session = engine.repository.begin_backup(platform="p", vm_id="other", vm_name="other")
    with session:
        data = random.Random(5).randbytes(CHUNK_BYTES)
        old = session.chunk_id(data)
        assert _rotate(Repository.open(engine.store, CREDENTIAL)) == 1
        session.store_chunk(old, data)
        session.flush()
    assert _generations(engine) == [0, 0]
    assert reader.chunks.read(old) == data
    _change(engine, 6)
    engine.back_up()
    assert _generations(engine) == [0, 0, 1]
    # It was opened before there was such a key, and calls nothing damaged for that.
    newest = reader.points()[-1]
    reader.load_index()
    for _, chunk in reader.disk_map(newest.manifest.disks[0]).data_chunks():
        reader.chunks.read(chunk)
    _assert_sound(engine)


def test_compact_moves_packs_to_the_newest_key(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_packs(monkeypatch)
    _change(engine, 2, offset=25)
    engine.back_up()
    _rotate(engine.repository)
    _change(engine, 3, offset=30)
    engine.back_up()
    assert set(_generations(engine)) == {0, 1}
    assert _compact(engine, old_data_keys=False).rewritten_packs == 0
    moved = _compact(engine, old_data_keys=True)
    assert moved.rewritten_packs == moved.deleted_packs > 0
    assert set(_generations(engine)) == {1}
    assert _compact(engine, old_data_keys=True).rewritten_packs == 0
    _assert_sound(engine)
    assert _check(engine).is_sound


@pytest.mark.parametrize("name", ["data_keys.before_put", "data_keys.between_copies"])
def test_broken_off_at_any_step_and_done_again(
    engine: Engine, store: MemoryStore, name: str
) -> None:
    failpoints.arm(f"{name}:error")
    try:
        with pytest.raises(InjectedFault):
            _rotate(engine.repository)
    finally:
        failpoints.disarm()
    in_force = int(name.endswith("copies"))
    _change(engine, 1)
    engine.back_up()
    assert _generations(engine) == [0, in_force]
    _assert_sound(engine)
    assert _rotate(Repository.open(store, CREDENTIAL)) == in_force + 1
    assert len(_key_objects(store)) == 2 * (in_force + 1)
    assert _check(engine).is_sound
    _assert_sound(engine)


@pytest.mark.parametrize("damaged", sorted(_FIRST))
@pytest.mark.parametrize("gone", [True, False])
def test_one_copy_serves_and_repair_puts_the_other_again(
    engine: Engine, store: MemoryStore, damaged: str, gone: bool
) -> None:
    _rotate(engine.repository)
    _change(engine, 1)
    engine.back_up()
    whole = store.objects[damaged]
    if gone:
        store.delete(damaged)
    else:
        store.replace(damaged, whole[:-1] + bytes([whole[-1] ^ 1]))
    _assert_sound(engine)
    (problem,) = _check(engine).problems
    assert problem.object == damaged
    repository = Repository.open(store, CREDENTIAL)
    repair_repository(repository, None, cancel=CancelToken(), progress=SilentProgress())
    assert _check(engine).is_sound
    _assert_sound(engine)


def test_without_its_key_a_generation_is_lost_alone_and_nothing_is_written_under_another(
    engine: Engine, store: MemoryStore
) -> None:
    first = next(iter(engine.acknowledged))
    _rotate(engine.repository)
    _change(engine, 1)
    second = engine.back_up().manifest.id
    for key in _FIRST:
        store.replace(key, bytes(100))
    report = _check(engine)
    assert {problem.object for problem in report.problems} >= _FIRST
    engine.reopen()
    with pytest.raises(ObjectDamaged, match="key rotate"):
        engine.back_up()
    assert _rotate(Repository.open(store, CREDENTIAL)) == 2
    engine.reopen()
    points = {point.id: point for point in engine.repository.points()}
    engine.repository.load_index()
    for point_id, is_lost in ((first, False), (second, True)):
        chunks = engine.repository.disk_map(points[point_id].manifest.disks[0]).data_chunks()
        if is_lost:
            with pytest.raises(ObjectDamaged, match="data key 1"):
                list(chunks)
        else:
            assert list(chunks)


def test_two_rotations_never_make_two_keys_of_one_generation(
    engine: Engine, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when a listing leaves the other's objects out."""
    _rotate(engine.repository)
    before = dict(store.objects)
    other = Repository.open(store, CREDENTIAL)
    listed = store.list
    monkeypatch.setattr(
        store, "list", lambda prefix: iter(()) if prefix == "datakeys/" else listed(prefix)
    )
    with pytest.raises(ObjectExists):
        other.data_keys.rotate()
    assert {key: store.objects[key] for key in _FIRST} == {key: before[key] for key in _FIRST}
    store.delete("datakeys/00000001/a")
    with pytest.raises(ObjectExists):
        other.data_keys.rotate()
