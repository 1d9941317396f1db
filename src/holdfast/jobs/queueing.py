"""Runs from the side of whoever asks for them: the API. Enter at `Jobs`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy.orm import Session

from holdfast.catalog.database import Database
from holdfast.catalog.models import Run
from holdfast.catalog.runs import (
    RunRequest,
    Submitted,
    active_runs,
    add_run,
    exclusive_key_of,
    find_run,
    request_again,
    request_cancel,
)
from holdfast.core.clock import Clock, SystemClock


class Jobs:
    """Thread-safe. Each method takes the caller's writing session, to be part of its transaction
    (with an audit entry, for example), or opens one of its own."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock | None = None,
        wake: Callable[[], None] | None = None,
    ) -> None:
        """`wake` tells a worker of this process at once; others look twice a second."""
        self._database = database
        self._clock = clock or SystemClock()
        self._wake = wake

    def submit(self, request: RunRequest, session: Session | None = None) -> Submitted:
        """Queue a run, or find the active one that excludes it: `existing` tells.

        What excludes what is said by `exclusive_key_of` unless the request says it itself.
        """
        key = request.exclusive_key or exclusive_key_of(
            request.kind, request.vm_id, request.repository_id, request.point_id
        )
        with self._transaction(session) as own:
            return add_run(own, replace(request, exclusive_key=key), self._clock)

    def cancel(self, run_id: str, reason: str, session: Session | None = None) -> Run:
        """Raises NotInCatalogue, RunEnded."""
        with self._transaction(session) as own:
            return request_cancel(own, run_id, reason, self._clock)

    def retry(self, run_id: str, created_by: str, session: Session | None = None) -> Submitted:
        """A new run that does the same. Raises NotInCatalogue, RunNotRetryable."""
        with self._transaction(session) as own:
            return self.submit(request_again(find_run(own, run_id), created_by), own)

    def active(self, session: Session | None = None) -> Sequence[Run]:
        if session is not None:
            return active_runs(session)
        with self._database.reading() as own:
            runs = active_runs(own)
            own.expunge_all()
            return runs

    @contextmanager
    def _transaction(self, session: Session | None) -> Generator[Session]:
        if session is not None:
            yield session
            return
        with self._database.writing() as own:
            yield own
        if self._wake is not None:
            self._wake()
