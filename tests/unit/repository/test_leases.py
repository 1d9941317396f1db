"""Leases: one holder, provable through the store, by the store's clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

import pytest

from holdfast.core.clock import SystemClock
from holdfast.core.errors import OutOfSpace
from holdfast.repository.errors import LeaseHeld, LeaseLost, StoreUnavailable
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.leases import TTL_S, Lease, LeaseRecord, read_lease
from holdfast.repository.store.passing import PassingStore
from holdfast.repository.store.store import Buffer, ObjectInfo, ObjectStore
from tests.support.memory_store import FaultyStore, MemoryStore

RESOURCE = "vm-test"
SEALER = Sealer(bytes(16), bytes(32))


def _lease(store: ObjectStore) -> Lease:
    return Lease(store, SEALER, SystemClock(), RESOURCE, "guest")


def _generations(store: ObjectStore) -> list[int]:
    return sorted(int(info.key.rpartition("/")[2], 16) for info in store.list("leases/"))


def _newest(store: ObjectStore) -> LeaseRecord:
    return read_lease(store, SEALER, max(info.key for info in store.list("leases/")))


def _put_record(store: ObjectStore, generation: int, **changes: object) -> None:
    """The newest record again under another generation, with some fields changed."""
    record = _newest(store)
    fields = {name: getattr(record, name) for name in LeaseRecord.__slots__} | changes
    key = f"leases/{RESOURCE}/{generation:016x}"
    store.put_new(key, [SEALER.seal(Kind.LEASE, key, json.dumps(fields).encode())])


def test_one_holds_the_other_is_told_who() -> None:
    store = MemoryStore()
    with _lease(store).acquire():
        with pytest.raises(LeaseHeld) as raised:
            _lease(store).acquire()
        assert str(os.getpid()) in raised.value.holder
        assert raised.value.what == "guest"


def test_released_is_free_at_once() -> None:
    store = MemoryStore()
    for _ in range(3):
        with _lease(store).acquire():
            pass
        assert _newest(store).released
    assert len(_generations(store)) == 1, "old generations are removed"


def test_generations_only_grow() -> None:
    store = MemoryStore()
    seen: list[int] = []
    for _ in range(3):
        with _lease(store).acquire() as lease:
            seen.extend(_generations(store))
            lease.confirm()
            seen.extend(_generations(store))
    assert seen == sorted(set(seen))


def test_expires_by_the_storages_clock() -> None:
    store = MemoryStore()
    held = _lease(store).acquire()
    store.advance(TTL_S - 5)
    with pytest.raises(LeaseHeld):
        _lease(store).acquire()
    store.advance(10)
    with _lease(store).acquire(), pytest.raises(LeaseLost):
        held.confirm()
    held.release()
    assert _newest(store).released


def test_a_holder_that_slept_has_lost_it_even_when_nobody_came() -> None:
    store = MemoryStore()
    with _lease(store).acquire() as lease:
        lease.confirm()
        store.advance(TTL_S + 1)
        with pytest.raises(LeaseLost):
            lease.confirm()
        with pytest.raises(LeaseLost):
            lease.confirm()


def test_a_holder_that_slept_does_not_disturb_its_successor() -> None:
    store = MemoryStore()
    slept = _lease(store).acquire()
    store.advance(TTL_S + 1)
    with _lease(store).acquire() as successor:
        for _ in range(3):
            successor.confirm()
        with pytest.raises(LeaseLost):
            slept.confirm()
        slept.release()
        successor.confirm()
        assert not _newest(store).released


def test_a_dead_process_is_replaced_at_once() -> None:
    store = MemoryStore()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with _lease(store).acquire():
        _put_record(store, 50, pid=child.pid, pid_started="12345")
        with _lease(store).acquire():
            assert _newest(store).pid == os.getpid()


def test_a_reused_pid_is_another_process() -> None:
    store = MemoryStore()
    with _lease(store).acquire():
        _put_record(store, 50, pid_started="1")
        with _lease(store).acquire():
            pass


def test_a_process_of_another_boot_may_be_alive() -> None:
    store = MemoryStore()
    with _lease(store).acquire():
        _put_record(store, 50, boot_id="another", pid=2**22 + 1, host="elsewhere")
        with pytest.raises(LeaseHeld, match="elsewhere"):
            _lease(store).acquire()


def test_of_many_at_once_one_gets_it() -> None:
    for _ in range(10):
        store = MemoryStore()
        barrier = threading.Barrier(8)

        def acquire(_: int, store: MemoryStore = store, barrier: threading.Barrier = barrier):
            barrier.wait()
            try:
                return _lease(store).acquire()
            except LeaseHeld:
                return None

        with ThreadPoolExecutor(8) as pool:
            held = [lease for lease in pool.map(acquire, range(8)) if lease is not None]
        assert len(held) == 1
        held[0].release()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_late_acquirer_cannot_take_a_generation_that_is_past(steps: int) -> None:
    """It saw the lease free, then stood still while another run came and went further: the number
    it wants is unused again, because the other's old generations were removed."""
    memory = MemoryStore()
    _lease(memory).acquire().release()
    other = _lease(memory)
    late = FaultyStore(memory)

    def other_goes_first(operation: str, _key: str) -> None:
        if operation == "put_new":
            late.before = None
            other.acquire()
            for _ in range(steps):
                other.confirm()

    late.before = other_goes_first
    with pytest.raises(LeaseHeld):
        _lease(late).acquire()
    other.confirm()
    other.release()
    assert _newest(memory).released


def test_a_late_acquirer_behind_a_finished_run_starts_after_it() -> None:
    memory = MemoryStore()
    _lease(memory).acquire().release()
    late = FaultyStore(memory)

    def other_comes_and_goes(operation: str, _key: str) -> None:
        if operation == "put_new":
            late.before = None
            with _lease(memory).acquire() as other:
                other.confirm()

    late.before = other_comes_and_goes
    before = max(_generations(memory))
    with suppress(LeaseHeld):
        _lease(late).acquire().release()
    assert max(_generations(memory)) > before
    with _lease(memory).acquire() as lease:
        lease.confirm()


@pytest.mark.parametrize("operation", ["list", "put_new"])
def test_a_failed_acquire_holds_nothing(operation: str) -> None:
    store = FaultyStore(MemoryStore())
    seen: list[str] = []

    def fail_behind_the_put(name: str, _key: str) -> None:
        seen.append(name)
        if name == operation and "put_new" in seen:
            store.before = None
            raise StoreUnavailable(location="memory", problem="away")

    store.before = fail_behind_the_put
    with pytest.raises(StoreUnavailable):
        _lease(store).acquire()
    with _lease(store).acquire():
        pass


def test_a_full_store_does_not_break_release() -> None:
    store = FaultyStore(MemoryStore())
    lease = _lease(store).acquire()
    store.fail("put_new", OutOfSpace(location="memory"))
    lease.release()
    assert not _newest(store).released


def test_no_thread_outlives_release() -> None:
    before = threading.active_count()
    with _lease(MemoryStore()).acquire():
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


class _Answering(PassingStore):
    """Does something before it says what the time is."""

    def __init__(self, inner: ObjectStore, before: Callable[[], object]) -> None:
        super().__init__(inner)
        self._before = before

    def now(self) -> datetime:
        self._before()
        return self.inner.now()


def test_of_two_that_find_it_expired_one_takes_it() -> None:
    store = MemoryStore()
    _lease(store).acquire()
    store.advance(TTL_S + 1)
    others: list[Lease] = []
    slow = _lease(_Answering(store, lambda: others.append(_lease(store).acquire())))
    with pytest.raises(LeaseHeld):
        slow.acquire()
    others[0].confirm()


def test_whether_a_released_one_is_old_is_not_asked() -> None:
    store = MemoryStore()
    _lease(store).acquire().release()

    def fail() -> None:
        raise AssertionError("the time was asked")

    _lease(_Answering(store, fail)).acquire().release()


class _ListedBeforeDeleted(PassingStore):
    """Deletes nothing before somebody has listed since it was told to."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._listed = threading.Event()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = list(self.inner.list(prefix))
        self._listed.set()
        return iter(found)

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        self.inner.put_new(key, parts)
        self._listed.clear()

    def delete(self, key: str) -> None:
        assert self._listed.wait(10)
        self.inner.delete(key)


def test_the_generation_before_may_go_after_the_newest_was_proven() -> None:
    store = MemoryStore()
    lease = _lease(_ListedBeforeDeleted(store)).acquire()
    lease.confirm()
    lease.confirm()
    assert _generations(store) == [3]
    other = _lease(store)
    other._generation = 3  # pyright: ignore[reportPrivateUsage]
    other._put_next(released=False)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(LeaseLost):
        lease.confirm()
