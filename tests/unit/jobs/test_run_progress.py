from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.catalog.models import Run
from holdfast.jobs.run_progress import MAXIMUM_SAMPLES, RunProgress


def fields(done: int, total: int, **values: Any) -> dict[str, Any]:
    return {
        "phase": "reading vda",
        "current": "vda",
        "done_bytes": done,
        "total_bytes": total,
        "read_bytes": done,
        "stored_bytes": 0,
        "disks": [],
        "busy_ns": {"source": 1, "network": 0, "cpu": 3, "repository": 0},
        **values,
    }


def written(progress: RunProgress) -> Run:
    run = Run()
    progress.write_to(run)
    return run


class TestRunProgress:
    def test_throughput_is_that_of_the_last_seconds_and_says_how_long_it_takes(self) -> None:
        progress = RunProgress(0.0)
        for second in range(11):  # 100 a second, then 300
            done = 100 * min(second, 5) + 300 * max(0, second - 5)
            progress.take(fields(done, 5000), float(second))
        run = written(progress)
        assert run.throughput_bps == 300
        assert run.eta_seconds == 10
        assert run.bottleneck == {"source": 25, "network": 0, "cpu": 75, "repository": 0}

    @given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=30))
    def test_percent_never_goes_back_nor_says_done(self, moves: list[tuple[int, int]]) -> None:
        progress = RunProgress(0.0)
        last = 0.0
        for second, (done, total) in enumerate(moves):
            progress.take(fields(done, total), float(second))
            percent = written(progress).percent
            assert last <= percent < 100
            last = percent

    def test_a_phase_without_bytes_takes_nothing_back(self) -> None:
        progress = RunProgress(0.0)
        progress.take(fields(900, 1000), 1.0)
        progress.take(fields(0, 0, phase="committing", current=""), 2.0)
        run = written(progress)
        assert (run.phase, run.done_bytes, run.total_bytes) == ("committing", 900, 1000)
        assert run.eta_seconds is None

    def test_samples_are_thinned_and_keep_the_whole_time(self) -> None:
        progress = RunProgress(0.0)
        for second in range(5000):
            progress.take(fields(second * 1000, 5_000_000), float(second))
        samples = progress.samples
        assert MAXIMUM_SAMPLES / 3 < len(samples) <= MAXIMUM_SAMPLES
        assert samples[0][0] < 40
        assert samples[-1][0] > 4900
        assert all(abs(rate - 1000) <= 1 for _, rate in samples)

    def test_disks_that_were_worked_on_are_complete_and_the_rest_is_pending(self) -> None:
        progress = RunProgress(0.0)
        disks = [
            {"key": key, "done_bytes": done, "total_bytes": 10}
            for key, done in (("vda", 10), ("vdb", 5), ("vdc", 0))
        ]
        progress.take(fields(5, 30, current="vda", disks=disks), 0.0)
        progress.take(fields(15, 30, current="vdb", disks=disks), 1.0)
        states = [disk["state"] for disk in written(progress).disks]
        assert states == ["completed", "running", "pending"]

    def test_a_cancelled_run_keeps_saying_so(self) -> None:
        progress = RunProgress(0.0)
        progress.take(fields(1, 2), 0.0)
        run = Run()
        run.cancel_requested_at = object()  # type: ignore[assignment]
        progress.write_to(run)
        assert run.phase == "cancelling"
