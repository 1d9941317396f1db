"""From a mover's events to what the run's row shows: rates, time left, percent, samples. Pure:
times come from the caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from holdfast.catalog.models import Run
from holdfast.core.busy_time import shares

WINDOW_S = 5.0
MAXIMUM_SAMPLES = 300
_SAMPLE_S = 1.0
_LAST_PERCENT = 99.9
"""Until it is committed it is not done."""


class RunProgress:
    """One attempt. Feed `take`, then `write_to` the row."""

    def __init__(self, started_s: float) -> None:
        self._started_s = started_s
        self._fields: Mapping[str, Any] = {}
        self._disk_order: list[str] = []
        self._percent = 0.0
        self._done_bytes = 0
        self._counted = (0, 0)
        self._window: deque[tuple[float, int]] = deque()
        self._samples: list[tuple[float, int]] = []
        self._sample_s = _SAMPLE_S
        self._sampled_s = started_s
        self._sampled_bytes = 0

    def take(self, fields: Mapping[str, Any], now_s: float) -> None:
        """A `progress` event."""
        self._fields = fields
        if fields["current"] and fields["current"] not in self._disk_order:
            self._disk_order.append(fields["current"])
        done, total = int(fields["done_bytes"]), int(fields["total_bytes"])
        if done < self._done_bytes:
            # Another phase with counts of its own: a rate is known within one only.
            self._window.clear()
            self._sampled_s, self._sampled_bytes = now_s, done
        self._done_bytes = done
        if total > 0:
            self._counted = (done, total)
            self._percent = max(self._percent, min(_LAST_PERCENT, 100 * done / total))
        self._window.append((now_s, done))
        while len(self._window) > 2 and now_s - self._window[0][0] > WINDOW_S:
            self._window.popleft()
        self._sample(now_s, done)

    @property
    def throughput_bps(self) -> int:
        """Over the last seconds."""
        if len(self._window) < 2:
            return 0
        (first_s, first), (last_s, last) = self._window[0], self._window[-1]
        return int((last - first) / (last_s - first_s)) if last_s > first_s else 0

    @property
    def samples(self) -> list[tuple[float, int]]:
        return self._samples

    def write_to(self, run: Run) -> None:
        fields = self._fields
        if not fields:
            return
        rate = self.throughput_bps
        left = max(0, int(fields["total_bytes"]) - self._done_bytes)
        run.phase = fields["phase"] if run.cancel_requested_at is None else "cancelling"
        run.percent = self._percent
        # A phase that moves no bytes, such as the commit, takes nothing back.
        run.done_bytes, run.total_bytes = self._counted
        run.read_bytes, run.stored_bytes = int(fields["read_bytes"]), int(fields["stored_bytes"])
        run.throughput_bps = rate
        run.eta_seconds = round(left / rate) if rate > 0 and fields["total_bytes"] else None
        run.disks = [self._disk(disk) for disk in fields["disks"]]
        run.bottleneck = shares(fields["busy_ns"])
        run.samples = [list(sample) for sample in self._samples]

    def _disk(self, disk: Mapping[str, Any]) -> dict[str, Any]:
        key = disk["key"]
        if key == self._fields["current"]:
            is_done = disk["done_bytes"] >= disk["total_bytes"]
            state = "completed" if is_done else "running"
        else:
            state = "completed" if key in self._disk_order else "pending"
        return {**disk, "state": state}

    def _sample(self, now_s: float, done: int) -> None:
        elapsed = now_s - self._sampled_s
        if elapsed < self._sample_s:
            return
        rate = int((done - self._sampled_bytes) / elapsed)
        self._samples.append((round(now_s - self._started_s, 1), rate))
        self._sampled_s, self._sampled_bytes = now_s, done
        if len(self._samples) > MAXIMUM_SAMPLES:
            # Half as many, each for twice as long.
            pairs = zip(self._samples[::2], self._samples[1::2], strict=False)
            self._samples = [(second[0], (first[1] + second[1]) // 2) for first, second in pairs]
            self._sample_s *= 2
