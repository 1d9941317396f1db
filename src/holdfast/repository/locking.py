"""Immutable objects: which ones are locked, until when, and what is known of locks already set.

A point is locked for the days of the rule, from its commit. What it needs is locked at least as
long: packs, and the few objects without which nothing can be read. Locks of those are set for a
margin longer, and renewed once less than the days are left: by the backup that relies on them,
before its commit, and by the lock step for all points that live. Leases, tombstones, proofs, index
objects and these records stay free: they are replaced all the time, and can be made again.

How long a lock lasts is reckoned by the storage's clock, and only while the clock of this machine
agrees with it: a lock cannot be taken back. Enter at `Locks`; writers use `LockingStore`.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from holdfast.core.clock import Clock
from holdfast.core.ids import uuid7
from holdfast.repository.errors import ClockSkew, ObjectDamaged, ObjectMissing, ObjectsHidden
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.immutability import (
    Immutability,
    LockRecord,
    decode_record,
    decode_rule,
    encode_record,
    encode_rule,
)
from holdfast.repository.reading import each
from holdfast.repository.store.opening import locking_bucket
from holdfast.repository.store.passing import PassingStore
from holdfast.repository.store.store import Buffer, LockMode, ObjectLock, ObjectStore

RULES, RECORDS = "immutability/", "locks/"
_POINTS = "points/"
_ROOT_FOLDERS = ("keys/", "datakeys/", RULES, "marks/", "holds/")
_ROOT_OBJECTS = ("config", "sentinel")
_LOCKED = ("packs/", _POINTS, *_ROOT_FOLDERS)
_SKEW = timedelta(minutes=5)
_ANCHOR_S = 600.0
_COMMIT = timedelta(hours=1)
"""More than the time from renewing locks to the commit that relies on them."""
_WORKERS = 24


@dataclass(frozen=True, slots=True)
class _Anchor:
    at: datetime
    monotonic_s: float
    wall: datetime


class Locks:
    """The rule of one repository and what is known of its locks. Thread-safe."""

    def __init__(self, store: ObjectStore, sealer: Sealer, clock: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._guard = threading.Lock()
        self._rule: Immutability | None = None
        self._is_known = False
        self._anchor: _Anchor | None = None
        self.written: dict[str, datetime] = {}
        """Locks that this process has set, by object key."""

    # -- the rule -------------------------------------------------------------------------------

    @property
    def rule(self) -> Immutability | None:
        """The rule in force, read once; None when nothing new is locked. Raises ObjectsHidden when
        somebody hid a rule: what is in force cannot be told then, and nothing may be written."""
        with self._guard:
            if not self._is_known:
                self._rule, self._is_known = self._read_rule(), True
            return self._rule

    @property
    def has_ever_been(self) -> bool:
        """Whether there is or was a rule: only then can anything be locked."""
        return any(True for _ in self._store.list(RULES))

    def forget(self) -> None:
        """Read the rule again when it is needed: at the beginning of a session."""
        with self._guard:
            self._is_known = False

    def use(self, rule: Immutability) -> None:
        """For a repository that is being created: lock by this rule before it can be stored."""
        with self._guard:
            self._rule, self._is_known = rule if rule.days else None, True

    def put_rule(self, rule: Immutability) -> None:
        """Durable on return, and itself locked by the rule it states."""
        self.use(rule)
        key = f"{RULES}{uuid7(self._clock)}"
        sealed = self._sealer.seal(Kind.IMMUTABILITY, key, encode_rule(rule))
        LockingStore(self._store, self).put_new(key, [sealed])

    def change(self, *, days: int, mode: str) -> Immutability:
        """A rule in place of the one in force: returns it, once it is durable. Key slots that are
        to go stay so. 0 days: nothing new is locked; no lock that is set ends earlier."""
        self.forget()
        before = None
        with suppress(ObjectDamaged):  # the new one is what makes up for it
            before = self.rule
        rule = Immutability(days=days, mode=mode, retired=before.retired if before else ())
        self.put_rule(rule)
        return rule

    def retire(self, key: str) -> None:
        """Renew the lock of this key slot no more."""
        self.forget()
        rule = self.rule
        if rule is not None and key not in rule.retired:
            self.put_rule(replace(rule, retired=(*rule.retired, key)))

    def _read_rule(self) -> Immutability | None:
        """The one stored last. Raises ObjectDamaged when there are some and none can be read."""
        bucket = locking_bucket(self._store, if_versioned=True)
        hidden = bucket.hidden(RULES) if bucket else ()
        if hidden:
            raise ObjectsHidden(location=self._store.location, count=len(hidden))
        listed = sorted(self._store.list(RULES), key=lambda info: (info.modified, info.key))
        damage: ObjectDamaged | None = None
        for info in reversed(listed):
            try:
                stored = self._store.get(info.key)
                plain = self._sealer.open(Kind.IMMUTABILITY, info.key, stored, key=info.key)
                rule = decode_rule(plain, key=info.key)
            except ObjectDamaged as error:
                damage = damage or error
                continue
            return rule if rule.days else None
        if damage is not None:
            raise damage
        return None

    # -- how long -------------------------------------------------------------------------------

    def lock_of(self, key: str) -> ObjectLock | None:
        """The lock of an object about to be created; None for one that stays free."""
        rule = self.rule
        if rule is None or not is_permanent(key):
            return None
        margin = timedelta(0) if key.startswith(_POINTS) else rule.margin
        return self._lock(rule, self.now() + rule.time + margin)

    def required(self) -> datetime | None:
        """Until when everything must be locked that a point needs which is committed now."""
        rule = self.rule
        return None if rule is None else self.now() + rule.time + _COMMIT

    def now(self) -> datetime:
        """The storage's time, asked every few minutes. Raises ClockSkew when this machine's
        clock differs: one of the two is wrong, and it may be the one that locks go by."""
        with self._guard:
            monotonic_s, wall = self._clock.monotonic_s(), self._clock.now()
            anchor = self._anchor
            if anchor is not None:
                passed = timedelta(seconds=monotonic_s - anchor.monotonic_s)
                drift = abs(wall - anchor.wall - passed)
                if passed.total_seconds() < _ANCHOR_S and drift < _SKEW:
                    return anchor.at + passed
            at = self._store.now()
            skew = at - self._clock.now()
            if abs(skew) > _SKEW:
                raise ClockSkew(location=self._store.location, skew_s=skew.total_seconds())
            self._anchor = _Anchor(at, self._clock.monotonic_s(), self._clock.now())
            return at

    def _lock(self, rule: Immutability, until: datetime) -> ObjectLock:
        whole = until.replace(microsecond=0) + timedelta(seconds=1)
        return ObjectLock(until=whole, mode=LockMode(rule.mode))

    # -- setting locks --------------------------------------------------------------------------

    def roots(self) -> Iterator[str]:
        """The keys of the objects without which no point can be read, but for retired key slots."""
        rule = self.rule
        retired = rule.retired if rule else ()
        yield from _ROOT_OBJECTS
        for folder in _ROOT_FOLDERS:
            for info in self._store.list(folder):
                if info.key not in retired:
                    yield info.key

    def renew(self, keys: Iterable[str], required: datetime) -> int:
        """Lock everything here at least until `required`, and record it; how many locks were set
        that no record had. Raises ObjectMissing for a pack that is gone."""
        rule = self.rule
        if rule is None:
            return 0
        fresh = dict(self.written)
        known = {**self.recorded(), **fresh}
        short = [key for key in keys if key not in known or known[key] < required]
        lock = self._lock(rule, required + rule.margin)
        for _ in each(lambda key: self._set(key, lock), short, workers=_WORKERS):
            pass
        # Only now: a record never says more than the storage keeps. A crash before this line
        # leaves longer locks than recorded, which the next run asks for again.
        self._record({**fresh, **dict.fromkeys(short, lock.until)})
        for key in fresh:
            self.written.pop(key, None)
        return len(short)

    def _set(self, key: str, lock: ObjectLock) -> None:
        try:
            self._store.lock(key, lock)
        except ObjectMissing:
            if key.startswith(("packs/", *_ROOT_OBJECTS)):
                raise  # what relies on it must not be committed

    # -- records --------------------------------------------------------------------------------

    def recorded(self) -> dict[str, datetime]:
        """Until when objects are locked at least, by what was recorded. To save requests: who
        deletes asks the storage."""
        known: dict[str, datetime] = {}
        for record in self._records().values():
            for key in record.keys:
                known[key] = max(record.until, known.get(key, record.until))
        return known

    def replace_records(self, locked: Mapping[str, datetime]) -> None:
        """New records in place of all that are there now."""
        before = list(self._records())
        self._record(locked)
        for key in before:
            with suppress(ObjectMissing):
                self._store.delete(key)

    def _records(self) -> dict[str, LockRecord]:
        """By key. One that cannot be read says nothing."""
        found: dict[str, LockRecord] = {}
        for info in self._store.list(RECORDS):
            with suppress(ObjectDamaged, ObjectMissing):
                stored = self._store.get(info.key)
                plain = self._sealer.open(Kind.LOCKS, info.key, stored, key=info.key)
                found[info.key] = decode_record(plain, key=info.key)
        return found

    def _record(self, locked: Mapping[str, datetime]) -> None:
        """One record for each day on which locks end, so that one that ends early makes no other
        look shorter. Points are never renewed by what is recorded."""
        by_day: dict[date, dict[str, datetime]] = defaultdict(dict)
        for name, until in locked.items():
            if not name.startswith(_POINTS):
                by_day[until.date()][name] = until
        for group in by_day.values():
            record = LockRecord(until=min(group.values()), keys=sorted(group))
            key = f"{RECORDS}{uuid7(self._clock)}"
            sealed = self._sealer.seal(Kind.LOCKS, key, encode_record(record))
            self._store.put_new(key, [sealed])


class LockingStore(PassingStore):
    """A repository's store as its writers see it: what is to be immutable is locked by the request
    that creates it."""

    def __init__(self, inner: ObjectStore, locks: Locks) -> None:
        super().__init__(inner)
        self._locks = locks

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        lock = self._locks.lock_of(key)
        if lock is None:
            self.inner.put_new(key, parts)
            return
        self.inner.put_locked(key, parts, lock)
        self._locks.written[key] = lock.until

    def replace_damaged(self, key: str, damaged: bytes, parts: Sequence[Buffer]) -> None:
        """A crash in between leaves an object that is not locked, which the lock step locks."""
        lock = self._locks.lock_of(key)
        self.inner.replace_damaged(key, damaged, parts)
        if lock is not None:
            self.inner.lock(key, lock)
            self._locks.written[key] = lock.until


def points_locked_until(
    store: ObjectStore, locks: Locks, point_ids: Iterable[str]
) -> dict[str, datetime]:
    """Until when nobody can delete these points, by the storage itself; those that can be deleted
    now are missing. Asks nothing where there never was a rule."""
    keys = {f"{_POINTS}{point_id}": point_id for point_id in point_ids}
    if not keys or not locks.has_ever_been:
        return {}
    found = still_locked(store, keys, store.now())
    return {keys[key]: until for key, until in found.items()}


def is_permanent(key: str) -> bool:
    """Whether an object is one of those that a rule locks."""
    return key in _ROOT_OBJECTS or key.startswith(_LOCKED)


def still_locked(store: ObjectStore, keys: Iterable[str], now: datetime) -> dict[str, datetime]:
    """Those of the objects whose lock has not ended, by the storage itself."""
    keys = list(keys)

    def ask(key: str) -> datetime | None:
        try:
            return store.locked_until(key)
        except ObjectMissing:
            return None

    untils = each(ask, keys, workers=_WORKERS)
    found = zip(keys, untils, strict=True)
    return {key: until for key, until in found if until is not None and until > now}
