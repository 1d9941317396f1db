"""Where the time of a run goes: busy time by activity, summed over all threads of this process.

A run has a process of its own, so the counters are the process's: `BUSY`. Measuring costs about a
microsecond and is done per batch, pack or request, never per chunk or byte. What is measured inside
of something measured counts once, for the inner one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import Enum


class Activity(Enum):
    SOURCE = "source"
    """Reading from the hypervisor or writing to a restored disk."""
    NETWORK = "network"
    """Requests to object storage."""
    CPU = "cpu"
    """Hashing, compressing, sealing, and waiting for a core to do so."""
    REPOSITORY = "repository"
    """Reading and writing a repository's folder."""


class _Nested(threading.local):
    inner_ns = 0


class BusyTime:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent_ns = dict.fromkeys(Activity, 0)
        self._nested = _Nested()

    @contextmanager
    def measure(self, activity: Activity) -> Generator[None]:
        nested = self._nested
        before, nested.inner_ns = nested.inner_ns, 0
        started = time.perf_counter_ns()
        try:
            yield
        finally:
            elapsed = time.perf_counter_ns() - started
            own = elapsed - nested.inner_ns
            nested.inner_ns = before + elapsed
            with self._lock:
                self._spent_ns[activity] += own

    def spent_ns(self) -> Mapping[str, int]:
        """By the activity's name, since the process began."""
        with self._lock:
            return {activity.value: spent for activity, spent in self._spent_ns.items()}


BUSY = BusyTime()


def shares(spent_ns: Mapping[str, int]) -> dict[str, int]:
    """In percent of the busy time, adding up to 100; empty when nothing was measured."""
    total = sum(spent_ns.values())
    if total <= 0:
        return {}
    exact = {name: spent * 100 / total for name, spent in spent_ns.items()}
    whole = {name: int(share) for name, share in exact.items()}
    # What rounding down left goes to those that lost most by it.
    by_loss = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in by_loss[: 100 - sum(whole.values())]:
        whole[name] += 1
    return whole
