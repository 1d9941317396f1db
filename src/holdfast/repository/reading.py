"""Many small objects read one after the other, or at once where the storage takes its time.

On a local disk a thread's turn costs more than the answer; on a bucket or over NFS one waits for
nothing but answers. Which of the two it is, the first few answers say. Enter at `each`, or at
`at_once` for work that keeps a core busy, or `gather` for thousands of answers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

_TRIAL = 3
_TRIAL_S = 0.02
_SLOW_S = 0.002
"""Answers that take longer than this on average, over at least `_TRIAL` of them and `_TRIAL_S`, are
worth a thread."""
_WORKERS = 48
_WINDOW, _BATCH = 2048, 8
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def each(
    act: Callable[[_Item], _Answer], items: Iterable[_Item], *, workers: int = _WORKERS
) -> Iterator[_Answer]:
    """`act` of each item, in the order of the items. Raises what `act` raises, in its place: what
    comes after it may have been asked for by then. Holds twice as many answers as there are
    workers at most."""
    rest = iter(items)
    count, spent_s = 0, 0.0
    for item in rest:
        started = time.monotonic()
        answer = act(item)
        spent_s += time.monotonic() - started
        count += 1
        yield answer
        if count >= _TRIAL and spent_s > _TRIAL_S:
            if spent_s / count > _SLOW_S:
                yield from at_once(act, rest, workers=workers)
                return
            count, spent_s = 0, 0.0


def at_once(
    act: Callable[[_Item], _Answer], items: Iterable[_Item], *, workers: int
) -> Iterator[_Answer]:
    """`each` with threads from the first item on."""
    rest = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="reading")
    waiting: deque[Future[_Answer]] = deque()
    try:
        waiting.extend(pool.submit(act, item) for item in islice(rest, 2 * workers))
        while waiting:
            answer = waiting.popleft().result()
            waiting.extend(pool.submit(act, item) for item in islice(rest, 1))
            yield answer
    finally:
        pool.shutdown(cancel_futures=True)


def gather(act: Callable[[_Item], _Answer], items: Iterable[_Item]) -> Iterator[_Answer]:
    """`act` of each item, in the order of the items, where `act` does nothing but wait and its
    answers are small. Also a local disk answers sooner when it is asked for much at once, as long
    as nobody computes meanwhile: a thread that waits for the interpreter's lock asks for nothing.
    So `_WINDOW` answers are there before the first of them is given away."""

    def answers(batch: Sequence[_Item]) -> list[_Answer]:
        return [act(item) for item in batch]

    rest = iter(items)
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="reading") as pool:
        while window := list(islice(rest, _WINDOW)):
            if len(window) <= _TRIAL:
                yield from map(act, window)
                continue
            size = max(1, min(_BATCH, len(window) // _WORKERS))
            batches = [window[start : start + size] for start in range(0, len(window), size)]
            yield from chain.from_iterable(list(pool.map(answers, batches)))
