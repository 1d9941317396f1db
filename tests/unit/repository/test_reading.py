"""Many answers: in order, at once where they take their time, an error in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.repository import reading
from holdfast.repository.reading import at_once, each, gather, side_by_side
from holdfast.repository.store.local import LocalStore
from tests.support.memory_store import MemoryStore


def test_quick_answers_come_from_the_caller_s_thread() -> None:
    threads = set(each(lambda _: threading.get_ident(), range(10_000)))
    assert threads == {threading.get_ident()}


def test_slow_answers_are_waited_for_together_and_come_in_order() -> None:
    """After the first three the rest meet at a barrier, which they pass together or not at all."""
    barrier = threading.Barrier(8)

    def answer(item: int) -> int:
        if item < 3:
            threading.Event().wait(0.02)
        else:
            barrier.wait(10)
        return item

    assert list(each(answer, range(3 + 4 * 8), workers=8)) == list(range(3 + 4 * 8))


def test_an_error_comes_in_its_place_and_no_more_is_asked_for() -> None:
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        while True:
            yield asked
            asked += 1

    def answer(item: int) -> int:
        threading.Event().wait(0.01)
        if item == 20:
            raise KeyError(item)
        return item

    answers = each(answer, items(), workers=4)
    found: list[int] = []
    with pytest.raises(KeyError, match="20"):
        found.extend(answers)
    assert found == list(range(20))
    assert asked <= 21 + 2 * 4


@pytest.mark.parametrize("count", [0, 1, 3, 4, 48, 49, 500, 2048, 2049, 5000])
def test_gathered_answers_come_in_order(count: int) -> None:
    assert list(gather(lambda item: -item, range(count))) == [-item for item in range(count)]


def test_much_is_asked_for_at_once() -> None:
    barrier = threading.Barrier(8)

    def answer(item: int) -> int:
        barrier.wait(10)
        return item

    assert list(gather(answer, range(16))) == list(range(16))


def test_nothing_is_asked_for_while_who_asked_computes() -> None:
    """Who holds the interpreter's lock would keep the readers waiting."""
    given = False
    late: list[int] = []

    def answer(item: int) -> int:
        if given:
            late.append(item)
        return item

    for item in gather(answer, range(2048)):
        given = True
        assert item >= 0
    assert late == []


@pytest.mark.parametrize("count", [2, 200])
def test_an_error_ends_it(count: int) -> None:
    def answer(item: int) -> int:
        if item == count - 1:
            raise KeyError(item)
        return item

    with pytest.raises(KeyError):
        list(gather(answer, range(count)))


def test_at_once_is_as_wide_as_its_workers() -> None:
    barrier = threading.Barrier(3)
    threads = set[int]()

    def answer(item: int) -> int:
        barrier.wait(10)
        threads.add(threading.get_ident())
        return item

    assert list(at_once(answer, range(30), workers=3)) == list(range(30))
    assert len(threads) == 3


def test_what_is_known_to_be_slow_is_waited_for_together_from_the_first_on() -> None:
    barrier = threading.Barrier(4)

    def answer(item: int) -> int:
        barrier.wait(10)
        return item

    assert list(each(answer, range(8), workers=4, is_slow=True)) == list(range(8))


@pytest.mark.parametrize(("slow_s", "is_wide"), [(60.0, False), (0.0, True)])
def test_few_threads_do_where_answers_are_quick(
    monkeypatch: pytest.MonkeyPatch, slow_s: float, is_wide: bool
) -> None:
    monkeypatch.setattr(reading, "_SLOW_S", slow_s)
    threads = set[threading.Thread]()

    def answer(item: int) -> int:
        threading.Event().wait(0.001)
        threads.add(threading.current_thread())
        return item

    assert list(gather(answer, range(1000))) == list(range(1000))
    assert (len(threads) > 16) is is_wide


def test_two_answers_of_a_distant_storage_are_waited_for_together() -> None:
    barrier = threading.Barrier(2)

    def one() -> str:
        barrier.wait(10)
        return "one"

    def other() -> int:
        barrier.wait(10)
        return 2

    assert side_by_side(MemoryStore(), one, other) == ("one", 2)


def test_two_answers_of_a_folder_come_one_after_the_other(tmp_path: Path) -> None:
    asked: list[int] = []
    side_by_side(LocalStore(tmp_path), lambda: asked.append(1), lambda: asked.append(2))
    assert asked == [1, 2]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_either_of_two_is_raised_when_both_have_ended(failing: int) -> None:
    ended: list[int] = []

    def answer(number: int) -> None:
        if number == failing:
            raise KeyError(number)
        threading.Event().wait(0.02)
        ended.append(number)

    with pytest.raises(KeyError, match=str(failing)):
        side_by_side(MemoryStore(), lambda: answer(0), lambda: answer(1))
    assert ended == [1 - failing]
