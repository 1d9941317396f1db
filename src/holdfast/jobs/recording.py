"""What the catalogue learns from a run that has ended: its new restore point, the points it
deleted, and the repository's figures. Enter at `Recorder`; `Recorder.refresh` reads a repository
whole.

The repository is asked, never the run believed: what is listed is what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from holdfast.catalog.database import Database
from holdfast.catalog.looks import (
    known_locks,
    look_at,
    measure,
    record_locks,
    record_look,
    record_storage,
)
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.catalog.models import Run
from holdfast.catalog.notices import announce
from holdfast.catalog.points import Refreshed, count_damaged, record_point, renew_summaries
from holdfast.catalog.repository_secrets import open_added
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError
from holdfast.jobs.errors import DamageFound, LocksIncomplete
from holdfast.jobs.secrets import SecretSource
from holdfast.policy.run_states import RunKind, RunState
from holdfast.repository import Repository
from holdfast.repository.locking import points_locked_until

_DELETES = {RunKind.PRUNE.value, RunKind.DELETE_POINT.value}
_MEASURED = {*_DELETES, RunKind.BACKUP.value, RunKind.COMPACT.value}
_CHECKS = {RunKind.CHECK.value, RunKind.VERIFY.value}


class Recorder:
    """An `OnFinished` listener. Thread-safe; the same run twice is the same as once."""

    def __init__(
        self, database: Database, secrets: SecretSource, clock: Clock, *, cache_root: Path
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._clock = clock
        self._cache_root = cache_root

    def __call__(self, run: Run) -> None:
        completed = run.state == RunState.COMPLETED.value
        if run.kind in _CHECKS:
            self._record_check(run, completed)
        elif run.kind == RunKind.LOCK.value and run.repository_id:
            if completed or run.error_code == LocksIncomplete.code:
                self.refresh(run.repository_id, locks_renewed=completed)
        elif run.kind == RunKind.REPAIR.value and run.repository_id:
            if completed or run.error_code == DamageFound.code:
                self.refresh(run.repository_id)
        elif completed and run.kind == RunKind.COPY.value:
            self.refresh(str(run.request.get("to_repository_id")))
        elif completed and run.kind in _MEASURED and run.repository_id:
            self._record(run, run.repository_id)
        if run.kind == RunKind.BACKUP.value and run.vm_id:
            with self._database.writing() as session:
                renew_summaries(session, {run.vm_id})
                announce(session, "vm", run.vm_id, "changed", clock=self._clock, vm_id=run.vm_id)

    def _record(self, run: Run, repository_id: str) -> None:
        if run.kind in _DELETES:
            self.refresh(repository_id)
            return
        opened = self._open(repository_id)
        if opened is None:
            return
        point = opened.point(run.point_id) if run.point_id else None
        asked = [point.id] if point else []
        locked = points_locked_until(opened.store, opened.locks, asked)
        storage = measure(opened)
        with self._database.writing() as session:
            row = session.get(RepositoryRow, repository_id)
            if row is None:
                return
            if point is not None:
                record_point(session, row, point, self._clock)
                record_locks(session, repository_id, asked, locked)
            record_storage(session, row, storage, self._clock)
            announce(session, "repository", repository_id, "changed", clock=self._clock)

    def refresh(
        self,
        repository_id: str,
        on_damage: Callable[[HoldfastError], None] | None = None,
        *,
        locks_renewed: bool = False,
    ) -> Refreshed | None:
        """All points anew: some are gone, or came from elsewhere. `on_damage` hears of points that
        cannot be read. `locks_renewed`: just now, so that every lock is asked for. None when the
        repository is not in the catalogue. Raises what opening raises, SecretMissing,
        WrongRepository."""
        opened = self._open(repository_id)
        if opened is None:
            return None
        with self._database.reading() as session:
            now = self._clock.now()
            known = known_locks(session, repository_id, now)
        look = look_at(opened, known=() if locks_renewed else known)
        if on_damage is not None:
            for error in look.damage:
                on_damage(error)
        with self._database.writing() as session:
            row = session.get(RepositoryRow, repository_id)
            if row is None:
                return None
            done = record_look(session, row, look, self._clock)
            if locks_renewed:
                row.locks_renewed_at = self._clock.now()
            announce(session, "repository", repository_id, "changed", clock=self._clock)
        return done

    def _record_check(self, run: Run, completed: bool) -> None:
        damaged = run.error_code == DamageFound.code
        if not run.repository_id or not (completed or damaged):
            return
        with self._database.writing() as session:
            row = session.get(RepositoryRow, run.repository_id)
            if row is None:
                return
            row.last_check_at = self._clock.now()
            row.last_check_result = "sound" if completed else run.error_message
            announce(session, "repository", run.repository_id, "changed", clock=self._clock)
            names_damaged = count_damaged(session).get(row.id, 0) > 0
        if damaged or names_damaged:  # which points cannot be read, or can again
            self.refresh(run.repository_id)

    def _open(self, repository_id: str) -> Repository | None:
        with self._database.reading() as session:
            row = session.get(RepositoryRow, repository_id)
            if row is None:
                return None
            session.expunge(row)
        return open_added(row, self._secrets.repository(row), self._cache_root)
