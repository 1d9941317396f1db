"""What the catalogue learns from a run that has ended: its new restore point, the points it
deleted, and the repository's figures. Enter at `Recorder`; `Recorder.refresh` reads a repository
whole.

The repository is asked, never the run believed: what is listed is what is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from holdfast.catalog import repositories
from holdfast.catalog.database import Database
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.catalog.models import Run
from holdfast.catalog.notices import announce
from holdfast.catalog.points import Refreshed, record_point, refresh_points, renew_summaries
from holdfast.catalog.repository_secrets import open_added
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError
from holdfast.jobs.secrets import SecretSource
from holdfast.policy.run_states import RunKind, RunState
from holdfast.repository import Repository, is_s3_url

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
        used = _used_bytes(opened)
        total, available = _space(opened.location)
        with self._database.writing() as session:
            row = session.get(RepositoryRow, repository_id)
            if row is None:
                return
            if point is not None:
                record_point(session, row, point, self._clock)
            repositories.record_storage(
                session,
                row,
                used_bytes=used,
                total_bytes=total,
                available_bytes=available,
                clock=self._clock,
            )
            announce(session, "repository", repository_id, "changed", clock=self._clock)

    def refresh(
        self, repository_id: str, on_damage: Callable[[HoldfastError], None] | None = None
    ) -> Refreshed | None:
        """All points anew: some are gone, or came from elsewhere. `on_damage` hears of points that
        cannot be read. None when the repository is not in the catalogue. Raises what opening
        raises, SecretMissing, WrongRepository."""
        opened = self._open(repository_id)
        if opened is None:
            return None
        points, used = opened.points(on_damage), _used_bytes(opened)
        total, available = _space(opened.location)
        with self._database.writing() as session:
            row = session.get(RepositoryRow, repository_id)
            if row is None:
                return None
            done = refresh_points(session, row, points, self._clock)
            repositories.record_storage(
                session,
                row,
                used_bytes=used,
                total_bytes=total,
                available_bytes=available,
                clock=self._clock,
            )
            announce(session, "repository", repository_id, "changed", clock=self._clock)
        return done

    def _record_check(self, run: Run, completed: bool) -> None:
        damaged = run.error_code == "damage_found"
        if not run.repository_id or not (completed or damaged):
            return
        with self._database.writing() as session:
            row = session.get(RepositoryRow, run.repository_id)
            if row is None:
                return
            row.last_check_at = self._clock.now()
            row.last_check_result = "sound" if completed else run.error_message
            announce(session, "repository", run.repository_id, "changed", clock=self._clock)

    def _open(self, repository_id: str) -> Repository | None:
        with self._database.reading() as session:
            row = session.get(RepositoryRow, repository_id)
            if row is None:
                return None
            session.expunge(row)
        return open_added(row, self._secrets.repository(row), self._cache_root)


def _used_bytes(repository: Repository) -> int:
    return sum(info.size_bytes for info in repository.store.list(""))


def _space(location: str) -> tuple[int | None, int | None]:
    """Size and free space of the file system; None for a bucket, which has neither."""
    if is_s3_url(location):
        return None, None
    status = os.statvfs(location)
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
