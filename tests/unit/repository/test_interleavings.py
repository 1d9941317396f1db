"""Backups, deletions, compact and restores on shared chunks, in two thousand orders of their store
operations: samples, always the same, of the plans with one change of actor, with two, with many.

What they must never do is lose a chunk of a point that somebody was told is safe. The last tests
break one safeguard each and expect the same search to find the loss.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

import numpy as np
import pytest

from holdfast.repository.compact import _Compact  # pyright: ignore[reportPrivateUsage]
from holdfast.repository.errors import ParentVanished
from holdfast.repository.index import ChunkIndex
from holdfast.repository.index_objects import IndexObjects
from holdfast.repository.mark import Marked
from holdfast.repository.relied_packs import ReliedPacks
from holdfast.repository.store.store import ObjectStore
from tests.support.engine import small_packs
from tests.support.interleaving import Outcome, Plan, Preempting, Shuffled, interleave
from tests.support.small_world import CHANGED, CHUNK, OLD, OTHER, Actor, World, small_world

_PLANS = int(os.environ.get("HOLDFAST_TEST_PLANS", "300"))
"""For each of the seven scenarios; HOLDFAST_TEST_SEED chooses others."""

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


def _rotation(world: World) -> Sequence[Actor]:
    """The data key rotates under a writer and a reader, and packs move to the new one."""
    return (
        world.restore("second", index_first=True),
        world.back_up("vm-c", (*OLD[:3], 40, 41), in_old_process=True),
        _in_turn(world.rotate(), world.delete("first"), world.compact(old_data_keys=True)),
    )


_SCENARIOS = (
    _full_on_deleted,
    _increment_on_deleted,
    _old_process,
    _two_writers,
    _restores,
    _restore_of_deleted,
    _rotation,
)
Scenario = Callable[[World], Sequence[Actor]]


def _in_turn(*actors: Actor) -> Actor:
    def act(store: ObjectStore) -> None:
        for actor in actors:
            actor(store)

    return act


def _run(scenario: Scenario, plan: Plan) -> tuple[World, Outcome]:
    world = small_world()
    return world, interleave(world.store, plan, scenario(world))


def _plans(scenario: Scenario, limit: int) -> Iterator[Plan]:
    """All orders, then samples with one switch, with two, and with many."""
    source = random.Random(f"{scenario.__name__}{os.environ.get('HOLDFAST_TEST_SEED', '')}")
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
    small_packs(monkeypatch, 2 * CHUNK)
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
    assert _found([_full_on_deleted])


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
    assert _found([_full_on_deleted])


def test_the_search_finds_tombstones_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChunkIndex, "doubt", _nothing)
    assert _found([_full_on_deleted, _two_writers])


def test_the_search_finds_an_index_of_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexObjects, "forget_what_went", _nothing)
    monkeypatch.setattr(ReliedPacks, "is_there", _always)
    assert _found([_old_process])


def _nothing(*_: object) -> None:
    return None


def _always(*_: object) -> bool:
    return True
