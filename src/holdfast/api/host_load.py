"""How busy the host of the service is. Enter at `HostLoadMeter.read`."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass

import psutil

from holdfast.api.schemas.system import HostLoad
from holdfast.core.clock import Clock

_LEAST_S = 1.0
"""Between two measurements; who asks sooner gets the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counters:
    at_s: float
    read_bytes: int
    write_bytes: int
    received_bytes: int
    sent_bytes: int


class HostLoadMeter:
    """Rates are over the time since the measurement before, whoever asked for it. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        psutil.cpu_percent(interval=None)  # the first one only begins to count
        self._before = self._counters()
        self._last: HostLoad | None = None

    def read(self) -> HostLoad:
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._last is None or now_s - self._before.at_s >= _LEAST_S:
                self._last = self._measure()
            return self._last

    def _measure(self) -> HostLoad:
        before, now = self._before, self._counters()
        self._before = now
        seconds = max(now.at_s - before.at_s, 0.001)
        memory = psutil.virtual_memory()
        load_1, load_5, load_15 = os.getloadavg()
        return HostLoad(
            host=socket.gethostname(),
            cpu_count=os.cpu_count() or 1,
            cpu_percent=psutil.cpu_percent(interval=None),
            load_1=round(load_1, 2),
            load_5=round(load_5, 2),
            load_15=round(load_15, 2),
            memory_total_bytes=memory.total,
            memory_used_bytes=memory.total - memory.available,
            disk_read_bps=_rate(before.read_bytes, now.read_bytes, seconds),
            disk_write_bps=_rate(before.write_bytes, now.write_bytes, seconds),
            network_receive_bps=_rate(before.received_bytes, now.received_bytes, seconds),
            network_send_bps=_rate(before.sent_bytes, now.sent_bytes, seconds),
            at=self._clock.now(),
        )

    def _counters(self) -> _Counters:
        disks, network = psutil.disk_io_counters(), psutil.net_io_counters()
        return _Counters(
            at_s=self._clock.monotonic_s(),
            read_bytes=disks.read_bytes if disks else 0,
            write_bytes=disks.write_bytes if disks else 0,
            received_bytes=network.bytes_recv,
            sent_bytes=network.bytes_sent,
        )


def _rate(before: int, now: int, seconds: float) -> int:
    """Counters of the system may begin anew; a rate is never negative."""
    return max(0, int((now - before) / seconds))
