"""Backups that go wrong: nothing of them is visible, the VM is as it was, the next run succeeds."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Cancelled, HoldfastError, OutOfSpace
from holdfast.core.progress import Progress, SilentProgress
from holdfast.hypervisors.errors import CaptureFailed, CaptureLost, SourceReadFailed, VmBusy
from holdfast.repository.errors import (
    ChunkMissing,
    LeaseHeld,
    LeaseLost,
    ObjectMissing,
    ParentVanished,
    StoreUnavailable,
)
from holdfast.repository.leases import TTL_S
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs
from tests.support.memory_store import FaultyStore, MemoryStore
from tests.support.oracle import assert_repository_sound


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    small_packs(monkeypatch, 8 * CHUNK_BYTES)
    return MemoryStore()


@pytest.fixture
def engine(memory: MemoryStore) -> Engine:
    """One VM with two disks, two points, and changes since."""
    store = FaultyStore(memory)
    engine = Engine.create(store, disks={"vda": 40 * CHUNK_BYTES, "vdb": 10 * CHUNK_BYTES + 513})
    for _ in range(2):
        _change(engine)
        engine.back_up()
    _change(engine)
    return engine


def _change(engine: Engine) -> None:
    chance = random.Random(len(engine.acknowledged))
    for disk in engine.vm.disks.values():
        disk.write(chance.randrange(disk.size_bytes // 2), chance.randbytes(disk.size_bytes // 3))


def _store(engine: Engine) -> FaultyStore:
    assert isinstance(engine.store, FaultyStore)
    return engine.store


def _assert_nothing_happened(engine: Engine, memory: MemoryStore) -> None:
    soundness = assert_repository_sound(
        memory, CREDENTIAL, engine.acknowledged, no_writer=True, next_backup=engine.next_backup
    )
    assert not soundness.unacknowledged
    assert engine.driver.open_readers == 0
    assert engine.vm.active is None
    assert_repository_sound(memory, CREDENTIAL, engine.acknowledged)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("reads", [0, 1])
def test_the_source_vanishes(engine: Engine, memory: MemoryStore, reads: int, workers: int) -> None:
    engine.vm.vanish_after_reads = reads
    with pytest.raises((SourceReadFailed, CaptureLost)):
        engine.back_up(workers=workers, full=True)
    engine.vm.vanish_after_reads = None
    _assert_nothing_happened(engine, memory)


def test_the_instant_is_lost_after_the_last_read(engine: Engine, memory: MemoryStore) -> None:
    class LoseAtTheEnd(SilentProgress):
        def update(self, progress: Progress) -> None:
            if progress.phase == "committing":
                engine.driver.captures[-1].lost = "the image was replaced"

    with pytest.raises(CaptureLost, match="image was replaced"):
        engine.back_up(progress=LoseAtTheEnd())
    _assert_nothing_happened(engine, memory)


@pytest.mark.parametrize("offset", [0, 7 * CHUNK_BYTES, 10 * CHUNK_BYTES + 512])
def test_a_sector_cannot_be_read(engine: Engine, memory: MemoryStore, offset: int) -> None:
    disk = engine.vm.disks["vdb"]
    disk.write(offset, b"!")
    disk.read_error_at = offset
    with pytest.raises(SourceReadFailed) as raised:
        engine.back_up()
    assert (raised.value.source, raised.value.offset) == ("vdb", offset)
    disk.read_error_at = None
    _assert_nothing_happened(engine, memory)


@pytest.mark.parametrize("read", range(1, 12, 2))
def test_cancelled_at_any_read(engine: Engine, memory: MemoryStore, read: int) -> None:
    token, seen = CancelToken(), 0

    def count(_key: str, _offset: int) -> None:
        nonlocal seen
        seen += 1
        if seen == read:
            token.cancel("Ctrl-C")

    engine.vm.on_read = count
    with pytest.raises(Cancelled, match="Ctrl-C"):
        engine.back_up(cancel=token, workers=1)
    engine.vm.on_read = None
    assert seen <= read + 1, "one read after the cancellation at most"
    _assert_nothing_happened(engine, memory)


def test_cancelled_after_the_last_read(engine: Engine, memory: MemoryStore) -> None:
    token = CancelToken()

    class CancelAtTheEnd(SilentProgress):
        def update(self, progress: Progress) -> None:
            if progress.phase == "committing":
                token.cancel()

    with pytest.raises(Cancelled):
        engine.back_up(cancel=token, progress=CancelAtTheEnd())
    _assert_nothing_happened(engine, memory)


def test_cancelled_while_a_pack_is_stored(engine: Engine, memory: MemoryStore) -> None:
    token = CancelToken()

    def cancel(operation: str, key: str) -> None:
        if operation == "put_new" and key.startswith("packs/"):
            token.cancel()

    _store(engine).before = cancel
    with pytest.raises(Cancelled):
        engine.back_up(cancel=token, full=True)
    _store(engine).before = None
    _assert_nothing_happened(engine, memory)


@pytest.mark.parametrize(
    "error",
    [
        CaptureFailed(name="guest", problem="no scratch space"),
        VmBusy(name="guest", problem="a migration runs"),
    ],
    ids=lambda error: error.code,
)
def test_the_capture_fails(engine: Engine, memory: MemoryStore, error: HoldfastError) -> None:
    engine.vm.capture_error = error
    with pytest.raises(type(error)):
        engine.back_up()
    _assert_nothing_happened(engine, memory)


@pytest.mark.parametrize("kind", ["packs/", "index/", "points/"])
@pytest.mark.parametrize(
    "error",
    [OutOfSpace(location="memory"), StoreUnavailable(location="memory", problem="away")],
    ids=lambda error: error.code,
)
def test_an_object_cannot_be_stored(
    engine: Engine, memory: MemoryStore, kind: str, error: HoldfastError
) -> None:
    def refuse(operation: str, key: str) -> None:
        if operation == "put_new" and key.startswith(kind):
            raise error

    _store(engine).before = refuse
    with pytest.raises(type(error)):
        engine.back_up()
    _store(engine).before = None
    _assert_nothing_happened(engine, memory)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_process_dies_at_any_write(memory: MemoryStore, workers: int) -> None:
    """At every write of a backup in turn, the write itself done or not."""
    for applied in (False, True):
        for write in range(1, 60):
            store = FaultyStore(MemoryStore())
            engine = Engine.create(store, disks={"vda": 40 * CHUNK_BYTES})
            _change(engine)
            engine.back_up(workers=workers)
            _change(engine)
            store.die_at(write, applied=applied)
            try:
                engine.back_up(workers=workers, full=True)
            except HoldfastError:
                engine.vm.kill_capture()
            if not store.died:
                assert write > 10
                break
            assert isinstance(store.inner, MemoryStore)
            store.inner.advance(TTL_S + 1)
            assert_repository_sound(
                store.inner,
                CREDENTIAL,
                engine.acknowledged,
                next_backup=engine.next_backup,
                no_writer=True,
            )


def test_the_parent_is_deleted_meanwhile(engine: Engine, memory: MemoryStore) -> None:
    parent = max(engine.acknowledged)

    def delete(_key: str, _offset: int) -> None:
        engine.vm.on_read = None
        engine.acknowledged.pop(parent)
        engine.repository.delete_point(parent)

    engine.vm.on_read = delete
    with pytest.raises(ParentVanished) as raised:
        engine.back_up()
    assert raised.value.point == parent
    _assert_nothing_happened(engine, memory)


def test_the_first_point_may_be_deleted_meanwhile(engine: Engine, memory: MemoryStore) -> None:
    first = min(engine.acknowledged)

    def delete(_key: str, _offset: int) -> None:
        engine.vm.on_read = None
        engine.acknowledged.pop(first)
        engine.repository.delete_point(first)

    engine.vm.on_read = delete
    engine.back_up()
    _assert_nothing_happened(engine, memory)


def test_two_backups_of_one_vm_at_once(engine: Engine, memory: MemoryStore) -> None:
    reading, finished = threading.Event(), threading.Event()

    def hold(_key: str, _offset: int) -> None:
        reading.set()
        assert finished.wait(30)

    engine.vm.on_read = hold
    errors: list[BaseException] = []

    def first() -> None:
        try:
            engine.back_up()
        except BaseException as error:  # noqa: BLE001 - carried to the test's thread
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert reading.wait(30)
    other = type(engine.repository).open(memory, CREDENTIAL)
    with pytest.raises(LeaseHeld):
        engine.back_up(repository=other)
    engine.vm.on_read = None
    finished.set()
    thread.join()
    assert not errors
    assert len(engine.acknowledged) == 3
    _assert_nothing_happened(engine, memory)


def test_two_vms_at_once_share_one_repository(engine: Engine, memory: MemoryStore) -> None:
    """Each commits points that rest on chunks the other one put."""
    other = Engine(
        store=engine.store,
        driver=engine.driver,
        vm=engine.driver.add_vm("other"),
        repository=engine.repository,
        acknowledged=engine.acknowledged,
    )
    shared = random.Random(5).randbytes(40 * CHUNK_BYTES)
    other.vm.add_disk("vda", len(shared), granule_bytes=CHUNK_BYTES).write(0, shared)
    engine.vm.disks["vda"].write(0, shared)
    errors: list[BaseException] = []

    def run(back_up: Callable[[], object]) -> None:
        try:
            back_up()
        except BaseException as error:  # noqa: BLE001 - carried to the test's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(item.back_up,)) for item in (engine, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(engine.acknowledged) == 4
    assert_repository_sound(memory, CREDENTIAL, engine.acknowledged, no_writer=True)


def test_a_run_that_lost_its_lease_keeps_nothing(engine: Engine, memory: MemoryStore) -> None:
    def sleep(_key: str, _offset: int) -> None:
        engine.vm.on_read = None
        memory.advance(TTL_S + 1)

    engine.vm.on_read = sleep
    with pytest.raises(LeaseLost):
        engine.back_up()
    memory.advance(TTL_S + 1)
    _assert_nothing_happened(engine, memory)


@pytest.mark.parametrize(
    "error",
    [OutOfSpace(location="memory"), StoreUnavailable(location="memory", problem="away")],
    ids=lambda error: error.code,
)
def test_a_commit_that_cannot_be_proven_is_taken_back(
    engine: Engine, memory: MemoryStore, error: HoldfastError
) -> None:
    """The store takes the manifest and then refuses the lease: an error must mean no point."""
    committed = False

    def refuse(operation: str, key: str) -> None:
        nonlocal committed
        if operation == "put_new" and committed and key.startswith("leases/"):
            committed = False
            raise error
        committed = committed or (operation == "put_new" and key.startswith("points/"))

    _store(engine).before = refuse
    with pytest.raises(type(error)):
        engine.back_up()
    _store(engine).before = None
    _assert_nothing_happened(engine, memory)


def test_a_lease_lost_during_the_commit_takes_the_point_back(
    engine: Engine, memory: MemoryStore
) -> None:
    def sleep(operation: str, key: str) -> None:
        if operation == "put_new" and key.startswith("points/"):
            memory.advance(TTL_S + 1)

    _store(engine).before = sleep
    with pytest.raises(LeaseLost):
        engine.back_up()
    _store(engine).before = None
    memory.advance(TTL_S + 1)
    _assert_nothing_happened(engine, memory)


def test_the_oracle_sees_a_lost_pack(engine: Engine, memory: MemoryStore) -> None:
    """The oracle itself, on a repository that is not sound."""
    pack = next(info.key for info in memory.list("packs/"))
    memory.delete(pack)
    with pytest.raises(AssertionError) as raised:
        assert_repository_sound(memory, CREDENTIAL, engine.acknowledged)
    assert isinstance(raised.value.__cause__, (ObjectMissing, ChunkMissing))


def test_the_oracle_sees_another_content(engine: Engine, memory: MemoryStore) -> None:
    point = max(engine.acknowledged)
    engine.acknowledged[point] = engine.contents()
    with pytest.raises(AssertionError, match="differs at"):
        assert_repository_sound(memory, CREDENTIAL, engine.acknowledged)


def test_the_oracle_sees_a_lost_point(engine: Engine, memory: MemoryStore) -> None:
    memory.delete(f"points/{min(engine.acknowledged)}")
    with pytest.raises(AssertionError, match="is gone"):
        assert_repository_sound(memory, CREDENTIAL, engine.acknowledged)
