"""Many answers: in order, at once where they take their time, an error in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from holdfast.repository.reading import each


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
