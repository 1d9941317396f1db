"""A compact or a backup that stands still at any of its steps for longer than its lease, while
others take over and go on: when it wakes it must undo nothing of theirs, nor leave behind what
later runs would rely on in vain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.repository.errors import ClockSkew, LeaseHeld, LeaseLost
from holdfast.repository.leases import CLOCK_STEP, TTL_S
from holdfast.repository.store.store import ObjectStore
from tests.support.engine import small_packs
from tests.support.memory_store import FaultyStore
from tests.support.small_world import (
    CHANGED,
    CHUNK,
    OLD,
    OTHER,
    Actor,
    Content,
    World,
    compact_once,
    small_world,
)

Others = Callable[[World, ObjectStore], None]
_ASLEEP_S = TTL_S + CLOCK_STEP.total_seconds() + 1
_NEW: Content = (50, 51, 52, 53, 54, 55)
"""What no point has."""


@pytest.fixture(autouse=True)
def _many_packs(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    small_packs(monkeypatch, 2 * CHUNK)


def _nobody(world: World, store: ObjectStore) -> None:
    del world, store


def _another_compact(world: World, store: ObjectStore) -> None:
    world.compact(runs=3)(store)


def _backup_of_what_is_going(world: World, store: ObjectStore) -> None:
    """It needs the content of packs that the sleeper has found unneeded."""
    world.back_up("vm-c", OTHER)(store)


def _backup_then_compact(world: World, store: ObjectStore) -> None:
    world.back_up("vm-c", OTHER)(store)
    world.compact(runs=3)(store)


def _compact_then_backup(world: World, store: ObjectStore) -> None:
    world.compact(runs=3)(store)
    world.back_up("vm-c", OTHER)(store)


def _backup_between_two(world: World, store: ObjectStore) -> None:
    world.compact(runs=1)(store)
    world.back_up("vm-c", OTHER)(store)
    world.store.advance(CLOCK_STEP.total_seconds() + 1)
    world.compact(runs=2)(store)


def _delete_and_compact(world: World, store: ObjectStore) -> None:
    """What the sleeper still found needed goes."""
    for name in {"second", "half"} & world.names.keys():
        world.delete(name)(store)
    world.compact(runs=2)(store)


def _delete_compact_and_back_up(world: World, store: ObjectStore) -> None:
    _delete_and_compact(world, store)
    world.back_up("vm-c", CHANGED)(store)


_OTHERS = (
    _nobody,
    _another_compact,
    _backup_of_what_is_going,
    _backup_then_compact,
    _compact_then_backup,
    _backup_between_two,
    _delete_and_compact,
    _delete_compact_and_back_up,
)


@pytest.mark.parametrize("others", _OTHERS)
def test_a_compact_that_sleeps_past_its_lease(others: Others) -> None:
    taken_over = _sleep_at_every_step(_compact, others)
    assert taken_over, "the sleeper never noticed"


@pytest.mark.parametrize("others", _OTHERS)
def test_a_backup_that_sleeps_past_its_lease(others: Others) -> None:
    taken_over = _sleep_at_every_step(lambda world: world.back_up("vm-n", _NEW), others)
    assert taken_over, "the sleeper never noticed"


def _compact(world: World) -> Actor:
    """Of what it deletes some packs are named together with others that are needed."""
    whole, half = (60, 61, 62, 63), (60, 61, 64, 65)
    for name, content in (("whole", whole), ("half", half)):
        known = set(world.acknowledged)
        world.back_up(f"vm-{name}", content)(world.store)
        world.names[name] = next(iter(set(world.acknowledged) - known))
    for name in ("third", "first", "whole"):
        world.delete(name)(world.store)

    def act(store: ObjectStore) -> None:
        compact_once(world.open(store))

    return act


def _sleep_at_every_step(sleeper: Callable[[World], Actor], others: Others) -> int:
    """How often the sleeper found its lease lost."""
    step = taken_over = 0
    while True:
        step += 1
        ended, lost = _sleep_at(step, sleeper, others)
        taken_over += lost
        if ended:
            break
    assert step > 20, "these are not all the steps"
    return taken_over


def _sleep_at(step: int, sleeper: Callable[[World], Actor], others: Others) -> tuple[bool, bool]:
    """(whether the sleeper has fewer steps than that, whether it found its lease lost)."""
    world = small_world()
    act = sleeper(world)
    handle = FaultyStore(world.store)
    steps = 0

    def stand_still(_operation: str, _key: str) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            world.store.advance(_ASLEEP_S)
            try:
                others(world, world.store)
            except HoldfastError as error:
                raise AssertionError(f"the sleeper at step {step} stops others: {error}") from error

    handle.before = stand_still
    lost = False
    try:
        act(handle)
    except LeaseLost:
        lost = True
    except (LeaseHeld, ClockSkew):
        # It slept while it took the lease, or between a look at its own clock and the storage's.
        pass
    except HoldfastError as error:
        raise AssertionError(f"asleep at step {step}: {error.code}: {error}") from error
    _assert_later_runs_are_sound(world, f"{others.__name__}, asleep at step {step}")
    return steps < step, lost


def _assert_later_runs_are_sound(world: World, when: str) -> None:
    try:
        _assert_index_names_what_is_there(world)
        world.assert_sound()
        # A backup that relies on all that the index says is there.
        for vm, content in (
            ("vm-d", OTHER),
            ("vm-e", OLD),
            ("vm-a", CHANGED),
            ("vm-f", _NEW),
        ):
            world.back_up(vm, content)(world.store)
        world.assert_sound()
        world.store.advance(_ASLEEP_S)
        world.assert_no_garbage_left()
        world.assert_sound()
    except (AssertionError, HoldfastError) as error:
        raise AssertionError(f"{when}: {error}") from error


def _assert_index_names_what_is_there(world: World) -> None:
    index, stored = world.open(world.store).complete_index()
    assert index.packs.keys() <= stored.keys(), "the index names packs that are gone"
