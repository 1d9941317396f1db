"""Kills and failing calls at random moments of every command that writes (T1, T2, T5, T6).

One undisturbed run of each command is recorded; the moments are spread over the calls seen, at
random within each part. After each fault the oracle judges, then the same command runs again.
"""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.core.failpoints import FAILPOINTS
from tests.faults.operations import (
    OPERATIONS,
    Ground,
    Operation,
    Trial,
    assert_no_server_folders,
)
from tests.support.holdfast_command import Finished
from tests.support.system_calls import (
    SystemCall,
    failing,
    killing,
    process_ids,
    was_delivered,
)

KILLED = -signal.SIGKILL
Moment = tuple[int, int]
"""(n, of how many): the run is cut into that many equal parts, the moment is in the n-th."""
ERRORS = ("ENOSPC", "EIO", "EDQUOT")
# Not write: QEMU's threads make so many, to wake each other, that the fault would hit those.
_CHANGES = re.compile(r"pwrite|fsync|fdatasync|link|mkdir|ftruncate|fallocate|rename|O_CREAT")


_TRIES = 3


def pick(calls: list[SystemCall], moment: Moment, seed: str) -> SystemCall:
    number, count = moment
    start = len(calls) * number // count
    stop = max(start + 1, len(calls) * (number + 1) // count)
    return random.Random(f"{seed} {number} {count}").choice(calls[start:stop])


def assert_clear_end(finished: Finished) -> None:
    """It was killed, or it ended by itself: done, or with one typed error and no traceback."""
    if finished.status == KILLED:
        return
    assert "Traceback" not in finished.stderr, finished.stderr
    assert finished.status == 0 or finished.error_code, finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A trial whose fault was delivered."""

    trial: Trial
    finished: Finished
    pids: set[int]


def break_off(
    ground: Ground,
    operation: Operation,
    folder: Path,
    choose: Callable[[str], SystemCall],
    fault: Callable[[SystemCall, Path], list[str]],
) -> Broken:
    """Run the operation with the fault. `choose` gives a call for a seed; threads take turns in
    another order each time, so a call may not come: then another one is chosen."""
    for attempt in range(_TRIES):
        trial = Trial(ground=ground, folder=folder / f"trial-{attempt}")
        call, log = choose(f"{attempt}"), folder / f"log-{attempt}"
        finished = operation.run(trial, under=fault(call, log))
        print(f"{call}\n -> exit status {finished.status} {finished.error_code}")
        if was_delivered(log):
            return Broken(trial=trial, finished=finished, pids=process_ids(log))
    raise AssertionError(f"no fault could be delivered in {_TRIES} runs")


class TestKills:
    def test_killed_at_a_system_call(
        self, ground: Ground, tmp_path: Path, seed: str, operation: Operation, moment: Moment
    ) -> None:
        calls = ground.calls(operation)
        broken = break_off(
            ground, operation, tmp_path, lambda n: pick(calls, moment, seed + n), killing
        )
        assert_clear_end(broken.finished)
        operation.judge(broken.trial, broken.finished)
        operation.run_again(broken.trial)
        assert_no_server_folders(broken.pids)


class TestErrors:
    def test_a_call_that_fails(
        self, ground: Ground, tmp_path: Path, seed: str, operation: Operation, moment: Moment
    ) -> None:
        calls = writing_calls(ground, operation)
        error = ERRORS[moment[0] % len(ERRORS)]
        broken = break_off(
            ground,
            operation,
            tmp_path,
            lambda n: pick(calls, moment, seed + n),
            lambda call, log: failing(call, error, log),
        )
        assert_clear_end(broken.finished)
        operation.judge(broken.trial, broken.finished)
        operation.run_again(broken.trial)


def writing_calls(ground: Ground, operation: Operation) -> list[SystemCall]:
    """Calls that change files, where a full or broken disk shows."""
    return [
        call
        for call in ground.calls(operation)
        if _CHANGES.search(f"{call.name} {call.arguments}") and str(ground.folder) in call.arguments
    ]


_MAINTENANCE = (
    "bundles.",
    "compact.",
    "maintenance.",
    "prune.",
    "verify.",
    "repair.",
    "mending.",
    "local_store.before_rename",
    "copy.",
    "keys.",
)
_OF_IMMUTABLE = {"local_store.before_lock", "locks.after_renewal"}
NAMES = sorted(
    name for name in FAILPOINTS if not name.startswith(_MAINTENANCE) and name not in _OF_IMMUTABLE
)
"""Failpoints on the way of these operations; those of maintenance and of immutable repositories are
hit by their own tests: `test_failpoints`, `test_immutable_kills`."""


def failpoint_operation(name: str) -> Operation:
    """The command whose way leads over this failpoint."""
    area = name.partition(".")[0]
    commands = {"restore": "restore-raw", "repository": "create", "data_keys": "rotate-key"}
    wanted = commands.get(area, "incremental")
    return next(operation for operation in OPERATIONS if operation.name == wanted)


class TestFailpoints:
    @pytest.mark.parametrize("name", NAMES)
    def test_killed_at_a_named_step(self, ground: Ground, tmp_path: Path, name: str) -> None:
        operation = failpoint_operation(name)
        trial = Trial(ground=ground, folder=tmp_path / "trial")
        finished = operation.run(trial, failpoints=f"{name}:kill")
        assert finished.status == KILLED, "no command hits this failpoint"
        operation.judge(trial, finished)
        operation.run_again(trial)

    @pytest.mark.parametrize("name", NAMES)
    def test_an_error_at_a_named_step(self, ground: Ground, tmp_path: Path, name: str) -> None:
        operation = failpoint_operation(name)
        trial = Trial(ground=ground, folder=tmp_path / "trial")
        finished = operation.run(trial, failpoints=f"{name}:error")
        assert (finished.status, finished.error_code) == (1, "injected_fault")
        committed = {"point.after_commit", "backup.before_promote", "backup.after_promote"}
        if name not in committed:
            operation.judge(trial, finished)
        operation.run_again(trial)
