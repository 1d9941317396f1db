"""A backup whose process is stopped (SIGSTOP) for longer than its lease, as on a host that was
suspended, while others go on with the repository. When it wakes it must not commit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.repository import LocalStore
from tests.faults.operations import Ground, Trial
from tests.support.holdfast_command import Finished, finish
from tests.support.oracle import assert_repository_sound

_LONG_AGO_S = 20 * 60
"""More than a lease and the allowance for clocks together."""
_SHORT_TTL_S = 1.0
_WITH_SHORT_LEASE = f"""
import runpy, sys
from holdfast.repository import leases
leases.TTL_S = {_SHORT_TTL_S}
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

_STEPS = ["pack.after_put", "index.after_put", "point.before_commit", "point.after_commit"]


class Sleeper:
    """A backup that has stopped at a failpoint."""

    def __init__(self, trial: Trial, process: subprocess.Popen[str]) -> None:
        self._trial = trial
        self._process = process
        state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert state is not None and state.si_code == os.CLD_STOPPED, finish(process)
        self._stopped_at = time.monotonic()

    def let_its_lease_expire(self) -> None:
        """For the others, who judge by the time of the file."""
        then = time.time() - _LONG_AGO_S
        for path in (self._trial.repository / "leases").glob("vm-*/*"):
            os.utime(path, (then, then))

    def sleep(self, duration_s: float) -> None:
        """Until it has stood still for so long."""
        time.sleep(max(0.0, self._stopped_at + duration_s - time.monotonic()))

    def wake(self) -> Finished:
        os.kill(self._process.pid, signal.SIGCONT)
        return finish(self._process)


@contextmanager
def asleep(trial: Trial, step: str, *under: str) -> Generator[Sleeper]:
    process = trial.ground.command.start(
        *_backup(trial), under=under, environment={"HOLDFAST_FAILPOINTS": f"{step}:stop"}
    )
    try:
        yield Sleeper(trial, process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def trial(ground: Ground, tmp_path: Path) -> Trial:
    trial = Trial(ground=ground, folder=tmp_path / "trial")
    trial.lay_out("one")
    return trial


@pytest.mark.parametrize("step", _STEPS)
def test_another_writer_takes_over(trial: Trial, step: str) -> None:
    ground = trial.ground
    with asleep(trial, step) as sleeper:
        refused = ground.command.run(*_backup(trial))
        assert refused.error_code == "already_running"
        sleeper.let_its_lease_expire()
        own = trial.points() - {ground.first_point}
        successor = ground.command.run(*_backup(trial)).require()["id"]
        _reclaim(trial)
        finished = sleeper.wake()
    assert (finished.status, finished.error_code) == (1, "lease_lost"), finished.stderr
    assert trial.points() == {ground.first_point, successor}
    assert len(own) == (step == "point.after_commit")
    _assert_sound_now_and_later(trial, successor)


@pytest.mark.parametrize("step", _STEPS[1:])
def test_nobody_takes_over_but_its_packs_are_reclaimed(trial: Trial, step: str) -> None:
    """No other lease tells it: it has to know by the time that has passed."""
    with asleep(trial, step, sys.executable, "-c", _WITH_SHORT_LEASE) as sleeper:
        sleeper.let_its_lease_expire()
        _reclaim(trial)
        sleeper.sleep(_SHORT_TTL_S)
        finished = sleeper.wake()
    assert (finished.status, finished.error_code) == (1, "lease_lost"), finished.stderr
    assert trial.points() == {trial.ground.first_point}
    _assert_sound_now_and_later(trial)


def _backup(trial: Trial) -> tuple[str | Path, ...]:
    return ("backup", trial.ground.source, "--repository", trial.repository)


def _reclaim(trial: Trial) -> None:
    """All that no point needs goes at once."""
    options = ("--grace-hours", "0", "--max-delete-percent", "100")
    trial.ground.command.run("compact", "--repository", trial.repository, *options).require()


def _assert_sound_now_and_later(trial: Trial, *successors: str) -> None:
    ground = trial.ground
    points = {ground.first_point: ground.first, **dict.fromkeys(successors, ground.second)}
    store = LocalStore(trial.repository)
    # The woken process is gone, and its lease with it.
    assert_repository_sound(store, ground.credential, points, no_writer=True)
    last = ground.command.run(*_backup(trial)).require()["id"]
    assert_repository_sound(store, ground.credential, {**points, last: ground.second})
