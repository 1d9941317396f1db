"""The map tree against a dictionary, over every change of size."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from holdfast.repository.disk_map import FANOUT, DiskMap, DiskMapWriter, tree_height
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ID_BYTES, ZERO_ID

COUNTS = [0, 1, 2, FANOUT - 1, FANOUT, FANOUT + 1, 3 * FANOUT + 7, FANOUT**2, FANOUT**2 + 1]


class _Pages:
    """Stored pages by id, as a repository keeps them."""

    def __init__(self) -> None:
        self.stored: dict[bytes, bytes] = {}
        self.fetched = 0

    def store(self, page: bytes) -> bytes:
        page_id = blake3(page).digest()
        self.stored[page_id] = page
        return page_id

    def fetch(self, page_id: bytes) -> bytes:
        self.fetched += 1
        return self.stored[page_id]

    def write(
        self, count: int, changes: Sequence[tuple[int, bytes]], parent: DiskMap | None = None
    ) -> DiskMap:
        writer = DiskMapWriter(chunk_count=count, parent=parent, store=self.store)
        for index, chunk_id in changes:
            writer.set(index, chunk_id)
        root, height = writer.finish()
        return DiskMap(root=root, height=height, chunk_count=count, fetch=self.fetch)


def _chunk(number: int) -> bytes:
    return blake3(number.to_bytes(8, "little")).digest()


def _some(count: int, seed: int, most: int = 40) -> dict[int, bytes]:
    """Chunks at random, the first, the last and those at page borders among them."""
    if count == 0:
        return {}
    chance = random.Random(seed)
    places = {chance.randrange(count) for _ in range(min(most, count))}
    borders = {0, count - 1, FANOUT - 1, FANOUT, FANOUT**2 - 1, FANOUT**2}
    places |= {place for place in borders if place < count and chance.random() < 0.7}
    return {place: _chunk(chance.randrange(1, 1000)) for place in places}


def _assert_equal(stored: DiskMap, model: dict[int, bytes]) -> None:
    expected = sorted((index, chunk) for index, chunk in model.items() if chunk != ZERO_ID)
    assert list(stored.data_chunks()) == expected
    for index in [*list(model)[:50], 0, stored.chunk_count - 1, stored.chunk_count // 2]:
        if 0 <= index < stored.chunk_count:
            assert stored.chunk_id(index) == model.get(index, ZERO_ID)
    for index in (-1, stored.chunk_count):
        with pytest.raises(IndexError):
            stored.chunk_id(index)


@pytest.mark.parametrize(
    ("count", "height"),
    [(0, 0), (1, 1), (512, 1), (513, 2), (512**2, 2), (512**2 + 1, 3), (512**3 + 1, 4)],
)
def test_height(count: int, height: int) -> None:
    assert tree_height(count) == height


@pytest.mark.parametrize("count", COUNTS)
def test_round_trip(count: int) -> None:
    model = _some(count, count)
    _assert_equal(_Pages().write(count, list(model.items())), model)


@pytest.mark.parametrize("count", COUNTS)
def test_an_empty_disk_is_one_id(count: int) -> None:
    pages = _Pages()
    stored = pages.write(count, [(index, ZERO_ID) for index in range(min(count, 600))])
    assert stored.root == ZERO_ID
    assert pages.stored == {}
    assert list(stored.data_chunks()) == []
    assert list(stored.page_ids()) == []


@pytest.mark.parametrize("before", COUNTS)
@pytest.mark.parametrize("after", COUNTS)
@pytest.mark.parametrize("changed", [False, True])
def test_over_a_parent_of_any_size(before: int, after: int, changed: bool) -> None:
    pages = _Pages()
    model = _some(before, before + 1)
    parent = pages.write(before, list(model.items()))
    changes = _some(after, after + 2) if changed else {}
    for index in list(model)[::3]:
        if index < after and changed:
            changes[index] = ZERO_ID
    child = pages.write(after, list(changes.items()), parent)
    expected = {index: chunk for index, chunk in model.items() if index < after} | changes
    _assert_equal(child, expected)
    _assert_equal(parent, model)
    fresh = pages.write(after, list(expected.items()))
    assert child.root == fresh.root, "the root is the content's, however it came about"


@st.composite
def _histories(draw: st.DrawFn) -> list[tuple[int, list[tuple[int, int]]]]:
    """Sizes, and for each some `(place in 1/1000 of the disk, chunk number; 0 for zeroes)`."""
    sizes = st.one_of(st.integers(0, 1600), st.sampled_from(COUNTS))
    changes = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 5)), max_size=30)
    return draw(st.lists(st.tuples(sizes, changes), min_size=1, max_size=6))


@given(_histories())
def test_any_history_of_maps_equals_a_dictionary(
    history: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    pages, model = _Pages(), dict[int, bytes]()
    parent: DiskMap | None = None
    for count, changes in history:
        model = {index: chunk for index, chunk in model.items() if index < count}
        ids = [
            (place * count // 1000, _chunk(number) if number else ZERO_ID)
            for place, number in changes
            if count
        ]
        parent = pages.write(count, ids, parent)
        model.update(ids)
        _assert_equal(parent, model)


def test_an_incremental_writes_only_the_way_to_its_changes() -> None:
    pages = _Pages()
    count = FANOUT**2 + 5
    full = pages.write(count, [(index, _chunk(index)) for index in range(0, count, 100)])
    before, fetched = len(pages.stored), pages.fetched
    pages.write(count, [(FANOUT * 9 + 3, _chunk(1))], full)
    assert len(pages.stored) - before == 3
    assert pages.fetched - fetched <= 3


def test_zero_subtrees_cost_nothing_to_walk() -> None:
    pages = _Pages()
    count = FANOUT**3
    stored = pages.write(count, [(0, _chunk(1)), (count - 1, _chunk(2))])
    pages.fetched = 0
    assert [index for index, _ in stored.data_chunks()] == [0, count - 1]
    assert pages.fetched <= 20, "of 262 146 pages"


def test_part_of_a_map() -> None:
    count = 3 * FANOUT
    stored = _Pages().write(count, [(index, _chunk(index)) for index in range(0, count, 2)])
    found = [index for index, _ in stored.data_chunks(FANOUT - 3, 2 * FANOUT + 3)]
    assert found == list(range(FANOUT - 2, 2 * FANOUT + 3, 2))


def test_every_stored_page_is_named() -> None:
    pages = _Pages()
    stored = pages.write(FANOUT**2 + 1, [(0, _chunk(1)), (FANOUT**2, _chunk(2))])
    assert set(stored.page_ids()) == set(pages.stored)


def test_a_page_of_another_length_is_damage() -> None:
    pages = _Pages()
    stored = pages.write(FANOUT + 1, [(0, _chunk(1)), (FANOUT, _chunk(2))])
    pages.stored[stored.root] += bytes(ID_BYTES)
    with pytest.raises(ObjectDamaged):
        list(stored.data_chunks())


def test_a_height_that_does_not_fit_is_damage() -> None:
    with pytest.raises(ObjectDamaged):
        DiskMap(root=ZERO_ID, height=1, chunk_count=FANOUT + 1, fetch=_Pages().fetch)
