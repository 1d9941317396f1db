"""T29: disks of awkward sizes, huge sparse ones, and disks that come, go and change size."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from holdfast.capture.plan import CaptureMode
from holdfast.core.units import KIB, MIB, TIB
from holdfast.repository import Repository
from tests.support.engine import CREDENTIAL, Engine
from tests.support.memory_store import MemoryStore
from tests.support.oracle import assert_repository_sound

CHUNK = 64 * KIB
SIZES = [
    0,
    1,
    511,
    512,
    513,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    64 * CHUNK - 512,
    512 * 4 * KIB + 1,
    5 * MIB + 7,
]


def _modes(engine: Engine) -> list[CaptureMode]:
    return [plan.mode for plan in engine.back_up().plans]


def _sound(engine: Engine) -> None:
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged, no_writer=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("content", ["zeros", "random", "repeating", "last_byte"])
def test_a_disk_of_any_size(size: int, content: str) -> None:
    engine = Engine.create(disks={"vda": size}, chunk_bytes=CHUNK)
    disk = engine.vm.disks["vda"]
    data = {
        "zeros": bytes(size),
        "random": random.Random(size).randbytes(size),
        "repeating": (b"repeating" * (size // 9 + 1))[:size],
        "last_byte": (bytes(size) + b"!")[1:] if size else b"",
    }[content]
    disk.write(0, data)
    first = engine.back_up()
    assert first.manifest.captured_as == "full"
    if size:
        disk.write(size - 1, b"?")
        disk.write(size // 2, b"!")
    second = engine.back_up()
    assert [plan.mode for plan in second.plans] == [CaptureMode.CHANGED]
    assert second.manifest.disks[0].size_bytes == size
    assert second.manifest.disks[0].changed_bytes <= min(2 * CHUNK, size)
    _sound(engine)


def test_the_same_content_is_stored_once() -> None:
    store = MemoryStore()
    engine = Engine.create(store, disks={"vda": 5 * MIB, "vdb": 5 * MIB}, chunk_bytes=CHUNK)
    data = random.Random(1).randbytes(5 * MIB)
    for disk in engine.vm.disks.values():
        disk.write(0, data)
    engine.back_up()
    stored = sum(map(len, store.objects.values()))
    assert stored < 5 * MIB * 1.01
    result = engine.back_up(full=True)
    assert result.manifest.captured_as == "full"
    assert [disk.stored_bytes for disk in result.manifest.disks] == [0, 0]
    assert sum(map(len, store.objects.values())) - stored < 16 * KIB
    _sound(engine)


def test_a_trimmed_disk_becomes_zeroes_again() -> None:
    engine = Engine.create(disks={"vda": 5 * MIB}, chunk_bytes=CHUNK)
    disk = engine.vm.disks["vda"]
    disk.write(0, random.Random(2).randbytes(5 * MIB))
    engine.back_up()
    disk.trim(0, 5 * MIB)
    trimmed = engine.back_up()
    assert trimmed.manifest.disks[0].root == bytes(32)
    assert trimmed.manifest.disks[0].changed_bytes == 5 * MIB
    _sound(engine)


@pytest.mark.parametrize("before", [0, 1, CHUNK, 5 * MIB + 7])
@pytest.mark.parametrize("after", [0, 1, CHUNK - 1, CHUNK + 1, 5 * MIB])
def test_a_resized_disk_is_compared(before: int, after: int) -> None:
    engine = Engine.create(disks={"vda": before}, chunk_bytes=CHUNK)
    disk = engine.vm.disks["vda"]
    disk.write(0, random.Random(before).randbytes(before))
    engine.back_up()
    disk.resize(after)
    assert _modes(engine) == [CaptureMode.COMPARE]
    if after:
        disk.write(after - 1, b"!")
    assert _modes(engine) == [CaptureMode.CHANGED]
    _sound(engine)


def test_disks_come_and_go() -> None:
    engine = Engine.create(disks={"vda": CHUNK}, chunk_bytes=CHUNK)
    vm = engine.vm
    assert _modes(engine) == [CaptureMode.FULL]
    vm.add_disk("vdb", 3 * CHUNK).write(5, b"new")
    result = engine.back_up()
    assert [plan.mode for plan in result.plans] == [CaptureMode.CHANGED, CaptureMode.FULL]
    assert result.manifest.captured_as == "incremental"
    gone = vm.disks.pop("vda")
    assert _modes(engine) == [CaptureMode.CHANGED]
    vm.disks["vda"] = gone
    result = engine.back_up()
    reasons = {plan.disk.key: plan.reason for plan in result.plans}
    assert "no earlier point of this disk" in reasons["vda"]
    _sound(engine)


def test_a_vm_without_disks() -> None:
    engine = Engine.create(disks={"vda": CHUNK}, chunk_bytes=CHUNK)
    disk = engine.vm.disks.pop("vda")
    result = engine.back_up()
    assert result.manifest.disks == []
    assert result.manifest.size_bytes == 0
    engine.vm.disks["vda"] = disk
    assert _modes(engine) == [CaptureMode.FULL]
    _sound(engine)


def test_only_some_disks() -> None:
    engine = Engine.create(disks={"vda": CHUNK, "vdb": CHUNK}, chunk_bytes=CHUNK)
    engine.vm.disks["vda"].write(0, b"a")
    engine.back_up()
    engine.vm.disks["vdb"].write(0, b"b")
    engine.back_up(disk_keys=["vdb"])
    engine.back_up()
    engine.vm.disks["vda"].included = False
    assert len(engine.back_up().manifest.disks) == 1
    _sound(engine)


def test_artifacts_come_back() -> None:
    engine = Engine.create(disks={"vda": CHUNK}, chunk_bytes=CHUNK)
    result = engine.back_up()
    (artifact,) = result.manifest.artifacts
    repository = Repository.open(engine.store, CREDENTIAL)
    repository.load_index()
    assert repository.read_artifact(artifact) == engine.vm.artifacts[0].data


def _peak_growth_bytes(peak_before: int) -> int:
    return _status("VmHWM") - peak_before


def _status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def test_three_tebibytes_of_almost_nothing() -> None:
    """A full and an incremental backup of a sparse disk, in bounded memory and time."""
    engine = Engine.create(
        disks={"vda": 3 * TIB + 512}, chunk_bytes=512 * KIB, granule_bytes=64 * KIB
    )
    disk = engine.vm.disks["vda"]
    chance = random.Random(3)
    for place in [0, 1 * TIB + 4095, 2 * TIB - 1, 3 * TIB + 511 - 9]:
        disk.write(place, chance.randbytes(10))
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark, proc(5)
    before, started_s = _status("VmHWM"), time.monotonic()
    first = engine.back_up()
    full_s = time.monotonic() - started_s
    disk.write(TIB, b"changed")
    second = engine.back_up()
    elapsed_s, growth = time.monotonic() - started_s, _peak_growth_bytes(before)
    print(f"full {full_s:.1f} s, incremental {elapsed_s - full_s:.1f} s, {growth / MIB:.0f} MiB")
    assert first.manifest.disks[0].read_bytes <= 5 * 512 * KIB
    assert [plan.mode for plan in second.plans] == [CaptureMode.CHANGED]
    assert growth < 128 * MIB
    assert elapsed_s < 60
    _sound(engine)
