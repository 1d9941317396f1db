"""What each restore point alone holds, measured in the background and kept until the points of the
repository change. Enter at `UniqueBytes.of`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from holdfast.api.opened_repositories import OpenedRepositories
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError
from holdfast.repository.unique import Owner, unique_bytes

_AGAIN_S = 120.0
"""After a measurement that failed."""
_log = structlog.get_logger("holdfast.unique")


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsSeen:
    """Which points a repository has, told apart by this: ids are never reused and sort by time."""

    count: int
    newest_id: str


@dataclass(slots=True, kw_only=True)
class _Measurement:
    points: PointsSeen
    done: threading.Event = field(default_factory=threading.Event)
    before: Mapping[Owner, int] = field(default_factory=dict[Owner, int])
    """Of the measurement before, for points that come and go while a large one is measured."""
    found: Mapping[Owner, int] | None = None
    failed_s: float = 0.0

    @property
    def newest(self) -> Mapping[Owner, int]:
        return self.before if self.found is None else self.found


class UniqueBytes:
    """Thread-safe. One measurement of a repository at a time."""

    def __init__(self, repositories: OpenedRepositories, clock: Clock) -> None:
        self._repositories = repositories
        self._clock = clock
        self._lock = threading.Lock()
        self._measured: dict[str, _Measurement] = {}
        self._cancel = CancelToken()

    def of(self, row: RepositoryRow, points: PointsSeen, *, wait_s: float) -> Mapping[Owner, int]:
        """By point and disk, as far as it is known after `wait_s`: as it was the time before, or
        empty, while it is being measured. `points` are those that the catalogue knows."""
        with self._lock:
            known = self._measured.get(row.id)
            if known is None or (known.done.is_set() and self._is_over(known, points)):
                before = known.newest if known else dict[Owner, int]()
                known = _Measurement(points=points, before=before)
                self._measured[row.id] = known
                thread = threading.Thread(
                    target=self._measure, args=(row, known), name="unique-bytes", daemon=True
                )
                thread.start()
        known.done.wait(wait_s)
        return known.newest

    def close(self) -> None:
        self._cancel.cancel("the service stops")

    def _is_over(self, known: _Measurement, points: PointsSeen) -> bool:
        if known.found is None:
            return self._clock.monotonic_s() - known.failed_s > _AGAIN_S
        return known.points != points

    def _measure(self, row: RepositoryRow, measurement: _Measurement) -> None:
        try:
            repository = self._repositories.open_anew(row)
            measurement.found = unique_bytes(repository, cancel=self._cancel)
        except HoldfastError as error:
            measurement.failed_s = self._clock.monotonic_s()
            _log.warning("not measured", repository=row.name, problem=error.message)
        finally:
            measurement.done.set()
