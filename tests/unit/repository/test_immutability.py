"""Locks of points and of what they need: set, renewed before a commit, respected, and ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from holdfast.core import failpoints
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError, InjectedFault
from holdfast.core.progress import SilentProgress
from holdfast.policy import RetentionRules
from holdfast.repository import Credential, LocalStore, Repository
from holdfast.repository.canary import last_verdict
from holdfast.repository.canary import test_immutability as attack
from holdfast.repository.compact import run_compact
from holdfast.repository.errors import ClockSkew, ObjectLocked, PointNotFound
from holdfast.repository.format.immutability import MAX_DAYS, Immutability
from holdfast.repository.lock import run_lock
from holdfast.repository.prune import PruneScope, plan_prune, run_prune
from holdfast.repository.session import point_key
from holdfast.repository.store.store import ObjectStore
from tests.support.engine import CREDENTIAL
from tests.support.locks import (
    assert_points_are_locked,
    delete_everything,
    lockable_folder,
    locks_of,
    needed_packs,
    permanent,
)
from tests.support.memory_store import FaultyStore, MemoryStore
from tests.support.small_world import AT_ONCE, CHANGED, OTHER, World, compact_once, small_world

DAY_S = 86_400.0
RULE = Immutability(days=20)
RUN = {"cancel": CancelToken(), "progress": SilentProgress()}


@pytest.fixture
def world() -> World:
    """Immutable from the beginning of its third hour on, with everything in it locked."""
    made = small_world()
    repository = made.open(made.store)
    repository.locks.put_rule(RULE)
    run_lock(made.open(made.store), **RUN)
    return made


def _back_up(world: World, vm: str, content: tuple[int, ...], store: ObjectStore) -> str:
    known = set(world.acknowledged)
    world.back_up(vm, content)(store)
    return next(iter(set(world.acknowledged) - known))


def test_all_that_a_point_needs_is_locked_and_nothing_else() -> None:
    store = MemoryStore()
    repository, _ = Repository.create(store, CREDENTIAL, immutability=RULE)
    assert {key for key, until in locks_of(store).items() if until} == set(permanent(store))
    with repository.begin_backup(platform="p", vm_id="a", vm_name="a"):
        pass
    assert {key for key, until in locks_of(store).items() if until} == set(permanent(store))
    assert not any(locks_of(store, "leases/").values())


def test_a_backup_renews_the_locks_of_the_packs_that_it_shares(world: World) -> None:
    world.store.advance(15 * DAY_S)
    point = _back_up(world, "vm-b", (*OTHER[:5], 50), world.store)
    repository = world.open(world.store)
    shared = set(needed_packs(repository, point)) & set(
        needed_packs(repository, world.names["third"])
    )
    assert shared
    assert_points_are_locked(repository)


def test_locks_that_last_are_not_renewed(world: World) -> None:
    handle = FaultyStore(world.store)
    asked: list[str] = []
    handle.before = lambda operation, key: asked.append(key) if operation == "lock" else None
    _back_up(world, "vm-b", OTHER, handle)
    assert asked == []
    world.store.advance(6 * DAY_S)  # more than the margin
    _back_up(world, "vm-b", OTHER, handle)
    assert any(key.startswith("packs/") for key in asked)


@pytest.mark.parametrize("applied", [False, True])
def test_whenever_a_backup_dies_no_point_outlasts_its_packs(applied: bool) -> None:
    write = 0
    while True:
        write += 1
        world = small_world()
        world.open(world.store).locks.put_rule(RULE)
        run_lock(world.open(world.store), **RUN)
        world.store.advance(15 * DAY_S)
        handle = FaultyStore(world.store)
        handle.die_at(write, applied=applied)
        try:
            world.back_up("vm-a", (*CHANGED[:5], 30))(handle)
        except HoldfastError:
            assert handle.died
        world.assert_sound()
        assert_points_are_locked(world.open(world.store))
        if not handle.died:
            break
        world.store.advance(120)
        _back_up(world, "vm-a", (*CHANGED[:5], 31), world.store)
        assert_points_are_locked(world.open(world.store))
    assert write > 8


def test_delete_says_until_when(world: World) -> None:
    repository = world.open(world.store)
    point = _back_up(world, "vm-b", OTHER, world.store)
    with pytest.raises(ObjectLocked) as raised:
        repository.delete_point(point)
    until = datetime.fromisoformat(raised.value.until)
    assert timedelta(days=20) <= until - repository.store.now() < timedelta(days=20, minutes=1)
    world.store.advance(20 * DAY_S + 60)
    repository.delete_point(point)
    with pytest.raises(PointNotFound):
        repository.delete_point(point)


def test_whoever_has_the_credentials_deletes_nothing_that_counts(world: World) -> None:
    _back_up(world, "vm-b", (*OTHER[:5], 50), world.store)
    before = permanent(world.store)
    delete_everything(world.store)
    assert permanent(world.store) == before
    world.assert_sound()
    assert_points_are_locked(world.open(world.store))


def _scope() -> PruneScope:
    rules = RetentionRules(keep_last=1, trust_old_times=True)
    return PruneScope(rules=rules, time_zone=ZoneInfo("UTC"))


def test_prune_shows_and_respects_locks(world: World) -> None:
    repository = world.open(world.store)
    plan = plan_prune(repository, _scope(), **RUN)
    first = next(item for item in plan.points if item.point.id == world.names["first"])
    assert first.decision.keep
    assert first.locked_until is not None
    assert f"immutable until {first.locked_until:%Y-%m-%d}" in first.decision.reasons[0]
    assert run_prune(repository, plan, **RUN).deleted == []
    world.store.advance(21 * DAY_S)
    plan = plan_prune(repository, _scope(), **RUN)
    assert run_prune(repository, plan, **RUN).deleted == [world.names["first"]]


def test_prune_spares_what_was_locked_since_the_plan(world: World) -> None:
    world.store.advance(21 * DAY_S)
    repository = world.open(world.store)
    plan = plan_prune(repository, _scope(), **RUN)
    handle = FaultyStore(world.store)

    def lock_late(operation: str, key: str) -> None:
        if operation == "delete" and key == point_key(world.names["first"]):
            late = world.store.now().replace(microsecond=0) + timedelta(days=1)
            world.store._locks[key] = late

    handle.before = lock_late
    report = run_prune(world.open(handle), plan, **RUN)
    assert "immutable until" in report.spared[world.names["first"]]


def test_compact_leaves_locked_packs_and_takes_them_when_their_time_has_come(world: World) -> None:
    world.store.advance(20 * DAY_S + 7200)  # points may go, their packs have the margin
    world.delete("first")(world.store)
    world.delete("second")(world.store)
    repository = world.open(world.store)
    report = run_compact(repository, AT_ONCE, **RUN)
    assert (report.tombstoned_packs, report.deleted_packs) == (0, 0)
    assert report.locked_packs > 0
    assert "immutable" in report.waiting[0]
    assert list(world.store.list("tombstones/")) == []
    world.store.advance(6 * DAY_S)
    assert compact_once(world.open(world.store))[1] > 0
    world.assert_sound()
    world.assert_no_garbage_left()


def test_compact_spares_a_tombstoned_pack_that_was_locked_since(world: World) -> None:
    world.store.advance(30 * DAY_S)
    world.delete("first")(world.store)
    world.delete("second")(world.store)
    options = AT_ONCE.__class__(grace=timedelta(hours=1), maximum_delete_share=1.0)
    assert run_compact(world.open(world.store), options, **RUN).tombstoned_packs > 0
    packs = [info.key for info in world.store.list("packs/")]
    late = world.store.now() + timedelta(days=1)
    for key in packs:
        world.store._locks[key] = late
    world.store.advance(7200)
    report = run_compact(world.open(world.store), options, **RUN)
    assert report.deleted_packs == 0
    assert report.locked_packs > 0
    assert [info.key for info in world.store.list("packs/")] == packs
    world.assert_sound()


def test_the_lock_step_renews_packs_of_living_points_and_held_points(world: World) -> None:
    world.store.advance(30 * DAY_S)
    world.open(world.store).hold([world.names["first"]], "audit")
    looked = run_lock(world.open(world.store), dry_run=True, **RUN)
    assert looked.unlocked
    report = run_lock(world.open(world.store), **RUN)
    assert set(report.short) == set(looked.short)
    repository, soon = world.open(world.store), world.store.now() + timedelta(days=20)
    for name in world.names.values():
        for key in needed_packs(repository, name):
            assert (world.store.locked_until(key) or soon) >= soon
            assert world.store.locked_until(key) is not None
    held = world.store.locked_until(point_key(world.names["first"]))
    free = world.store.locked_until(point_key(world.names["third"]))
    assert held is not None
    assert held > soon
    assert free is not None
    assert free < world.store.now()
    assert run_lock(world.open(world.store), dry_run=True, **RUN).short == []
    records = len(list(world.store.list("locks/")))
    run_lock(world.open(world.store), **RUN)
    assert len(list(world.store.list("locks/"))) == records <= 2


def test_one_lost_chunk_does_not_let_the_other_locks_end(world: World) -> None:
    gone = needed_packs(world.open(world.store), world.names["third"])[-1]
    world.store._locks.pop(gone)
    world.store.delete(gone)
    world.store.advance(30 * DAY_S)
    report = run_lock(world.open(world.store), **RUN)
    now = world.store.now()
    locked = [
        key for key, until in locks_of(world.store, "packs/").items() if until and until > now
    ]
    assert locked
    assert report.until is None or gone not in report.short


@dataclass(frozen=True, slots=True, kw_only=True)
class _AheadClock:
    store: ObjectStore
    ahead: timedelta

    def now(self) -> datetime:
        return self.store.now() + self.ahead

    def monotonic_s(self) -> float:
        return self.store.now().timestamp()


@pytest.mark.parametrize("years", [-1, 1, 200])
def test_no_lock_is_set_while_the_clocks_disagree(world: World, years: int) -> None:
    before = locks_of(world.store)
    world.clock = _AheadClock(store=world.store, ahead=timedelta(days=365 * years))
    with pytest.raises(ClockSkew):
        world.back_up("vm-b", (*OTHER[:5], 50))(world.store)
    with pytest.raises(ClockSkew):
        run_lock(world.open(world.store), **RUN)
    now = {key: until for key, until in locks_of(world.store).items() if key in before}
    assert now == {key: before[key] for key in now}


def test_no_rule_is_longer_than_ten_years() -> None:
    for days in (-1, MAX_DAYS + 1):
        with pytest.raises(ValueError, match="not a rule"):
            Immutability(days=days)


def test_a_removed_key_slot_goes_when_its_lock_has_ended() -> None:
    store = MemoryStore()
    repository, _ = Repository.create(store, CREDENTIAL, immutability=RULE)
    slot = repository.key_slots.add(Credential.passphrase("another one"))
    with repository.begin_maintenance(), pytest.raises(ObjectLocked):
        repository.key_slots.remove(slot)
    before = store.locked_until(f"keys/{slot}")
    assert f"keys/{slot}" not in set(repository.locks.roots())
    run_lock(Repository.open(store, CREDENTIAL), **RUN)
    assert store.locked_until(f"keys/{slot}") == before


def test_a_damaged_copy_of_a_data_key_waits_for_its_lock_and_is_in_nobodys_way() -> None:
    store = MemoryStore()
    repository, _ = Repository.create(store, CREDENTIAL, immutability=RULE)
    with repository.begin_maintenance():
        repository.data_keys.rotate()
    copies = [info.key for info in store.list("datakeys/")]
    assert len(copies) == 2
    assert all(store.locked_until(key) for key in copies)
    assert set(copies) <= set(repository.locks.roots())
    store._objects[copies[0]] = (b"junk", store.now())
    again = Repository.open(store, CREDENTIAL)
    with again.begin_maintenance():
        assert again.data_keys.renew_copies() == []
        assert again.data_keys.rotate() == 2
    assert [bad.key for bad in again.data_keys.damage()] == copies[:1]
    assert not again.data_keys.damage()[0].is_lost


def test_a_rule_of_no_days_locks_nothing_new(world: World) -> None:
    world.open(world.store).locks.put_rule(Immutability(days=0))
    point = _back_up(world, "vm-b", OTHER, world.store)
    assert world.store.locked_until(point_key(point)) is None


class _Forgetful(MemoryStore):
    """Takes locks and ignores them, as some services do."""

    def locked_until(self, key: str) -> datetime | None:
        until = super().locked_until(key)
        self._locks.pop(key, None)
        return until


def test_only_a_storage_that_keeps_locks_may_call_itself_immutable() -> None:
    for store, kept in ((MemoryStore(), True), (_Forgetful(), False)):
        repository, _ = Repository.create(store, CREDENTIAL, immutability=RULE)
        assert last_verdict(repository) is None
        verdict = attack(repository)
        assert verdict.is_immutable is kept
        assert bool(verdict.reasons) is not kept
        assert last_verdict(repository) == verdict
        assert attack(repository).is_immutable is kept
        assert len(list(store.list("verdicts/"))) == 1


# -- a folder -------------------------------------------------------------------------------------


def test_an_object_whose_writer_died_before_it_was_locked_is_locked_later(tmp_path: Path) -> None:
    with lockable_folder(tmp_path / "locks") as root:
        store = LocalStore(root)
        repository, _ = Repository.create(store, CREDENTIAL, immutability=RULE)
        failpoints.arm("local_store.before_lock:error")
        try:
            with pytest.raises(InjectedFault):
                repository.hold([], "a mark is an object like any other")
        finally:
            failpoints.disarm()
        (key,) = (info.key for info in store.list("holds/"))
        assert store.locked_until(key) is None
        report = run_lock(Repository.open(store, CREDENTIAL), **RUN)
        assert report.unlocked == [key]
        assert store.locked_until(key) is not None
