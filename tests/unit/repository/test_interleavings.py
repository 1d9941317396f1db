"""Backups, deletions, compact and restores on shared chunks, in two thousand orders of their store
operations: every plan with one change of actor, then those with two and with many, at random.

What they must never do is lose a chunk of a point that somebody was told is safe. The last tests
break one safeguard each and expect the same search to find the loss.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

import numpy as np
import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.ids import uuid7
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import DiskRecord, Manifest, Repository, VmRecord
from holdfast.repository.compact import (
    CompactOptions,
    _Compact,  # pyright: ignore[reportPrivateUsage]
    run_compact,
)
from holdfast.repository.errors import ChunkMissing, ObjectMissing, ParentVanished
from holdfast.repository.format.config import decode_config, encode_config
from holdfast.repository.index import ChunkIndex
from holdfast.repository.mark import Marked
from holdfast.repository.session import BackupSession
from holdfast.repository.store.store import ObjectStore
from tests.support.engine import CREDENTIAL, small_packs
from tests.support.interleaving import (
    Outcome,
    Plan,
    Preempting,
    Shuffled,
    StoreClock,
    TickingStore,
    interleave,
)
from tests.support.memory_store import FaultyStore
from tests.support.oracle import read_disk

_CHUNK = 4 * KIB
_CHUNKS = 6
_NOW = CompactOptions(grace=timedelta(0), maximum_delete_share=1.0)
_PLANS = 340
"""For each of the six scenarios."""

Actor = Callable[[ObjectStore], None]
Content = tuple[int, ...]
"""A disk by the number of each chunk's content; 0 is a chunk of zeroes."""
OLD: Content = (1, 2, 3, 4, 5, 6)
CHANGED: Content = (1, 2, 9, 10, 11, 12)
OTHER: Content = (1, 20, 21, 22, 23, 24)


@cache
def _chunk(number: int) -> bytes:
    return random.Random(number).randbytes(_CHUNK)


def _bytes(content: Content) -> bytes:
    return b"".join(_chunk(number) for number in content)


@dataclass(kw_only=True)
class World:
    """A repository with a deleted past: points of two VMs that share chunks."""

    store: TickingStore
    key: Mapping[str, str]
    """A `Repository.share` document, so that no process has to derive a key."""
    acknowledged: dict[str, Content] = field(default_factory=dict[str, Content])
    names: dict[str, str] = field(default_factory=dict[str, str])
    deleted: set[str] = field(default_factory=set[str])

    def open(self, store: ObjectStore) -> Repository:
        config = decode_config(self.key["config"].encode(), location="memory")
        master = bytes.fromhex(self.key["master"])
        return Repository(store, config, master, StoreClock(store=self.store))

    # -- actors ---------------------------------------------------------------------------------

    def back_up(self, vm: str, content: Content, *, in_old_process: bool = False) -> Actor:
        """Like a run: on the VM's latest point when there is one, else a full one. An old process
        has read all of the index before the others begin."""
        handle = FaultyStore(self.store)
        repository = self.open(handle)
        if in_old_process:
            repository.load_index()

        def act(store: ObjectStore) -> None:
            handle.inner = store
            with repository.begin_backup(platform="p", vm_id=vm, vm_name=vm) as session:
                mine = [point for point in repository.points() if point.manifest.vm.id == vm]
                parent = mine[-1].manifest if mine else None
                repository.load_index()
                manifest = _stored(repository, session, vm, content, parent)
                session.commit(manifest)
                self.acknowledged[manifest.id] = content

        return act

    def delete(self, name: str) -> Actor:
        def act(store: ObjectStore) -> None:
            point_id = self.names[name]
            self.acknowledged.pop(point_id)
            self.deleted.add(point_id)
            self.open(store).delete_point(point_id)

        return act

    def compact(self, runs: int = 2) -> Actor:
        def act(store: ObjectStore) -> None:
            for _ in range(runs):
                _compact(self.open(store))

        return act

    def restore(self, name: str, *, index_first: bool) -> Actor:
        """Reads a point whose manifest was read before the others began. With `index_first` the
        index was too, so that every later move of a chunk is news to it."""
        handle = FaultyStore(self.store)
        repository = self.open(handle)
        point = repository.point(self.names[name])
        expected = self.acknowledged[point.id]
        if index_first:
            repository.load_index()

        def act(store: ObjectStore) -> None:
            handle.inner = store
            try:
                if not index_first:
                    repository.load_index()
                content = read_disk(repository, point.manifest.disks[0])
            except (ChunkMissing, ObjectMissing):
                assert point.id in self.deleted, "a restore of a living point failed"
                return
            assert content == _bytes(expected)

        return act

    # -- the oracle -----------------------------------------------------------------------------

    def assert_sound(self) -> None:
        repository = self.open(self.store)
        points = {point.id: point for point in repository.points()}
        assert set(self.acknowledged) <= set(points), "an acknowledged point is gone"
        repository.load_index()
        for point_id, point in points.items():
            try:
                content = read_disk(repository, point.manifest.disks[0])
            except HoldfastError as error:
                raise AssertionError(f"point {point_id} lost a chunk: {error}") from error
            if point_id in self.acknowledged:
                assert content == _bytes(self.acknowledged[point_id]), f"{point_id} differs"

    def assert_no_garbage_left(self) -> None:
        """Within two more runs, whatever the order before, only what is needed is left."""
        for _ in range(2):
            _compact(self.open(self.store))
        assert _compact(self.open(self.store)) == (0, 0), "compact does not come to an end"


def _compact(repository: Repository) -> tuple[int, int]:
    report = run_compact(repository, _NOW, cancel=CancelToken(), progress=SilentProgress())
    return report.tombstoned_packs, report.deleted_packs


def _stored(
    repository: Repository,
    session: BackupSession,
    vm: str,
    content: Content,
    parent: Manifest | None,
) -> Manifest:
    base = repository.disk_map(parent.disks[0]) if parent else None
    disk_map = session.new_map(len(content) * _CHUNK, base)
    for index, number in enumerate(content):
        chunk_id = session.chunk_id(_chunk(number))
        if base is None or base.chunk_id(index) != chunk_id:
            session.store_chunk(chunk_id, _chunk(number))
            disk_map.set(index, chunk_id)
    root, height = disk_map.finish()
    now = repository.clock.now()
    disk = DiskRecord(
        key="vda",
        size_bytes=len(content) * _CHUNK,
        format="raw",
        root=root,
        height=height,
        mode="full",
        reason="test",
        read_bytes=0,
        changed_bytes=0,
        stored_bytes=0,
        proven=True,
        token=None,
    )
    return Manifest(
        id=str(uuid7(repository.clock)),
        vm=VmRecord(id=vm, name=vm, platform="p"),
        run_id=str(uuid7(repository.clock)),
        captured_at=now,
        created_at=now,
        captured_as="full",
        parent_id=parent.id if parent else None,
        consistency="crash",
        chunk_bytes=_CHUNK,
        disks=[disk],
        artifacts=[],
    )


@cache
def _past() -> tuple[dict[str, bytes], World]:
    """`first` and its increment `second` of vm-a, and `third` of vm-b."""
    store = TickingStore()
    clock = StoreClock(store=store)
    repository, _ = Repository.create(store, CREDENTIAL, chunk_bytes=_CHUNK, clock=clock)
    key = {
        "config": encode_config(repository.config, vars(repository)["_master"]).decode(),
        "master": vars(repository)["_master"].hex(),
    }
    world = World(store=store, key=key)
    points = (("first", "vm-a", OLD), ("second", "vm-a", CHANGED), ("third", "vm-b", OTHER))
    for name, vm, content in points:
        known = set(world.acknowledged)
        world.back_up(vm, content)(store)
        world.names[name] = next(iter(set(world.acknowledged) - known))
    return store.objects, world


def _world() -> World:
    objects, past = _past()
    store = TickingStore(objects)
    store.advance(3600)
    return World(
        store=store,
        key=past.key,
        acknowledged=dict(past.acknowledged),
        names=dict(past.names),
    )


# -- the scenarios: each gives the actors that run at the same time -----------------------------


def _full_on_deleted(world: World) -> Sequence[Actor]:
    """A new VM has what only a point that goes away had."""
    return world.back_up("vm-c", OLD), world.delete("first"), world.compact()


def _increment_on_deleted(world: World) -> Sequence[Actor]:
    return world.back_up("vm-a", (*CHANGED[:5], 30)), world.delete("second"), world.compact()


def _old_process(world: World) -> Sequence[Actor]:
    process = world.back_up("vm-c", OTHER, in_old_process=True)
    return process, world.delete("third"), world.compact()


def _two_writers(world: World) -> Sequence[Actor]:
    world.delete("third")(world.store)
    return world.back_up("vm-c", OTHER), world.back_up("vm-d", OTHER), world.compact()


def _restores(world: World) -> Sequence[Actor]:
    old = world.restore("second", index_first=True)
    return (
        old,
        world.restore("third", index_first=False),
        _in_turn(world.delete("first"), world.compact()),
    )


def _restore_of_deleted(world: World) -> Sequence[Actor]:
    reader = world.restore("second", index_first=True)
    return reader, world.back_up("vm-b", CHANGED), _in_turn(world.delete("second"), world.compact())


_SCENARIOS = (
    _full_on_deleted,
    _increment_on_deleted,
    _old_process,
    _two_writers,
    _restores,
    _restore_of_deleted,
)
Scenario = Callable[[World], Sequence[Actor]]


def _in_turn(*actors: Actor) -> Actor:
    def act(store: ObjectStore) -> None:
        for actor in actors:
            actor(store)

    return act


def _run(scenario: Scenario, plan: Plan) -> tuple[World, Outcome]:
    world = _world()
    return world, interleave(world.store, plan, scenario(world))


def _plans(scenario: Scenario, limit: int) -> Iterator[Plan]:
    """All orders, then one switch at every step of every order, then two, then many."""
    source = random.Random(scenario.__name__)
    orders = list(itertools.permutations(range(3)))
    _, outcome = _run(scenario, Preempting(order=orders[0]))
    steps = range(1, outcome.steps + 1)
    yield from (Preempting(order=order) for order in orders)
    once = [
        Preempting(order=order, switches={step: actor})
        for order in orders
        for step in steps
        for actor in order[1:]
    ]
    source.shuffle(once)
    yield from once[: limit // 3]
    for _ in range(limit // 2):
        first, second = sorted(source.sample(steps, 2))
        order = source.choice(orders)
        switches = {first: source.choice(order[1:]), second: source.choice(order)}
        yield Preempting(order=order, switches=switches)
    yield from (Shuffled(seed, source.choice([2, 5, 15])) for seed in range(limit))


def _search(scenario: Scenario, limit: int) -> str:
    """The first plan that ends badly and how; empty when none does."""
    for number, plan in enumerate(itertools.islice(_plans(scenario, limit), limit)):
        world, outcome = _run(scenario, plan)
        try:
            for error in outcome.errors.values():
                assert isinstance(error, ParentVanished), f"{error.code}: {error}"
            world.assert_sound()
            if number % 8 == 0:
                world.assert_no_garbage_left()
                world.assert_sound()
        except AssertionError as error:
            return f"{scenario.__name__} by {plan}: {error}"
    return ""


@pytest.fixture(autouse=True)
def _many_packs(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    small_packs(monkeypatch, 2 * _CHUNK)
    # These runs are over within a second: with the usual allowance every lease in them would count.
    monkeypatch.setattr("holdfast.repository.compact.CLOCK_STEP", timedelta(0))


@pytest.mark.parametrize("scenario", _SCENARIOS)
def test_no_order_loses_anything(scenario: Scenario) -> None:
    assert _search(scenario, _PLANS) == ""


# -- the search itself: without a safeguard it finds the loss -----------------------------------


def _found(scenarios: Iterable[Scenario]) -> str:
    return next(filter(None, (_search(scenario, _PLANS) for scenario in scenarios)), "")


def test_the_search_finds_leases_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.repository.compact.oldest_lease", _nothing)
    assert "chunk" in _found([_full_on_deleted])


def test_the_search_finds_a_missing_second_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    def mark_once(self: _Compact, avoid: Iterable[bytes]) -> Marked:
        """The second mark says what the first did: of what is in tombstones nothing is needed."""
        packs = set(avoid)
        marked = real(self, packs)
        hashes = [pack in packs for pack, _ in marked.view.packs]
        marked.used[np.array(hashes, dtype=np.bool_)[marked.view.rows["pack"]]] = False
        return marked

    real = _Compact._mark  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(_Compact, "_mark", mark_once)
    assert "chunk" in _found([_full_on_deleted])


def test_the_search_finds_tombstones_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChunkIndex, "doubt", _nothing)
    assert "chunk" in _found([_full_on_deleted, _two_writers])


def test_the_search_finds_an_index_of_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Repository, "_forget_what_went", _nothing)
    assert "chunk" in _found([_old_process])


def _nothing(*_: object) -> None:
    return None
