"""One attempt of a run, seen from its worker: a mover, what it reports into the run's row, and the
end of it.

Every write says under which generation it is made; once another worker has taken the run over the
writes are refused, the mover is killed, and nothing more is said. The database may be away for a
while: the mover goes on, and the end is written when it is back.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog
from sqlalchemy.exc import DBAPIError

from holdfast.catalog.database import Database, DatabaseUnavailable
from holdfast.catalog.models import Run
from holdfast.catalog.resources import (
    WorkerIdentity,
    give_back,
    held_run,
    read_limits,
    release_places,
)
from holdfast.catalog.runs import (
    WAITING_TO_RETRY,
    RunTakenOver,
    lock_runs,
    log_of_run,
    move_run,
    touch,
)
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError, Retry
from holdfast.jobs.errors import InternalError, MoverDied
from holdfast.jobs.mover.events import Event
from holdfast.jobs.mover.task import Order
from holdfast.jobs.mover_process import MoverProcess
from holdfast.jobs.orders import MoverSettings, build_order
from holdfast.jobs.retrying import delay_before_retry
from holdfast.jobs.run_progress import RunProgress
from holdfast.jobs.secrets import SecretSource
from holdfast.policy.run_states import RunKind, RunState

TICK_S = 0.5
"""Also the shortest time between two writes of progress."""
_AGAIN_S = 1.0
_GRACE_S = 0.5
_SETTLED_S = 4.0
"""After it was told to stop: by then it is also known whether a mover that had to be killed had
committed. With the tick before and the write after, a cancel takes 5 s at most."""
LOST_DATABASE = (DBAPIError, DatabaseUnavailable)
_Log = Any


class OnFinished(Protocol):
    """Called in the worker after a run has ended in a final state, outside any transaction. May be
    slow, should not raise; called again for the same run when the worker died in between."""

    def __call__(self, run: Run) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptContext:
    """What all attempts of a worker share."""

    database: Database
    secrets: SecretSource
    settings: MoverSettings
    clock: Clock
    on_finished: Sequence[OnFinished] = ()


@dataclass(slots=True, kw_only=True)
class _Heard:
    """What the mover said that is not written yet, and its last word."""

    plan: Sequence[Any] | None = None
    messages: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    progressed: bool = False
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def is_dirty(self) -> bool:
        return self.progressed or self.plan is not None or bool(self.messages)


class Attempt:
    """Call `run` in a thread; the other methods from any."""

    def __init__(
        self, run_id: str, worker: WorkerIdentity, generation: int, context: AttemptContext
    ) -> None:
        self.run_id = run_id
        self._worker = worker
        self._generation = generation
        self._context = context
        self._progress = RunProgress(context.clock.monotonic_s())
        self._heard = _Heard()
        self._stopping = threading.Event()
        self._abandoned = threading.Event()
        self._cancelled = False
        self._told_s: float | None = None
        self._log: _Log = structlog.get_logger().bind(run=run_id, generation=generation)

    def stop(self) -> None:
        """The worker is to end: stop the mover; the run goes back to the queue."""
        self._stopping.set()

    def abandon(self) -> None:
        """The worker was taken for dead: end the mover at once and write nothing."""
        self._abandoned.set()

    def run(self) -> None:
        """Returns when the run has ended, waits for its next attempt, or is another's."""
        try:
            self._carry_out()
            finished = self._settle()
        except RunTakenOver:
            self._log.warning("run taken over")
            return
        if finished is not None:
            self._tell_finished(finished)

    # -- carrying out ---------------------------------------------------------------------------

    def _carry_out(self) -> None:
        try:
            order = self._order()
            self._move(MoverProcess(order))
            if self._cancelled and self._ended_silently and order.kind is RunKind.BACKUP:
                self._look_for_commit()
        except RunTakenOver:
            raise
        except HoldfastError as error:
            self._heard.error = _error_document(error)
        except LOST_DATABASE as error:
            unavailable = DatabaseUnavailable(problem=type(error).__name__)
            self._heard.error = _error_document(unavailable)
        except Exception as error:  # noqa: BLE001 - it becomes the run's error
            self._log.exception("attempt failed")
            problem = f"{type(error).__name__}: {error}"
            self._heard.error = _error_document(InternalError(problem=problem))

    def _order(self) -> Order:
        with self._context.database.reading() as session:
            run = held_run(session, self.run_id, self._worker, self._generation)
            self._log = self._log.bind(kind=run.kind, attempt=run.attempt)
            self._cancelled = run.cancel_requested_at is not None
            return build_order(session, run, self._context.secrets, self._context.settings)

    def _move(self, mover: MoverProcess) -> None:
        self._log.info("mover started", pid=mover.pid)
        monotonic_s = self._context.clock.monotonic_s
        kill_at_s: float | None = None
        tick_s = monotonic_s()
        told = self._cancelled  # the order says it
        if told and self._told_s is not None:
            kill_at_s = self._told_s + _SETTLED_S
        try:
            while True:
                try:
                    wake_s = tick_s if kill_at_s is None else min(tick_s, kill_at_s)
                    event = mover.events.get(timeout=max(0.0, wake_s - monotonic_s()))
                except queue.Empty:
                    tick_s = monotonic_s() + TICK_S
                    mover.keep_alive()
                    self._synchronise()
                    if not told and (reason := self._reason_to_stop()):
                        mover.cancel(reason)
                        told = True
                        self._heard.messages.append(("info", f"told to stop: {reason}"))
                    if told and kill_at_s is None:
                        self._told_s = monotonic_s()
                        kill_at_s = monotonic_s() + self._context.settings.stop_s + _GRACE_S
                    if kill_at_s is not None and monotonic_s() >= kill_at_s:
                        mover.kill()
                        kill_at_s = None
                    continue
                if event is None:
                    break
                self._hear(event)
        finally:
            mover.close()
        status = mover.status
        self._log.info("mover ended", status=status)
        if self._ended_silently:
            self._log.error("mover died", status=status, last_words=mover.last_words)
            if not self._cancelled and not self._stopping.is_set():
                self._heard.error = _error_document(MoverDied(status=status))

    def _reason_to_stop(self) -> str:
        if self._cancelled:
            return "cancelled"
        return "its worker is being stopped" if self._stopping.is_set() else ""

    def _look_for_commit(self) -> None:
        """It had to be killed: it may have committed in its last moment."""
        order = self._order()
        self._move(MoverProcess(order))

    @property
    def _ended_silently(self) -> bool:
        return self._heard.result is None and self._heard.error is None

    def _hear(self, event: Event) -> None:
        heard, fields = self._heard, event.fields
        match event.name:
            case "progress":
                self._progress.take(fields, self._context.clock.monotonic_s())
                heard.progressed = True
            case "plan":
                heard.plan = fields["disks"]
            case "message":
                heard.messages.append((fields["level"], fields["text"]))
            case "result":
                heard.result = dict(fields)
            case "error":
                heard.error = dict(fields)

    # -- writing --------------------------------------------------------------------------------

    def _synchronise(self) -> None:
        """Write what is new and hear whether to stop. Raises RunTakenOver."""
        if self._abandoned.is_set():
            raise RunTakenOver(run_id=self.run_id, worker_id=self._worker.id)
        database = self._context.database
        transaction = database.writing if self._heard.is_dirty else database.reading
        try:
            with transaction() as session:
                if self._heard.is_dirty:
                    lock_runs(session)
                run = held_run(session, self.run_id, self._worker, self._generation)
                if self._heard.is_dirty:
                    self._write(run, session)
                    touch(session, run)
                self._cancelled = run.cancel_requested_at is not None
        except LOST_DATABASE as error:
            self._log.warning("database away", problem=type(error).__name__)
            return
        self._forget_written()

    def _write(self, run: Run, session: Any) -> None:
        now = self._context.clock.now()
        if self._heard.plan is not None:
            run.plan = list(self._heard.plan)
        if self._heard.progressed:
            self._progress.write_to(run)
        for level, text in self._heard.messages:
            log_of_run(session, run, now, level, text)

    def _forget_written(self) -> None:
        self._heard.plan, self._heard.progressed = None, False
        self._heard.messages.clear()

    def _settle(self) -> Run | None:
        """Write the end. The run when it is final. Raises RunTakenOver."""
        while True:
            if self._abandoned.is_set():
                raise RunTakenOver(run_id=self.run_id, worker_id=self._worker.id)
            try:
                with self._context.database.writing() as session:
                    lock_runs(session)
                    run = held_run(session, self.run_id, self._worker, self._generation)
                    self._write(run, session)
                    state = self._end(run, session)
                    release_places(session, run.id)
                break
            except LOST_DATABASE as error:
                self._log.warning("database away", problem=type(error).__name__)
                self._abandoned.wait(_AGAIN_S)
        self._log.info("attempt ended", state=state, error=run.error_code or None)
        return run if run.completed_at is not None else None

    def _end(self, run: Run, session: Any) -> Literal["completed", "cancelled", "failed", "again"]:
        clock, heard = self._context.clock, self._heard
        if heard.result is not None:
            self._complete(run, heard.result)
            move_run(session, run, RunState.COMPLETED, clock)
            return "completed"
        error = heard.error
        interrupted = error is None or bool(error["cancelled"])
        if interrupted and run.cancel_requested_at is not None:
            run.phase = "cancelled"
            move_run(session, run, RunState.CANCELLED, clock, message=run.cancel_reason)
            return "cancelled"
        if interrupted and self._stopping.is_set():
            give_back(session, run, "its worker was stopped", clock)
            return "again"
        return self._fail(run, session, error or _error_document(MoverDied(status=0)))

    def _complete(self, run: Run, result: dict[str, Any]) -> None:
        run.phase = "completed"
        run.percent = 100.0
        run.done_bytes = run.total_bytes
        run.disks = [
            {**disk, "state": "completed", "done_bytes": disk["total_bytes"]} for disk in run.disks
        ]
        run.result = dict(result["result"])
        run.point_id = result["point_id"] or run.point_id
        run.backup_type = result["backup_type"] or run.backup_type
        run.error_code = run.error_message = run.error_hint = run.error_retry = ""

    def _fail(
        self, run: Run, session: Any, error: dict[str, Any]
    ) -> Literal["failed", "again", "cancelled"]:
        clock = self._context.clock
        run.failures += 1
        run.error_code, run.error_message = error["code"], error["message"]
        run.error_hint, run.error_retry = error["hint"], error["retry"]
        run.disks = [
            {**disk, "state": "failed" if disk["state"] == "running" else disk["state"]}
            for disk in run.disks
        ]
        fields = {"code": error["code"], "hint": error["hint"]}
        log_of_run(session, run, clock.now(), "error", error["message"], fields)
        delay = delay_before_retry(
            Retry(error["retry"]),
            run.failures,
            read_limits(session),
            random.random(),  # noqa: S311 - spreads attempts, guards nothing
        )
        if run.cancel_requested_at is not None:
            run.phase = "cancelled"
            move_run(session, run, RunState.CANCELLED, clock, message=run.cancel_reason)
            return "cancelled"
        if delay is None:
            run.phase = "failed"
            move_run(session, run, RunState.FAILED, clock, message=error["message"])
            return "failed"
        give_back(session, run, error["message"], clock)
        run.phase = WAITING_TO_RETRY
        run.not_before = clock.now() + delay
        text = f"the next attempt begins in {delay.total_seconds():.0f} s"
        log_of_run(session, run, clock.now(), "warning", text)
        return "again"

    def _tell_finished(self, run: Run) -> None:
        for listener in self._context.on_finished:
            try:
                listener(run)
            except Exception:  # noqa: BLE001 - the run has ended whatever follows
                self._log.exception("what follows a run failed")


def _error_document(error: HoldfastError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "hint": error.advice,
        "retry": error.retry.value,
        "cancelled": False,
    }
