"""Ctrl-C and its relatives in the middle of a backup: stopped soon, nothing half, no harm done."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.units import MIB
from holdfast.repository import LocalStore
from tests.faults.operations import Ground
from tests.support.holdfast_command import Finished, finish
from tests.support.oracle import Digest, assert_repository_sound

INTERRUPTED = 130
_STOPS_WITHIN_S = 15.0
"""Far less on an idle machine; a loaded one must not turn the test red."""
_DISK_BYTES = 160 * MIB
_START_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be caught in the middle: all of it is new and must be stored."""
    path = tmp_path_factory.mktemp("disk") / "large.raw"
    rng = random.Random(1)
    path.write_bytes(b"".join(rng.randbytes(MIB) for _ in range(_DISK_BYTES // MIB)))
    return path


class Interruptible:
    """A backup of the large disk that has put a pack and goes on."""

    def __init__(self, ground: Ground, folder: Path, disk: Path) -> None:
        self.ground = ground
        self.repository = folder / "repository"
        subprocess.run(["cp", "-r", ground.folder / "empty", self.repository], check=True)
        self.arguments = ("backup", disk, "--repository", self.repository)
        self.process = ground.command.start(*self.arguments)
        wait_until(self._has_put_a_pack, "the backup did not start to store")

    def stop(self, number: signal.Signals) -> None:
        assert self.process.poll() is None, "the backup ended before the signal"
        self.process.send_signal(number)

    def finish(self) -> tuple[Finished, float]:
        """How it ended, and after how many seconds from now."""
        started_s = time.monotonic()
        finished = finish(self.process)
        return finished, time.monotonic() - started_s

    def _has_put_a_pack(self) -> bool:
        """Not by bytes read: a starting process reads seven megabytes of modules."""
        if self.process.poll() is not None:
            return True
        found = (self.repository / "packs").glob("**/*")
        return any(path.is_file() and path.name[0] != "." for path in found)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Another process's progress raises no event that could be awaited."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_a_backup(
    ground: Ground, tmp_path: Path, disk: Path, number: signal.Signals
) -> None:
    backup = Interruptible(ground, tmp_path, disk)
    backup.stop(number)
    finished, took_s = backup.finish()
    assert finished.status == INTERRUPTED, finished.stderr
    assert finished.error_code == "cancelled"
    assert number.name in finished.stderr and "Traceback" not in finished.stderr
    assert took_s < _STOPS_WITHIN_S
    store = LocalStore(backup.repository)
    assert assert_repository_sound(store, ground.credential, {}, no_writer=True).points == ()


def test_a_second_signal_ends_it_at_once_and_the_next_run_succeeds(
    ground: Ground, tmp_path: Path, disk: Path
) -> None:
    backup = Interruptible(ground, tmp_path, disk)
    backup.stop(signal.SIGINT)
    backup.stop(signal.SIGINT)
    finished, took_s = backup.finish()
    assert finished.status == INTERRUPTED, finished.stderr
    assert "Traceback" not in finished.stderr
    assert took_s < _STOPS_WITHIN_S
    store = LocalStore(backup.repository)
    assert assert_repository_sound(store, ground.credential, {}).points == ()
    result = ground.command.run(*backup.arguments).require()
    expected = {result["id"]: {disk.name: Digest.of(disk.read_bytes())}}
    assert_repository_sound(store, ground.credential, expected, no_writer=True)
