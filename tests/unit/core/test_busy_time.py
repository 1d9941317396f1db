from __future__ import annotations

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.busy_time import Activity, BusyTime, shares


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class TestBusyTime:
    def test_what_is_measured_inside_counts_for_the_inner_one(self) -> None:
        busy = BusyTime()
        started = time.perf_counter_ns()
        with busy.measure(Activity.CPU):
            spin(0.01)
            with busy.measure(Activity.REPOSITORY):
                spin(0.02)
        elapsed = time.perf_counter_ns() - started
        spent = busy.spent_ns()
        assert spent["repository"] >= 20e6
        assert spent["cpu"] >= 10e6
        assert spent["cpu"] + spent["repository"] <= elapsed

    def test_threads_add_up(self) -> None:
        busy = BusyTime()

        def work() -> None:
            with busy.measure(Activity.SOURCE):
                time.sleep(0.02)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert busy.spent_ns()["source"] >= 80e6


class TestShares:
    @given(st.dictionaries(st.sampled_from(list("abcd")), st.integers(0, 10**12)))
    def test_add_up_to_a_hundred(self, spent: dict[str, int]) -> None:
        found = shares(spent)
        assert (sum(found.values()) == 100) if sum(spent.values()) else found == {}
