"""A clock that jumped ends no lock in a folder before its time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.repository import LocalStore
from holdfast.repository.errors import ClockJumped
from holdfast.repository.store import clock_witness
from holdfast.repository.store.clock_witness import ClockWitness
from holdfast.repository.store.store import ObjectLock
from tests.support.locks import lockable_folder

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = "packs/ab/abcdef"


class Machine:
    """Its two clocks, and what the witness says when it is asked."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.wall = datetime(2026, 11, 26, 12, tzinfo=UTC)
        self.up = timedelta(hours=5)
        self.boot = "first"

        def since_boot_s() -> float:
            return self.up.total_seconds()

        monkeypatch.setattr(clock_witness, "_since_boot_s", since_boot_s)
        monkeypatch.setattr(clock_witness, "_boot_id", lambda: self.boot)
        assert self.jump() is None

    def jump(self) -> timedelta | None:
        """By a process of its own: all that is known is in the folder."""
        return ClockWitness(self.root).jump(self.wall)

    def passes(self, time: timedelta, wall: timedelta | None = None) -> timedelta | None:
        self.up += time
        self.wall += time if wall is None else wall
        return self.jump()

    def restarts(self, gap: timedelta) -> timedelta | None:
        self.boot += "'"
        self.up = timedelta(minutes=1)
        self.wall += gap
        return self.jump()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_time_that_passes_is_no_jump(machine: Machine) -> None:
    for time in (HOUR, 400 * DAY, timedelta(seconds=1)):
        assert machine.passes(time) is None
    assert machine.restarts(3 * DAY) is None


def test_a_jump_counts_until_the_clock_was_steady_for_a_day(machine: Machine) -> None:
    assert machine.passes(HOUR, 30 * DAY) == 30 * DAY - HOUR
    assert machine.passes(23 * HOUR) == 30 * DAY - HOUR
    assert machine.passes(HOUR) is None
    assert machine.passes(HOUR) is None


def test_small_jumps_add_up(machine: Machine) -> None:
    assert [machine.passes(HOUR, 11 * HOUR) for _ in range(2)] == [None, None]
    assert machine.passes(HOUR, 11 * HOUR) == 30 * HOUR


def test_a_clock_that_was_set_back_is_measured_from_there(machine: Machine) -> None:
    assert machine.passes(HOUR, -20 * DAY) is None
    assert machine.passes(HOUR, 10 * DAY) == 10 * DAY - HOUR


def test_a_restart_hides_no_jump(machine: Machine) -> None:
    assert machine.restarts(8 * DAY) == 8 * DAY
    assert machine.restarts(HOUR) == 8 * DAY
    assert machine.passes(DAY) is None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with lockable_folder(tmp_path / "locks") as root:
        yield LocalStore(root)


def test_no_lock_is_set_or_ended_after_a_jump(store: LocalStore) -> None:
    past = ObjectLock(until=store.now().replace(microsecond=0) - timedelta(seconds=1))
    store.put_locked(KEY, [b"x"], past)
    witness = Path(store.location) / ".clock"
    seen = json.loads(witness.read_bytes())
    witness.write_text(json.dumps({**seen, "first_wall_s": seen["first_wall_s"] - 2 * 86_400}))
    for refused in (
        lambda: store.delete(KEY),
        lambda: store.put_locked("packs/ab/other", [b"y"], past),
        lambda: store.lock(KEY, ObjectLock(until=past.until + DAY)),
    ):
        with pytest.raises(ClockJumped):
            refused()
    assert store.get(KEY) == b"x"
    assert [info.key for info in store.list("")] == [KEY]
    witness.write_bytes(b"")
    store.delete(KEY)
