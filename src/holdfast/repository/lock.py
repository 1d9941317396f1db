"""The lock step: renew the locks of what restore points need, and set those that are missing.

Packs of living points, the objects without which nothing can be read, and held points are locked
for the days of the rule from now; other points to the end of the days they were promised, which a
process that died between creating and locking may have left out. Asks the storage for each object,
not our records. Enter at `run_lock`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import Progress, ProgressSink
from holdfast.repository.errors import ObjectMissing
from holdfast.repository.format.immutability import Immutability
from holdfast.repository.format.pack import pack_name
from holdfast.repository.hidden import hidden_objects
from holdfast.repository.mark import marking_of
from holdfast.repository.reading import each
from holdfast.repository.repository import Repository
from holdfast.repository.session import point_key
from holdfast.repository.store.store import LockMode, ObjectLock

_WORKERS = 24
_REQUEST = timedelta(hours=1)


@dataclass(slots=True, kw_only=True)
class LockReport:
    objects: int = 0
    """That are to be locked."""
    short: list[str] = field(default_factory=list[str])
    """Those that were not locked for as long as they should be from now on."""
    unlocked: list[str] = field(default_factory=list[str])
    """Those among them that could be deleted."""
    missing: list[str] = field(default_factory=list[str])
    hidden: list[str] = field(default_factory=list[str])
    """Deleted or overwritten by somebody else: `unhide` brings them back."""
    until: datetime | None = None
    """Until when everything that living points need is locked at least."""


def run_lock(
    repository: Repository,
    *,
    cancel: CancelToken,
    progress: ProgressSink,
    dry_run: bool = False,
) -> LockReport:
    """Does nothing in a repository without a rule. With `dry_run` looks only. Broken off, it may be
    run again. Raises LeaseHeld, ClockSkew, LocksUnsupported, StoreUnavailable, Cancelled."""
    if dry_run:
        repository.locks.forget()
        return _Locking(repository, cancel, progress, dry_run=True).run()
    # Not beside compact: it may be deleting what is about to be locked.
    with repository.begin_maintenance():
        return _Locking(repository, cancel, progress, dry_run=False).run()


class _Locking:
    def __init__(
        self,
        repository: Repository,
        cancel: CancelToken,
        progress: ProgressSink,
        *,
        dry_run: bool,
    ) -> None:
        self._repository = repository
        self._store = repository.store
        self._cancel = cancel
        self._progress = progress
        self._dry_run = dry_run
        self._report = LockReport()
        self._now = repository.store.now()

    def run(self) -> LockReport:
        locks = self._repository.locks
        rule, required = locks.rule, locks.required()
        if rule is None or required is None:
            return self._report
        self._report.hidden = list(hidden_objects(self._store))
        wanted = self._wanted(rule, required)
        self._report.objects = len(wanted)
        kept: dict[str, datetime] = {}
        lock_all = each(lambda key: self._lock(rule, key, wanted[key]), wanted, workers=_WORKERS)
        for number, (key, until) in enumerate(zip(wanted, lock_all, strict=True)):
            self._cancel.check()
            self._progress.update(
                Progress(phase="locking", done_bytes=number, total_bytes=len(wanted))
            )
            if until is not None:
                kept[key] = until
        if not self._dry_run:
            locks.replace_records(kept)
        if not self._report.missing and not (self._dry_run and self._report.short):
            self._report.until = required
        return self._report

    def _wanted(self, rule: Immutability, required: datetime) -> Mapping[str, datetime]:
        """Until when each object is to be locked, by its key."""
        stored = {info.key: info.modified for info in self._store.list("points/")}
        points = [point for point in self._repository.points() if point_key(point.id) in stored]
        wanted = dict.fromkeys(self._repository.locks.roots(), required)
        marking = marking_of(
            self._repository,
            self._tombstoned(),
            self._cancel,
            self._progress,
            # One damaged point must not let the locks of the others end.
            pass_over=True,
        )
        packs = marking.run([point.manifest for point in points]).packs()
        wanted.update(dict.fromkeys(map(pack_name, packs), required))
        for point in points:
            # Reckoned from before the request that stored it, however long that took.
            promised = stored[point_key(point.id)] + rule.time - _REQUEST
            until = required if point.held else promised
            if until > self._now:
                wanted[point_key(point.id)] = until
        return wanted

    def _tombstoned(self) -> frozenset[bytes]:
        stones = self._repository.tombstones.all()
        return frozenset(pack for stone in stones for pack in stone.packs)

    def _lock(self, rule: Immutability, key: str, required: datetime) -> datetime | None:
        """Until when the object is locked now. None when it is missing, or not long enough and
        this is a dry run."""
        try:
            until = self._store.locked_until(key)
            if until is not None and until >= required.replace(microsecond=0):
                return until
            self._report.short.append(key)
            if until is None or until <= self._now:
                self._report.unlocked.append(key)
            if self._dry_run:
                return None
            margin = required if key.startswith("points/") else required + rule.margin
            lock = ObjectLock(until=margin.replace(microsecond=0), mode=LockMode(rule.mode))
            self._store.lock(key, lock)
        except ObjectMissing:
            self._report.missing.append(key)
            return None
        return lock.until
