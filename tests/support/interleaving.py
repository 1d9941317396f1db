"""Runs of several actors on one store, interleaved by plan instead of by luck.

Enter at `interleave`. Each actor is a thread with a store of its own; every store operation is a
point at which the plan may hand over to another actor, and exactly one actor runs at a time, so
that the same plan always gives the same run. Knows nothing of repositories.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from holdfast.core.errors import HoldfastError
from holdfast.repository.store.store import Buffer, ObjectInfo, ObjectStore
from tests.support.memory_store import MemoryStore

_STUCK_S = 60.0


class Plan(Protocol):
    """Who runs next. Must be deterministic."""

    def first(self, actors: Sequence[int]) -> int:
        """Who begins, and who goes on when an actor has ended, of those that have not."""
        ...

    def next(self, step: int, current: int, alive: Sequence[int]) -> int:
        """Who carries out store operation number `step` of the whole run, or another operation of
        its own instead: the current actor is about to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempting:
    """Actors run to their end in `order`, except that at each step in `switches` the actor named
    there goes on, if it has not ended."""

    order: Sequence[int]
    switches: Mapping[int, int] = field(default_factory=dict[int, int])

    def first(self, actors: Sequence[int]) -> int:
        return min(actors, key=self.order.index)

    def next(self, step: int, current: int, alive: Sequence[int]) -> int:
        wanted = self.switches.get(step, current)
        return wanted if wanted in alive else current


class Shuffled:
    """Hands over at random, at about every `run`-th operation."""

    def __init__(self, seed: int, run: float) -> None:
        self._seed = seed
        self._run = run
        self._random = random.Random(seed)

    def __repr__(self) -> str:
        return f"Shuffled({self._seed}, {self._run})"

    def first(self, actors: Sequence[int]) -> int:
        return self._random.choice(actors)

    def next(self, step: int, current: int, alive: Sequence[int]) -> int:
        return self._random.choice(alive) if self._random.random() * self._run < 1 else current


class TickingStore(MemoryStore):
    """Its clock moves by two milliseconds with each object put and otherwise stands still: the
    order of any two objects is that of their times."""

    _START = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self._START + self._ahead

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        self.advance(0.002)
        super().put_new(key, parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreClock:
    """The clock of a process beside a store whose time the test makes."""

    store: ObjectStore

    def now(self) -> datetime:
        return self.store.now()

    def monotonic_s(self) -> float:
        return self.store.now().timestamp()


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How the run went."""

    errors: dict[int, HoldfastError]
    """By actor: how it ended, when not well."""
    steps: int
    """Store operations of all actors."""


def interleave(
    store: ObjectStore, plan: Plan, actors: Sequence[Callable[[ObjectStore], None]]
) -> Outcome:
    """Run all actors to their end. An error of an actor that is no HoldfastError is raised."""
    return _Interleaving(store, plan, actors).run()


class _Interleaving:
    def __init__(
        self, store: ObjectStore, plan: Plan, actors: Sequence[Callable[[ObjectStore], None]]
    ) -> None:
        self._store = store
        self._plan = plan
        self._actors = actors
        self._alive = list(range(len(actors)))
        self._turns = [threading.Semaphore(0) for _ in actors]
        self._done = threading.Semaphore(0)
        self._errors: dict[int, HoldfastError] = {}
        self._crash: BaseException | None = None
        self._steps = 0

    def run(self) -> Outcome:
        threads = [
            threading.Thread(target=self._act, args=(number,), daemon=True)
            for number in range(len(self._actors))
        ]
        for thread in threads:
            thread.start()
        self._turns[self._plan.first(self._alive)].release()
        if not self._done.acquire(timeout=_STUCK_S):
            raise AssertionError(f"no actor ended: {self._plan}")
        for thread in threads:
            thread.join()
        if self._crash is not None:
            raise self._crash
        return Outcome(errors=self._errors, steps=self._steps)

    def yield_turn(self, current: int) -> None:
        """Called by the actor whose turn it is; returns when it is its turn again."""
        self._steps += 1
        chosen = self._plan.next(self._steps, current, self._alive)
        if chosen != current:
            self._turns[chosen].release()
            self._turns[current].acquire()

    def _act(self, number: int) -> None:
        self._turns[number].acquire()
        try:
            self._actors[number](_TurnTaking(self._store, self, number))
        except HoldfastError as error:
            self._errors[number] = error
        except BaseException as error:  # noqa: BLE001 - raised again by the thread of the test
            self._crash = error
        self._alive.remove(number)
        following = self._turns[self._plan.first(self._alive)] if self._alive else self._done
        following.release()


class _TurnTaking:
    """The store as one actor sees it. An actor may have threads, but has one turn: its operations
    take place one after the other."""

    def __init__(self, inner: ObjectStore, interleaving: _Interleaving, actor: int) -> None:
        self._inner = inner
        self._interleaving = interleaving
        self._actor = actor
        self._one = threading.Lock()

    @property
    def location(self) -> str:
        return self._inner.location

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        with self._one:
            self._interleaving.yield_turn(self._actor)
            self._inner.put_new(key, parts)

    def get(self, key: str) -> bytes:
        with self._one:
            self._interleaving.yield_turn(self._actor)
            return self._inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        with self._one:
            self._interleaving.yield_turn(self._actor)
            return self._inner.get_range(key, offset, length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._one:
            self._interleaving.yield_turn(self._actor)
            return self._inner.list(prefix)

    def stat(self, key: str) -> ObjectInfo:
        with self._one:
            self._interleaving.yield_turn(self._actor)
            return self._inner.stat(key)

    def delete(self, key: str) -> None:
        with self._one:
            self._interleaving.yield_turn(self._actor)
            self._inner.delete(key)

    def now(self) -> datetime:
        return self._inner.now()
