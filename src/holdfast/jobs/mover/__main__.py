"""`python -m holdfast.jobs.mover`: see the package."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO

from holdfast.core import failpoints
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.parent_death import end_with_parent
from holdfast.jobs.errors import InternalError
from holdfast.jobs.mover.events import Outcome, Reporter
from holdfast.jobs.mover.listening import Listener
from holdfast.jobs.mover.task import Task, parse_order
from holdfast.policy.run_states import RunKind

_KINDS = {
    RunKind.BACKUP: ("backup", "back_up"),
    RunKind.RESTORE_VM: ("restore", "restore_whole_vm"),
    RunKind.RESTORE_DISK: ("restore", "restore_one_disk"),
    RunKind.CHECK: ("maintenance", "check"),
    RunKind.VERIFY: ("maintenance", "verify"),
    RunKind.PRUNE: ("maintenance", "prune"),
    RunKind.COMPACT: ("maintenance", "compact"),
    RunKind.DELETE_POINT: ("maintenance", "delete_point"),
    RunKind.LOCK: ("locks", "renew_locks"),
    RunKind.COPY: ("copy", "copy"),
    RunKind.REPAIR: ("repair", "repair"),
}
"""Module and function of each; imported when it is its turn, for that takes a while."""

_NICENESS = 15


def main() -> int:
    # A worker that died before this is noticed by the end of its pipe.
    end_with_parent(signal.SIGKILL)
    _step_back()
    # Nothing but events may reach the worker's pipe.
    with os.fdopen(os.dup(1), "wb") as events:
        os.dup2(2, 1)
        return _run(events)


def _step_back() -> None:
    """Alone on the host it takes every core; beside the service it takes what that leaves. Reads
    and writes of disks follow. As it has a session of its own, Linux weighs it as a group of its
    own where nothing else groups processes: then only what is written there counts."""
    os.nice(_NICENESS)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def _run(events: IO[bytes]) -> int:
    order = parse_order(json.loads(sys.stdin.buffer.readline()))
    failpoints.arm(os.environ.get("HOLDFAST_FAILPOINTS", ""))
    reporter = Reporter(events, order.secrets)
    cancel = CancelToken()
    if order.cancelled:
        cancel.cancel("cancelled")
    Listener(sys.stdin.buffer, cancel, keepalive_s=order.keepalive_s, stop_s=order.stop_s).start()
    try:
        work = _work(order.kind)
        outcome = work(Task(order=order, cancel=cancel, reporter=reporter))
        reporter.result(outcome)
    except HoldfastError as error:
        reporter.error(error)
        return 1
    except Exception as error:  # noqa: BLE001 - the worker records it
        traceback.print_exc()
        reporter.error(InternalError(problem=f"{type(error).__name__}: {error}"))
        return 1
    finally:
        reporter.close()
    return 0


def _work(kind: RunKind) -> Callable[[Task], Outcome]:
    if kind not in _KINDS:
        raise InvalidInput(what="run", problem=f"{kind.value} is not done by a mover")
    module, function = _KINDS[kind]
    return getattr(import_module(f"holdfast.jobs.mover.{module}"), function)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the interpreter's end, which waits for threads that may hang.
    os._exit(status)
