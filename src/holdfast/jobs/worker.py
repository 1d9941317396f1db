"""A worker: takes runs whose turn it is, carries each out in a thread of its own, shows that it
lives, and takes over from workers that do not.

Enter at `Worker.run`. Two workers never share a name: on a host a lock on a file sees to it, beyond
it the host's name and the generation of each life. A worker that was taken for dead while it was
only asleep finds its heartbeat refused; it ends what it was doing and begins a new life.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from holdfast import __version__
from holdfast.catalog.database import Database
from holdfast.catalog.resources import (
    WorkerIdentity,
    beat,
    claim_next,
    list_workers,
    read_limits,
    register_worker,
    remove_worker,
    take_over,
)
from holdfast.catalog.runs import RunTakenOver
from holdfast.core.clock import Clock, SystemClock
from holdfast.jobs.attempt import LOST_DATABASE, Attempt, AttemptContext, OnFinished
from holdfast.jobs.errors import WorkerRunning
from holdfast.jobs.orders import MoverSettings
from holdfast.jobs.secrets import SecretSource


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    state_root: Path
    """Where the lock on its name is."""
    mover: MoverSettings
    name: str = "worker"
    slots: int = 4
    poll_s: float = 0.5
    heartbeat_s: float = 2.0
    stale_s: float = 20.0
    """Another worker whose heartbeat stood still for so long is dead. Its movers have ended by
    then: longer than `keepalive_s` and `stop_s` of theirs together."""


class Worker:
    """One life in one process. `run` in the main thread or in one of its own."""

    def __init__(
        self,
        database: Database,
        secrets: SecretSource,
        settings: WorkerSettings,
        *,
        on_finished: Sequence[OnFinished] = (),
        clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock or SystemClock()
        self._context = AttemptContext(
            database=database,
            secrets=secrets,
            settings=settings.mover,
            clock=self._clock,
            on_finished=on_finished,
        )
        self.id = f"{socket.gethostname()}:{settings.name}"
        self._attempts: dict[Attempt, threading.Thread] = {}
        self._wake = threading.Event()
        self._beaten_s = 0.0
        self._seen: dict[tuple[str, int], tuple[object, float]] = {}
        """Heartbeats of others, and since when each stands still, by this process's clock."""
        self._log: Any = structlog.get_logger().bind(worker=self.id)

    def wake(self) -> None:
        """There may be something to do. From any thread."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then movers are stopped and their runs go back to the queue.
        Raises WorkerRunning when one of this name runs on this host."""
        lock = self._lock()
        try:
            identity = self._register(stop)
            while identity is not None and not stop.is_set():
                identity = self._turn(identity, stop)
            if identity is not None:
                self._end(identity)
        finally:
            for attempt in self._attempts:
                attempt.abandon()
            os.close(lock)

    # -- the loop -------------------------------------------------------------------------------

    def _turn(self, identity: WorkerIdentity, stop: threading.Event) -> WorkerIdentity | None:
        self._wake.clear()
        try:
            self._forget_ended()
            if not self._keep_alive(identity, stopping=False):
                return self._start_anew(stop)
            while len(self._attempts) < identity.slots and self._claim(identity):
                pass
        except RunTakenOver:
            return self._start_anew(stop)
        except LOST_DATABASE as error:
            self._log.warning("database away", problem=type(error).__name__)
        self._wake.wait(self._settings.poll_s)
        return identity

    def _start_anew(self, stop: threading.Event) -> WorkerIdentity | None:
        self._log.error("taken for dead: starting anew")
        self._abandon_all()
        return self._register(stop)

    def _claim(self, identity: WorkerIdentity) -> bool:
        with self._database.reading() as session:
            limits = read_limits(session)
        with self._database.writing() as session:
            run = claim_next(session, identity, limits, self._clock)
        if run is None:
            return False
        attempt = Attempt(run.id, identity, run.generation, self._context)
        thread = threading.Thread(
            target=self._carry_out, args=(attempt,), name=f"run-{run.id[-12:]}", daemon=True
        )
        self._attempts[attempt] = thread
        thread.start()
        return True

    def _carry_out(self, attempt: Attempt) -> None:
        try:
            attempt.run()
        except Exception:  # noqa: BLE001 - nobody waits for the thread
            self._log.exception("attempt broke off", run=attempt.run_id)
        finally:
            self.wake()

    def _keep_alive(self, identity: WorkerIdentity, *, stopping: bool) -> bool:
        """Every `heartbeat_s`: show that this worker lives, look whether the others do."""
        now_s = self._clock.monotonic_s()
        if now_s - self._beaten_s < self._settings.heartbeat_s:
            return True
        with self._database.writing() as session:
            if not beat(session, identity, self._clock, stopping=stopping):
                return False
        self._beaten_s = now_s
        self._bury_the_dead(now_s)
        return True

    def _bury_the_dead(self, now_s: float) -> None:
        with self._database.reading() as session:
            others = [row for row in list_workers(session) if row.id != self.id]
            session.expunge_all()
        seen = self._seen
        self._seen = {}
        for row in others:
            key = (row.id, row.generation)
            heartbeat, since_s = seen.get(key, (None, now_s))
            if heartbeat != row.heartbeat_at:
                since_s = now_s
            self._seen[key] = (row.heartbeat_at, since_s)
            if now_s - since_s < self._settings.stale_s:
                continue
            with self._database.writing() as session:
                runs = take_over(session, row, self._clock)
            self._log.warning("worker dead", dead=row.id, runs=list(runs))

    def _forget_ended(self) -> None:
        self._attempts = {
            attempt: thread for attempt, thread in self._attempts.items() if thread.is_alive()
        }

    def _abandon_all(self) -> None:
        for attempt in self._attempts:
            attempt.abandon()
        for thread in self._attempts.values():
            thread.join()
        self._attempts.clear()

    # -- beginning and end ----------------------------------------------------------------------

    def _lock(self) -> int:
        folder = self._settings.state_root / "workers"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{self._settings.name}.lock"
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise WorkerRunning(name=self._settings.name) from error
        return descriptor

    def _register(self, stop: threading.Event) -> WorkerIdentity | None:
        while not stop.is_set():
            try:
                with self._database.writing() as session:
                    identity = register_worker(
                        session,
                        id=self.id,
                        host=socket.gethostname(),
                        pid=os.getpid(),
                        version=__version__,
                        slots=self._settings.slots,
                        clock=self._clock,
                    )
            except LOST_DATABASE as error:
                self._log.warning("database away", problem=type(error).__name__)
                stop.wait(self._settings.poll_s)
                continue
            self._beaten_s = self._clock.monotonic_s()
            self._log.info("worker ready", generation=identity.generation, slots=identity.slots)
            return identity
        return None

    def _end(self, identity: WorkerIdentity) -> None:
        self._log.info("worker stopping", running=len(self._attempts))
        try:
            with self._database.writing() as session:
                beat(session, identity, self._clock, stopping=True)
            for attempt in self._attempts:
                attempt.stop()
            while self._attempts:
                self._wake.wait(self._settings.poll_s)
                self._wake.clear()
                self._forget_ended()
                if not self._keep_alive(identity, stopping=True):
                    return
            with self._database.writing() as session:
                remove_worker(session, identity, self._clock)
        except LOST_DATABASE as error:
            # Others find its heartbeat standing still.
            self._log.warning("database away", problem=type(error).__name__)
