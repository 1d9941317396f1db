"""T15: a hypervisor that lies about changed blocks is found out, and what follows is right.

The audit re-reads 64 chunks that were called unchanged, or one in a hundred if that is more. For
each kind of lie this prints after how many incrementals it was found.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from holdfast.backup.run import BackupResult
from holdfast.capture.plan import CaptureMode
from holdfast.hypervisors.errors import SourceReadFailed
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine
from tests.support.fake_lies import HARMLESS, MALFORMED, SILENT, LieKind
from tests.support.oracle import assert_disk, assert_repository_sound

CHUNKS = 800
TRIALS = 4
WITHIN = 8


@pytest.fixture
def chance(monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """The audit's source of chance, seeded, so that the figures are the same every time."""
    source = random.Random(20)
    monkeypatch.setattr("holdfast.capture.audit.random.SystemRandom", lambda: source)
    return source


def _engine(chance: random.Random) -> Engine:
    engine = Engine.create(disks={"vda": CHUNKS * CHUNK_BYTES, "vdb": 100 * CHUNK_BYTES})
    for disk in engine.vm.disks.values():
        disk.write(0, chance.randbytes(disk.size_bytes))
    engine.back_up()
    return engine


def _change(engine: Engine, chance: random.Random, chunks: int) -> None:
    """Scattered and neighbouring chunks of vda; one chunk of vdb."""
    vda = engine.vm.disks["vda"]
    for _ in range(chunks // 2):
        vda.write(chance.randrange(CHUNKS - 1) * CHUNK_BYTES, chance.randbytes(2 * CHUNK_BYTES))
    engine.vm.disks["vdb"].write(0, chance.randbytes(CHUNK_BYTES))


def _incremental(engine: Engine, kind: LieKind) -> BackupResult:
    if kind is LieKind.STALE_TOKEN:
        for disk in engine.vm.disks.values():
            disk.forget_changes()
    return engine.back_up()


def _wrong_points(engine: Engine) -> set[str]:
    """Points whose content is not what the guest had: the damage that the lie has done."""
    engine.repository.load_index()
    wrong: set[str] = set()
    for point in engine.repository.points():
        for disk in point.manifest.disks:
            try:
                assert_disk(engine.repository, disk, engine.acknowledged[point.id][disk.key])
            except AssertionError:
                wrong.add(point.id)
    return wrong


def _found_after(engine: Engine, kind: LieKind, chance: random.Random) -> int | None:
    """Number of incrementals until vda's lie was found, with everything checked on the way."""
    engine.vm.lie(kind)
    # One changed chunk in eight is missed: enough changes for one in a hundred of the disk.
    _change(engine, chance, 80 if kind is LieKind.MISS_SOME else 16)
    for number in range(1, WITHIN + 1):
        believed = sorted(engine.acknowledged)[1:]
        result = _incremental(engine, kind)
        if result.plans[0].mode is CaptureMode.COMPARE:
            assert "recorded as unchanged had changed" in result.plans[0].reason
            assert [plan.mode for plan in result.plans] == [CaptureMode.COMPARE] * 2
            assert list(result.suspects) == believed
            _assert_recovered(engine, result)
            return number
        _change(engine, chance, 2)
    return None


def _assert_recovered(engine: Engine, result: BackupResult) -> None:
    wrong = _wrong_points(engine)
    assert wrong <= set(result.suspects), "a wrong point is not in doubt"
    points = {point.id: point for point in engine.repository.points()}
    for point_id in result.suspects:
        assert points[point_id].suspect
        engine.acknowledged.pop(point_id)
    assert not points[result.manifest.id].suspect
    assert result.manifest.disks[0].proven
    engine.vm.lie(None)
    engine.vm.disks["vda"].write(0, b"after the lie")
    following = engine.back_up()
    assert following.plans[0].mode is CaptureMode.CHANGED
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged, no_writer=True)


@pytest.mark.parametrize("kind", sorted(SILENT, key=str), ids=lambda kind: kind.value)
def test_a_silent_lie_is_found(kind: LieKind, chance: random.Random) -> None:
    found = Counter(_found_after(_engine(chance), kind, chance) for _ in range(TRIALS))
    table = ", ".join(
        f"{count} x after {number}" for number, count in sorted(found.items(), key=str)
    )
    print(f"{kind.value}: {table}")
    if kind is LieKind.MISS_BLOCK:
        # One chunk in 800 a run is an eighth of the share that the bar is about.
        assert found.total() - found[None] >= 1
    else:
        assert found[None] == 0


@pytest.mark.parametrize("kind", sorted(HARMLESS, key=str), ids=lambda kind: kind.value)
def test_a_list_too_long_is_believed(kind: LieKind, chance: random.Random) -> None:
    engine = _engine(chance)
    engine.vm.lie(kind)
    _change(engine, chance, 8)
    result = engine.back_up()
    assert result.plans[0].mode is CaptureMode.CHANGED
    assert not result.suspects
    assert result.manifest.disks[0].changed_bytes <= 8 * CHUNK_BYTES
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged)


@pytest.mark.parametrize("kind", sorted(MALFORMED, key=str), ids=lambda kind: kind.value)
def test_a_malformed_list_is_not_believed(kind: LieKind, chance: random.Random) -> None:
    engine = _engine(chance)
    engine.vm.lie(kind)
    for _ in range(2):
        _change(engine, chance, 8)
        result = engine.back_up()
        assert result.plans[0].mode is CaptureMode.COMPARE
        assert "malformed" in result.plans[0].reason
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged)


def test_no_honest_list_is_called_a_lie(chance: random.Random) -> None:
    engine = _engine(chance)
    for _ in range(10):
        _change(engine, chance, 10)
        result = engine.back_up()
        assert [plan.mode for plan in result.plans] == [CaptureMode.CHANGED] * 2
        assert not result.suspects
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged)


def test_a_lie_found_by_a_run_that_fails_is_not_forgotten(chance: random.Random) -> None:
    """The mark is durable before the run goes on; the next run compares because of it."""
    engine = _engine(chance)
    _change(engine, chance, 2)
    engine.back_up()
    engine.vm.lie(LieKind.EMPTY_LIST)
    _change(engine, chance, 300)
    engine.vm.disks["vdb"].read_error_at = 0
    with pytest.raises(SourceReadFailed):
        engine.back_up()
    engine.vm.disks["vdb"].read_error_at = None
    engine.reopen()
    latest = engine.repository.point("latest")
    assert latest.suspect
    result = engine.back_up()
    assert [plan.mode for plan in result.plans] == [CaptureMode.COMPARE] * 2
    assert "in doubt" in result.plans[0].reason
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged)


def test_holes_that_hold_data_are_found(chance: random.Random) -> None:
    """A source that calls everything a hole loses the first backup; the next one reads it all."""
    engine = Engine.create(disks={"vda": CHUNKS * CHUNK_BYTES})
    disk = engine.vm.disks["vda"]
    disk.write(0, chance.randbytes(disk.size_bytes))
    disk.false_holes = True
    lost = engine.back_up()
    engine.acknowledged.pop(lost.manifest.id)
    disk.write(0, b"a change")
    found = engine.back_up()
    assert found.plans[0].mode is CaptureMode.COMPARE
    assert_disk(
        engine.repository,
        found.manifest.disks[0],
        engine.acknowledged[found.manifest.id]["vda"],
    )
