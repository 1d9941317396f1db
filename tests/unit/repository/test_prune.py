"""Prune deletes what the rules say, and nothing that is held, the last good one, or unclear."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.ids import uuid7
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB
from holdfast.policy import RetentionRules
from holdfast.repository import DiskRecord, Manifest, Repository, VmRecord
from holdfast.repository.check import check_repository
from holdfast.repository.compact import CompactOptions, run_compact
from holdfast.repository.errors import (
    ChunkMissing,
    ClockSkew,
    LastGoodPoint,
    LeaseHeld,
    ObjectDamaged,
    ObjectMissing,
    PointHeld,
    PointNotFound,
    PruneTooLarge,
    StoreUnavailable,
)
from holdfast.repository.prune import PrunePlan, PruneReport, PruneScope, plan_prune, run_prune
from holdfast.repository.verify import VerifyOptions, verify_repository
from tests.support.engine import CREDENTIAL
from tests.support.memory_store import FaultyStore, MemoryStore

CHUNK = 4 * KIB
DAY_S = 86_400.0
LAST = RetentionRules(keep_last=1)


class StoreClock:
    """The storage's clock, seen from here with an error."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.error = timedelta(0)

    def now(self) -> datetime:
        return self._store.now() + self.error

    def monotonic_s(self) -> float:
        return self.now().timestamp()


class Place:
    """A repository whose time the test moves."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.store = FaultyStore(self.memory)
        self.clock = StoreClock(self.memory)
        self.repository, _ = Repository.create(
            self.store, CREDENTIAL, chunk_bytes=CHUNK, clock=self.clock
        )

    def reopen(self) -> Repository:
        return Repository.open(self.store, CREDENTIAL, clock=self.clock)

    def back_up(
        self, seeds: Sequence[int], *, vm: str = "vm", name: str = "", tags: Sequence[str] = ()
    ) -> str:
        """A point of one disk with a chunk for each seed."""
        now = self.clock.now()
        with self.repository.begin_backup(platform="p", vm_id=vm, vm_name=vm) as session:
            size_bytes = len(seeds) * CHUNK
            disk_map = session.new_map(size_bytes, None)
            for index, seed in enumerate(seeds):
                data = random.Random(seed).randbytes(CHUNK)
                chunk = session.chunk_id(data)
                session.store_chunk(chunk, data)
                disk_map.set(index, chunk)
            root, height = disk_map.finish()
            disk = DiskRecord(
                key="vda",
                size_bytes=size_bytes,
                format="raw",
                root=root,
                height=height,
                mode="full",
                reason="test",
                read_bytes=size_bytes,
                changed_bytes=size_bytes,
                stored_bytes=size_bytes,
                proven=True,
                token=None,
            )
            manifest = Manifest(
                id=str(uuid7(self.clock)),
                vm=VmRecord(id=vm, name=name or vm, platform="p"),
                run_id="run",
                captured_at=now,
                created_at=now,
                captured_as="full",
                parent_id=None,
                consistency="crash",
                chunk_bytes=CHUNK,
                disks=[disk],
                artifacts=(),
                tags=tags,
            )
            session.commit(manifest)
        return manifest.id

    def daily(self, count: int, *, vm: str = "vm") -> list[str]:
        """One point a day, oldest first, each with one chunk of its own and one of all."""
        made: list[str] = []
        for number in range(count):
            made.append(self.back_up([1000, number], vm=vm))
            self.memory.advance(DAY_S)
        return made

    def plan(self, rules: RetentionRules = LAST, *, vm: str | None = None) -> PrunePlan:
        scope = PruneScope(rules=rules, time_zone=UTC, vm_name=vm)
        return plan_prune(self.repository, scope, cancel=CancelToken(), progress=SilentProgress())

    def run(self, plan: PrunePlan, *, maximum_delete: int = 100) -> PruneReport:
        return run_prune(
            self.repository,
            plan,
            maximum_delete=maximum_delete,
            cancel=CancelToken(),
            progress=SilentProgress(),
        )

    def points(self) -> list[str]:
        return [point.id for point in self.repository.points()]

    def before_delete(self, act: Callable[[], None]) -> None:
        """Do something right before the next point is deleted."""

        def before(operation: str, key: str) -> None:
            if operation == "delete" and key.startswith("points/"):
                self.store.before = None
                act()

        self.store.before = before


@pytest.fixture
def place() -> Place:
    return Place()


def going(plan: PrunePlan) -> list[str]:
    return [planned.point.id for planned in plan.going]


def test_what_the_rules_do_not_keep_goes_and_its_space_with_it(place: Place) -> None:
    made = place.daily(5)
    before = set(place.memory.objects)
    plan = place.plan(RetentionRules(keep_daily=2))
    assert going(plan) == made[:3]
    assert set(place.memory.objects) == before  # a plan changes nothing
    # A chunk and a map page of each; the chunk of all is still needed.
    assert 3 * CHUNK < plan.freed_bytes < 3 * (CHUNK + 200)
    report = place.run(plan)
    assert (report.deleted, report.spared) == (made[:3], {})
    assert place.points() == made[3:]
    options = CompactOptions(grace=timedelta(0), maximum_delete_share=1.0, minimum_fill=1.0)
    run_compact(place.repository, options, cancel=CancelToken(), progress=SilentProgress())
    left = check_repository(
        place.reopen(), cancel=CancelToken(), progress=SilentProgress(), read_data=True
    )
    assert left.is_sound
    assert place.plan(RetentionRules(keep_daily=2)).freed_bytes == 0


def test_vms_are_judged_apart_and_one_can_be_chosen(place: Place) -> None:
    mine, others = place.daily(3), place.daily(3, vm="other")
    assert going(place.plan()) == [*mine[:2], *others[:2]]
    chosen = place.plan(vm="other")
    assert going(chosen) == others[:2]
    assert [planned.point.id for planned in chosen.points] == others
    place.run(chosen)
    assert place.points() == [*mine, others[2]]
    with pytest.raises(InvalidInput):
        place.plan(vm="nobody")


def test_a_vm_is_chosen_by_its_present_name(place: Place) -> None:
    old = place.back_up([1], vm="1", name="web")
    place.memory.advance(DAY_S)
    new = place.back_up([2], vm="1", name="web-old")
    replacement = place.back_up([3], vm="2", name="web")
    assert [planned.point.id for planned in place.plan(vm="web-old").points] == [old, new]
    assert [planned.point.id for planned in place.plan(vm="web").points] == [replacement]


def test_tags_are_kept_with_the_point(place: Place) -> None:
    tagged = place.back_up([1], tags=("release", "q4:2026"))
    made = place.daily(2)
    assert place.reopen().point(tagged).manifest.tags == ("release", "q4:2026")
    assert going(place.plan(RetentionRules(keep_tags=("release",)))) == made[:1]


# -- limits -------------------------------------------------------------------------------------


def test_more_than_the_maximum_stops_before_anything_goes(place: Place) -> None:
    made = place.daily(5)
    with pytest.raises(PruneTooLarge) as refused:
        place.run(place.plan(), maximum_delete=3)
    assert (refused.value.points, refused.value.all_points) == (4, 5)
    assert "--max-delete 4" in str(refused.value)
    assert place.points() == made
    assert place.run(place.plan(), maximum_delete=4).deleted == made[:4]


def test_only_one_prunes(place: Place) -> None:
    made = place.daily(2)
    plan = place.plan()
    with place.reopen().begin_maintenance(), pytest.raises(LeaseHeld):
        place.run(plan)
    assert place.points() == made


def test_nothing_to_do_needs_no_lease(place: Place) -> None:
    place.daily(1)
    with place.reopen().begin_maintenance():
        assert place.run(place.plan()).deleted == []


# -- holds --------------------------------------------------------------------------------------


def test_a_held_point_is_deleted_neither_by_rule_nor_by_hand(place: Place) -> None:
    made = place.daily(3)
    place.repository.hold([made[0]], "court order")
    assert place.repository.point(made[0]).held == "court order"
    with pytest.raises(PointHeld) as refused:
        place.repository.delete_point(made[0])
    assert refused.value.reason == "court order"
    assert place.run(place.plan()).deleted == [made[1]]
    assert place.repository.release([made[0], made[2]], "settled") == [made[0]]
    assert place.repository.point(made[0]).held == ""
    assert place.run(place.plan()).deleted == [made[0]]


def test_a_hold_after_a_release_stands_whatever_the_clocks_say(place: Place) -> None:
    (name,) = place.daily(1)
    place.repository.hold([name], "first")
    place.clock.error = timedelta(days=400)
    place.repository.release([name])
    place.clock.error = -timedelta(days=400)
    place.repository.hold([name], "second")
    assert place.repository.point(name).held == "second"


def test_a_release_ends_all_holds_of_its_points_and_no_other(place: Place) -> None:
    first, second = place.daily(2)
    place.repository.hold([first, second], "a")
    place.repository.hold([first], "b")
    assert place.repository.point(first).held == "a; b"
    place.repository.release([first])
    assert [point.held for point in place.repository.points()] == ["", "a"]


def test_holding_what_is_gone_is_refused(place: Place) -> None:
    (name,) = place.daily(1)
    place.repository.delete_point(name)
    for act in (place.repository.hold, place.repository.release):
        with pytest.raises(PointNotFound):
            act([name], "too late")


@pytest.mark.parametrize("which", ["hold", "release"])
def test_a_hold_or_release_that_cannot_be_read_holds_everything(place: Place, which: str) -> None:
    made = place.daily(3)
    place.repository.hold([made[0]], "why")
    place.memory.advance(1)  # ids of one millisecond are in no order
    place.repository.release([made[0]])
    hold, release = sorted(info.key for info in place.memory.list("holds/"))
    damaged = hold if which == "hold" else release
    sealed = bytearray(place.memory.get(damaged))
    sealed[-1] ^= 1
    place.memory.replace(damaged, bytes(sealed))
    held = {point.id for point in place.repository.points() if point.held}
    # The release names the first point with its hold, read or not.
    assert held == set(made[1:] if which == "hold" else made)
    with pytest.raises(PointHeld):
        place.repository.delete_point(made[1])
    place.repository.release(made)
    assert not any(point.held for point in place.repository.points())


def test_whatever_is_done_to_a_hold_it_does_not_let_go(place: Place) -> None:
    (name,) = place.daily(1)
    place.repository.hold([name], "why")
    (key,) = (info.key for info in place.memory.list("holds/"))
    sealed = place.memory.get(key)
    altered = [
        bytes([*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]]) for at in range(len(sealed))
    ]
    for data in (b"", sealed[:-1], sealed + b"x", *altered):
        place.memory.replace(key, data)
        assert "cannot be known" in place.repository.point(name).held
        with pytest.raises(PointHeld):
            place.repository.delete_point(name)


def test_a_hold_made_in_the_middle_of_a_prune_is_respected(place: Place) -> None:
    made = place.daily(4)
    plan = place.plan()
    place.before_delete(lambda: place.reopen().hold(made[1:2], "just now"))
    report = place.run(plan)
    assert report.deleted == [made[0], made[2]]
    assert report.spared == {made[1]: "held: just now"}


# -- a plan that is not right any more ----------------------------------------------------------


def test_points_that_the_rules_keep_by_now_are_spared(place: Place) -> None:
    made = place.daily(3)
    plan = place.plan()
    place.repository.mark_suspect([made[2]], "lying bitmap")
    report = place.run(plan)
    assert report.deleted == [made[0]]
    assert report.spared == {made[1]: "newest of the VM that is not in doubt; one of the last 1"}


def test_the_last_good_point_lives_though_its_successor_is_deleted_meanwhile(
    place: Place,
) -> None:
    made = place.daily(3)
    plan = place.plan()
    place.before_delete(lambda: place.reopen().delete_point(made[2]))
    with pytest.raises(LastGoodPoint) as refused:
        place.run(plan)
    assert refused.value.point == made[1]
    assert place.points() == [made[1]]


def test_points_deleted_meanwhile_are_no_error(place: Place) -> None:
    made = place.daily(3)
    plan = place.plan()
    place.repository.delete_point(made[0])
    assert place.run(plan).deleted == [made[1]]


# -- fails closed -------------------------------------------------------------------------------


def test_clocks_that_disagree_stop_it(place: Place) -> None:
    made = place.daily(3)
    plan = place.plan()
    for error in (timedelta(days=365), -timedelta(minutes=6)):
        place.clock.error = error
        for act in (place.plan, lambda: place.run(plan)):
            with pytest.raises(ClockSkew):
                act()
    assert place.points() == made


@pytest.mark.parametrize("operation", ["list", "get", "stat", "now", "put_new"])
def test_any_error_of_the_store_stops_it(place: Place, operation: str) -> None:
    """At each call of the operation in turn, until the run succeeds without being hit."""
    plan_rules = RetentionRules(keep_last=2)
    stopped = 0
    for number in range(1, 60):
        trial = Place()
        made = trial.daily(4)
        error = StoreUnavailable(location="here", problem="test")
        try:
            plan = trial.plan(plan_rules)
            _fail_nth(trial.store, operation, number, error)
            report = trial.run(plan)
        except HoldfastError as raised:
            assert raised is error or isinstance(raised.__cause__, HoldfastError)
            stopped += 1
        else:
            assert report.deleted == made[:2]
            if trial.store.before is not None:
                break  # the fault was never reached
        trial.store.before = None
        assert trial.points()[-2:] == made[2:]
    else:
        pytest.fail("the run never came to its end")
    assert stopped > 0


def _fail_nth(store: FaultyStore, operation: str, number: int, error: HoldfastError) -> None:
    calls = 0

    def before(name: str, key: str) -> None:
        nonlocal calls
        calls += name == operation
        if calls == number and name == operation:
            store.before = None
            raise error

    store.before = before


def test_an_unreadable_manifest_stops_it(place: Place) -> None:
    made = place.daily(3)
    place.memory.replace(f"points/{made[1]}", b"not a manifest")
    with pytest.raises(ObjectDamaged):
        place.plan()


def test_a_manifest_damaged_since_the_plan_stops_it(place: Place) -> None:
    """It may have been the only good one besides those that were to go."""
    made = place.daily(3)
    plan = place.plan()
    place.memory.replace(f"points/{made[2]}", b"not a manifest")
    with pytest.raises(ObjectDamaged):
        place.run(plan)
    assert len(list(place.memory.list("points/"))) == len(made)


def test_missing_data_of_what_would_stay_stops_it(place: Place) -> None:
    """Or the last complete point might go, and one stay that cannot be restored."""
    made = place.daily(3)
    newest = max(place.memory.list("packs/"), key=lambda info: info.modified)
    place.memory.delete(newest.key)
    place.repository = place.reopen()
    with pytest.raises((ChunkMissing, ObjectMissing)):
        place.plan()
    assert len(list(place.memory.list("points/"))) == len(made)


def _damage_newest_pack(place: Place) -> None:
    """Rot in the newest pack, found by a verify run."""
    newest = max(place.memory.list("packs/"), key=lambda info: info.modified)
    rotten = bytearray(place.memory.get(newest.key))
    rotten[200] ^= 1
    place.memory.replace(newest.key, bytes(rotten))
    verify_repository(
        place.reopen(), VerifyOptions(), cancel=CancelToken(), progress=SilentProgress()
    )


def test_a_point_that_verify_found_damaged_is_not_the_last_good_one(place: Place) -> None:
    made = place.daily(3)
    _damage_newest_pack(place)
    place.repository = place.reopen()
    plan = place.plan()
    assert going(plan) == [made[0]]
    reasons = {item.point.id: "; ".join(item.decision.reasons) for item in plan.points}
    assert reasons[made[1]].startswith("newest of the VM that is not in doubt")
    assert place.run(plan).deleted == [made[0]]


def test_damage_that_verify_finds_after_the_plan_spares_the_last_good_one(place: Place) -> None:
    made = place.daily(3)
    plan = place.plan()
    assert going(plan) == made[:2]
    _damage_newest_pack(place)
    report = place.run(plan)
    assert (report.deleted, list(report.spared)) == ([made[0]], [made[1]])


def test_a_point_of_a_damaged_pack_that_is_whole_all_the_same_is_good(place: Place) -> None:
    """Only a chunk of the point that goes is hit."""
    old = place.back_up([1, 2])
    place.memory.advance(DAY_S)
    place.back_up([3, 4])
    pack = min(place.memory.list("packs/"), key=lambda info: info.modified)
    rotten = bytearray(place.memory.get(pack.key))
    rotten[200] ^= 1
    place.memory.replace(pack.key, bytes(rotten))
    verify_repository(
        place.reopen(), VerifyOptions(), cancel=CancelToken(), progress=SilentProgress()
    )
    place.repository = place.reopen()
    assert going(place.plan()) == [old]
