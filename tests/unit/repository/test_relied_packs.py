"""A writer relies on no pack that it has not seen, whatever the index says."""

from __future__ import annotations

import pytest

from holdfast.repository.relied_packs import ReliedPacks
from tests.support.engine import small_packs
from tests.support.memory_store import FaultyStore
from tests.support.oracle import read_disk
from tests.support.small_world import CHUNK, OTHER, World, content_of, small_world


@pytest.fixture(autouse=True)
def _many_packs(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    small_packs(monkeypatch, 2 * CHUNK)


def _of_the_past() -> World:
    """Packs are gone that index objects still name: they were put again, as an attacker can who
    kept them, or a process that stood still."""
    world = small_world()
    before = world.store.objects
    world.delete("third")(world.store)
    world.compact(runs=3)(world.store)
    after = world.store.objects
    gone = [key for key in before if key.startswith("packs/") and key not in after]
    assert gone, "compact took nothing"
    for key in before:
        if key.startswith("index/") and key not in after:
            world.store.put_new(key, [before[key]])
    return world


def test_an_index_object_that_was_put_back_costs_no_new_point_a_chunk() -> None:
    world = _of_the_past()
    world.back_up("vm-c", OTHER)(world.store)
    world.assert_sound()
    world.assert_no_garbage_left()
    world.assert_sound()


def test_a_pack_that_was_cut_short_is_not_relied_on() -> None:
    world = small_world()
    for key, data in world.store.objects.items():
        if key.startswith("packs/"):
            world.store.replace(key, data[:-1])
    world.back_up("vm-c", OTHER)(world.store)
    repository = world.open(world.store)
    (mine,) = [point for point in repository.points() if point.manifest.vm.id == "vm-c"]
    repository.load_index()
    assert read_disk(repository, mine.manifest.disks[0]) == content_of(OTHER)


def test_each_pack_is_asked_for_once_and_many_with_one_listing() -> None:
    world = small_world()
    world.back_up("vm-c", tuple(range(100, 200)))(world.store)
    asked: list[tuple[str, str]] = []
    handle = FaultyStore(world.store)
    index = world.open(world.store).load_index()
    handle.before = lambda operation, key: asked.append((operation, key))
    relied = ReliedPacks(handle, index)
    for _ in range(2):
        assert all(relied.is_there(pack) for pack in index.packs)
    singly = [key for operation, key in asked if operation == "stat"]
    listings = [key for operation, key in asked if operation == "list"]
    assert len(index.packs) > 40
    assert len(singly) == len(set(singly)) == 31
    assert listings == ["packs/"]
