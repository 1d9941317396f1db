"""A small load: what holds however slow the machine is. `make load` measures the real one."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.units import MIB
from tests.load.scene import BACKUPS, Load, percentile, put_under_load

_STALLED_MS = 5000.0


def test_a_small_load(tmp_path: Path) -> None:
    load = Load(queued=30, clients=20, seconds=3, disk_bytes=64 * MIB)
    found = put_under_load(tmp_path, load, held=True)
    assert found.pending == load.queued
    assert found.running == BACKUPS
    assert found.deaf == 0
    assert len(found.all_ms) >= 4
    assert percentile(found.all_ms, 99) < _STALLED_MS
