"""Compact beside a storage that answers wrongly, clocks that jump, and a writer that sleeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.repository.errors import (
    ClockSkew,
    LeaseLost,
    ObjectMissing,
    RepositoryIncomplete,
    StoreUnavailable,
)
from holdfast.repository.leases import CLOCK_STEP, TTL_S
from holdfast.repository.session import BackupSession
from holdfast.repository.store.store import Buffer, ObjectInfo, ObjectStore
from tests.support.engine import small_packs
from tests.support.memory_store import FaultyStore
from tests.support.small_world import CHUNK, OTHER, World, compact_once, small_world, store_disk

Listing = Sequence[ObjectInfo]


def _empty(_: Listing) -> Listing:
    return []


def _short(found: Listing) -> Listing:
    return found[:-1]


def _gapped(found: Listing) -> Listing:
    """Without the last but one: of the leases the newest, the last being compact's own."""
    return [*found[:-2], *found[-1:]]


def _doubled(found: Listing) -> Listing:
    return [*found, *found]


_LISTED: dict[str, Callable[[Listing], Listing]] = {
    "empty": _empty,
    "short": _short,
    "gapped": _gapped,
    "doubled": _doubled,
}


@dataclass(kw_only=True)
class MisreadingStore:
    """Answers the `at`-th reading operation wrongly, in the way `fault` says: one of `_LISTED`
    for listings, `error` for all, `gone` for an unmounted share from there on."""

    inner: ObjectStore
    fault: str
    at: int
    reads: int = 0

    @property
    def location(self) -> str:
        return self.inner.location

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        self.inner.put_new(key, parts)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def get(self, key: str) -> bytes:
        self._count(key)
        return self.inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self._count(key)
        return self.inner.get_range(key, offset, length)

    def stat(self, key: str) -> ObjectInfo:
        self._count(key)
        return self.inner.stat(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.reads += 1
        found = list(self.inner.list(prefix))
        if self.reads == self.at and self.fault in _LISTED:
            return iter(_LISTED[self.fault](found))
        if self.reads == self.at and self.fault == "error":
            raise StoreUnavailable(location=self.location, problem="the test broke this listing")
        if self.reads >= self.at and self.fault == "gone":
            return iter(())
        return iter(found)

    def now(self) -> datetime:
        return self.inner.now()

    def _count(self, key: str) -> None:
        self.reads += 1
        if self.reads == self.at and self.fault == "error":
            raise StoreUnavailable(location=self.location, problem="the test broke this read")
        if self.reads >= self.at and self.fault == "gone":
            raise ObjectMissing(key=key, location=self.location)


class ForgetfulStore(FaultyStore):
    """Lists no point so many times."""

    def __init__(self, inner: ObjectStore, times: int) -> None:
        super().__init__(inner)
        self._times = times

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        if prefix == "points/" and self._times > 0:
            self._times -= 1
            return
        yield from super().list(prefix)


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A clock of its own, beside a storage whose clock jumps."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return self.moment.timestamp()


@pytest.fixture(autouse=True)
def _many_packs(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    small_packs(monkeypatch, 2 * CHUNK)


def _packs(world: World) -> set[str]:
    return {key for key in world.store.objects if key.startswith("packs/")}


class Writer:
    """A backup that has found everything it needs in packs that nothing else needs."""

    def __init__(self, world: World, store: ObjectStore | None = None) -> None:
        self._world = world
        self._repository = world.open(store or world.store)
        self._session: BackupSession = self._repository.begin_backup(
            platform="p", vm_id="vm-c", vm_name="vm-c"
        )
        self._manifest = store_disk(self._repository, self._session, "vm-c", OTHER, None)

    def commit(self) -> None:
        with self._session as session:
            session.commit(self._manifest)
            self._world.acknowledged[self._manifest.id] = OTHER

    def give_up(self) -> None:
        self._session.__exit__(None, None, None)


def _with_writer() -> tuple[World, Writer]:
    """What the living writer relies on is in a tombstone by now."""
    world = small_world()
    writer = Writer(world)
    world.delete("third")(world.store)
    compact_once(world.open(world.store))
    return world, writer


def _reads_of_a_run(make: Callable[[], World]) -> int:
    world = make()
    counting = MisreadingStore(inner=world.store, fault="", at=0)
    compact_once(world.open(counting))
    return counting.reads


@pytest.mark.parametrize("fault", [*_LISTED, "error", "gone"])
def test_nothing_that_a_writer_relies_on_goes(fault: str) -> None:
    def begin() -> World:
        world, writer = _with_writer()
        writer.give_up()
        return world

    for at in range(1, _reads_of_a_run(begin) + 1):
        world, writer = _with_writer()
        before = _packs(world)
        with suppress(HoldfastError):
            compact_once(world.open(MisreadingStore(inner=world.store, fault=fault, at=at)))
        assert before <= _packs(world), f"{fault} at read {at} let packs go"
        writer.commit()
        world.assert_sound()
        world.assert_no_garbage_left()


@pytest.mark.parametrize("fault", [*_LISTED, "error", "gone"])
def test_nothing_that_a_point_needs_goes(fault: str) -> None:
    def begin() -> World:
        world = small_world()
        world.delete("third")(world.store)
        return world

    for at in range(1, _reads_of_a_run(begin) + 1):
        world = begin()
        with suppress(HoldfastError):
            compact_once(world.open(MisreadingStore(inner=world.store, fault=fault, at=at)))
        world.assert_sound()


def test_a_share_that_goes_away_is_no_empty_repository() -> None:
    """From any read on. Every pack here is needed, so that none may go, nor be called unneeded."""
    for at in range(1, _reads_of_a_run(small_world) + 1):
        world = small_world()
        before = _packs(world)
        with suppress(HoldfastError):
            compact_once(world.open(MisreadingStore(inner=world.store, fault="gone", at=at)))
        assert before <= _packs(world), f"gone at read {at}"
        stones = [key for key in world.store.objects if key.startswith("tombstones/")]
        assert not stones, f"gone at read {at}: called unneeded"


def test_points_that_are_left_out_and_come_back_are_noticed() -> None:
    world = small_world()
    assert compact_once(world.open(ForgetfulStore(world.store, times=1))) == (0, 0)
    with pytest.raises(StoreUnavailable, match="left out"):
        compact_once(world.open(ForgetfulStore(world.store, times=2)))


def test_without_a_sentinel_nothing_begins() -> None:
    world = small_world()
    repository = world.open(world.store)
    world.store.delete("sentinel")
    with pytest.raises(RepositoryIncomplete):
        repository.begin_maintenance()


@pytest.mark.parametrize("step_s", [600, -600, 290, -290, 3600, -3600])
def test_a_clock_that_is_set_lets_nothing_go_early(step_s: float) -> None:
    """At every operation of both phases, for good and for a moment."""
    for back_after in (None, 1, 10, 40):
        at = 1
        while _jump(at, step_s, back_after):
            at += 3


def _jump(at: int, step_s: float, back_after: int | None) -> bool:
    """False when the runs have fewer operations."""
    world = small_world()
    world.clock = Stopped(moment=world.store.now())
    operations = 0

    def count(operation: str, key: str) -> None:
        nonlocal operations
        operations += operation != "now"
        if operation != "now" and operations == at:
            world.store.advance(step_s)
        if operation != "now" and back_after is not None and operations == at + back_after:
            world.store.advance(-step_s)

    jumping = FaultyStore(world.store)
    writer = Writer(world)
    world.delete("third")(world.store)
    before = _packs(world)
    jumping.before = count
    for _ in range(2):
        with suppress(ClockSkew, LeaseLost):
            compact_once(world.open(jumping))
    assert before <= _packs(world), f"{step_s} s at operation {at}, back after {back_after}"
    with suppress(LeaseLost):
        writer.commit()
    world.assert_sound()
    return operations >= at


@pytest.mark.parametrize("step_s", [301, -301])
def test_clocks_that_disagree_stop_it(step_s: float) -> None:
    world = small_world()
    world.clock = Stopped(moment=world.store.now())
    world.store.advance(step_s)
    with pytest.raises(ClockSkew):
        compact_once(world.open(world.store))


def test_a_writer_that_sleeps_past_its_lease_commits_nothing() -> None:
    world, writer = _with_writer()
    world.store.advance(TTL_S + CLOCK_STEP.total_seconds() + 1)
    assert compact_once(world.open(world.store))[1], "the packs it relied on should be gone"
    with pytest.raises(LeaseLost):
        writer.commit()
    world.assert_sound()


def test_a_writer_whose_storage_clock_went_back_is_waited_for() -> None:
    """Its lease was taken by a clock that ran ahead, after which the tombstone seems older."""
    world = small_world()
    world.store.advance(3600)
    writer = Writer(world)
    world.store.advance(-3600)
    world.delete("third")(world.store)
    assert compact_once(world.open(world.store))[1] == 0
    world.store.advance(TTL_S / 2)
    assert compact_once(world.open(world.store))[1] == 0
    with suppress(LeaseLost):
        writer.commit()
    world.assert_sound()
