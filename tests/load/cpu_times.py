"""Who spends the cores while something is measured. Enter at `CpuTimes`."""

from __future__ import annotations

import os
from collections.abc import Mapping

import psutil


class CpuTimes:
    """From its making on: the service, the worker, its movers with all that they started, and the
    two processes of the measurement."""

    def __init__(self, service: int, worker: int, listeners: int) -> None:
        self._of = {"service": service, "worker": worker, "event clients": listeners}
        self._of["requests"] = os.getpid()
        self._worker = psutil.Process(worker)
        self._before = self._now()

    def since(self) -> Mapping[str, float]:
        """Seconds."""
        return {name: spent - self._before[name] for name, spent in self._now().items()}

    def _now(self) -> dict[str, float]:
        found = {name: _seconds(psutil.Process(pid)) for name, pid in self._of.items()}
        movers = self._worker.children(recursive=True)
        return {**found, "movers": sum(_seconds(mover) for mover in movers)}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
