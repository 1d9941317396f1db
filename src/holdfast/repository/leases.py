"""Leases: who is writing, provable to others through the store alone.

A lease on a resource is a row of objects `leases/<resource>/<generation>`. Taking, refreshing and
releasing each create the next generation with a no-replace put, so of two processes exactly one
wins, and a holder that slept through its lease finds a newer generation than its own: the numbers
only grow and the newest object is never deleted. Ages are measured by the storage's clock.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from holdfast.core.clock import Clock, format_time, parse_time
from holdfast.core.errors import HoldfastError
from holdfast.core.failpoints import failpoint
from holdfast.core.ids import uuid7
from holdfast.repository.errors import (
    LeaseHeld,
    LeaseLost,
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    StoreUnavailable,
)
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.reading import side_by_side
from holdfast.repository.store.store import ObjectInfo, ObjectStore

MAINTENANCE = "maintenance"
"""The resource of the one process that may delete packs."""
TTL_S = 60.0
CLOCK_STEP = timedelta(minutes=10)
"""How far the storage's clock may be set without a pack being deleted too early: from as far ahead
as maintenance tolerates to as far behind."""
_AGELESS = datetime(1, 1, 2, tzinfo=UTC)
_REFRESH_S = 12.0
_GENERATION = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """The content of one generation."""

    owner: str
    """UUIDv7 of the holder; not of its process, which may hold several."""
    released: bool
    host: str
    boot_id: str
    pid: int
    pid_started: str
    """Start time of the process in clock ticks: a reused pid is another process."""
    since: str
    """By the holder's clock, for a person."""
    started: str = ""
    """By the storage's clock; empty in the first generation, whose own time it is."""

    def process_is_dead(self) -> bool:
        """True only when the holder ran on this very boot of this host and is gone."""
        here = _this_process()
        if self.boot_id != here["boot_id"] or not self.boot_id:
            return False
        started = _start_time(self.pid)
        if started is None:
            # Ended, or hidden from this process (`hidepid`, `ProtectProc=`).
            return not _exists(self.pid)
        return started != self.pid_started


class Lease:
    """A held lease, refreshed by a thread until released. A context manager."""

    def __init__(
        self, store: ObjectStore, sealer: Sealer, clock: Clock, resource: str, what: str
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._resource = resource
        self._what = what
        self._owner = str(uuid7(clock))
        self._since = format_time(clock.now())
        self._lock = threading.Lock()
        self._generation = 0
        self._confirmed_at: datetime | None = None
        self._started = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost = False
        self._has_looked = False

    def look(self) -> None:
        """What `acquire` begins with, for who has to wait for something else as well before it may
        write: changes nothing. Raises LeaseHeld when somebody else holds it."""
        newest = self._newest()
        if newest is not None:
            generation, info = newest
            self._refuse_if_held(info)
            self._generation = generation
        self._has_looked = True

    def acquire(self) -> Self:
        """Raises LeaseHeld when somebody else holds it."""
        if not self._has_looked:
            self.look()
        self._has_looked = False
        try:
            self._put_next(released=False)
        except ObjectExists as error:
            raise self._held("another process", format_time(self._clock.now())) from error
        try:
            self._confirmed_at = self._written_at()
            self._started = format_time(self._confirmed_at)
            failpoint("lease.after_acquire")
        except LeaseLost as error:
            raise self._held("another process", format_time(self._clock.now())) from error
        except BaseException:
            self.release()
            raise
        self._thread = threading.Thread(target=self._refresh_loop, name="lease", daemon=True)
        self._thread.start()
        return self

    def confirm(self) -> None:
        """Prove, by the store, that the lease was held without a break. Raises LeaseLost.

        Called right before the commit, and again after it.
        """
        with self._lock:
            self._refresh()

    def release(self) -> None:
        """Give it up so that the next run need not wait. Never raises for a lost lease."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock, suppress(HoldfastError):
            if not self._lost:
                self._put_next(released=True)
                self._drop_previous()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _refresh_loop(self) -> None:
        while not self._stop.wait(_REFRESH_S):
            # A failing store is no proof of loss; `confirm` decides before the commit. Nor is a
            # process that has no thread to give: too many, or its interpreter is ending.
            with self._lock, suppress(HoldfastError, RuntimeError):
                self._refresh()

    def _refresh(self) -> None:
        if self._lost:
            raise LeaseLost(what=self._what)
        try:
            self._put_next(released=False)
        except ObjectExists as error:
            self._lost = True
            raise LeaseLost(what=self._what) from error
        now = self._written_at()
        before, self._confirmed_at = self._confirmed_at, now
        if before is None or now - before >= timedelta(seconds=TTL_S):
            # Nobody took it, but others were free to treat it as expired in between.
            self._lost = True
            raise LeaseLost(what=self._what)
        if now < before:
            # The storage's clock was set back, so that the first generation may bear a time that
            # is still to come, and the lease look younger than it is: it has no age from here on.
            self._started = format_time(_AGELESS)

    def _written_at(self) -> datetime:
        """When the generation just put was made, proven to be the newest. Raises LeaseLost.

        The no-replace put alone is no proof: numbers become free again behind a holder that went
        on meanwhile, and whoever stood still since it looked could take one of those. The listing
        needs not wait for the one before to go: whatever it still shows of that, the newest counts.
        """
        _, newest = side_by_side(self._store, self._drop_previous, self._newest)
        if newest is None or newest[0] != self._generation:
            self._lost = True
            with suppress(ObjectMissing):
                self._store.delete(self._key(self._generation))
            raise LeaseLost(what=self._what)
        return newest[1].modified

    def _put_next(self, *, released: bool) -> None:
        generation = self._generation + 1
        document = {
            "owner": self._owner,
            "released": released,
            "since": self._since,
            "started": self._started,
            **_this_process(),
        }
        key = self._key(generation)
        sealed = self._sealer.seal(Kind.LEASE, key, json.dumps(document).encode())
        self._store.put_new(key, [sealed])
        self._generation = generation

    def _drop_previous(self) -> None:
        """After `_put_next`: the newest generation must exist at every moment."""
        if self._generation > 1:
            with suppress(ObjectMissing):
                self._store.delete(self._key(self._generation - 1))

    def _newest(self) -> tuple[int, ObjectInfo] | None:
        found: list[tuple[int, ObjectInfo]] = []
        for info in self._store.list(f"leases/{self._resource}/"):
            name = info.key.rpartition("/")[2]
            if _GENERATION.fullmatch(name):
                found.append((int(name, 16), info))
        return max(found, key=lambda item: item[0], default=None)

    def _refuse_if_held(self, info: ObjectInfo) -> None:
        """The storage's time is asked only of what has to be old to be taken over. Whoever
        refreshes it until then has put the generation that would be put next."""
        try:
            record = read_lease(self._store, self._sealer, info.key)
        except ObjectMissing:
            # Refreshed between listing and reading: alive.
            raise self._held("another process", format_time(info.modified)) from None
        except ObjectDamaged:
            # Whoever wrote it has refreshed it since, if alive: its age decides all the same.
            if self._is_fresh(info):
                raise
            return
        if record.released or record.process_is_dead():
            return
        if self._is_fresh(info):
            raise self._held(f"process {record.pid} on {record.host}", record.since)

    def _is_fresh(self, info: ObjectInfo) -> bool:
        return self._store.now() - info.modified < timedelta(seconds=TTL_S)

    def _held(self, holder: str, since: str) -> LeaseHeld:
        return LeaseHeld(what=self._what, holder=holder, since=since, ttl_s=TTL_S)

    def _key(self, generation: int) -> str:
        return f"leases/{self._resource}/{generation:016x}"


def oldest_lease(store: ObjectStore, sealer: Sealer, now: datetime) -> datetime | None:
    """When the longest-held living lease of a writer was taken, by the storage's clock.

    An expired lease does not count: its holder can prove nothing any more and commits nothing. It
    counts for a while longer, so that a storage whose clock is set forward lets none expire early.
    Raises ObjectDamaged for a fresh lease that cannot be read, and StoreUnavailable when the lease
    of the maintenance that asks is not listed: then others may be left out as well.
    """
    newest = _newest_of_each(store)
    if newest.pop(MAINTENANCE, None) is None:
        problem = "it does not list the lease of this very process"
        raise StoreUnavailable(location=store.location, problem=problem)
    started: list[datetime] = []
    for info in newest.values():
        if now - info.modified >= timedelta(seconds=TTL_S) + CLOCK_STEP:
            continue
        try:
            record = read_lease(store, sealer, info.key)
        except ObjectMissing:
            # Refreshed since the listing: living, and of unknown age.
            return _AGELESS
        if not (record.released or record.process_is_dead()):
            began = parse_time(record.started) if record.started else info.modified
            started.append(began if began <= now else _AGELESS)
    return min(started, default=None)


def _newest_of_each(store: ObjectStore) -> dict[str, ObjectInfo]:
    """The newest generation of each lease, listed twice: one short listing hides no holder."""
    newest: dict[str, ObjectInfo] = {}

    def ask() -> list[ObjectInfo]:
        return list(store.list("leases/"))

    for info in chain.from_iterable(side_by_side(store, ask, ask)):
        resource, _, name = info.key.removeprefix("leases/").rpartition("/")
        if not _GENERATION.fullmatch(name):
            continue
        if resource not in newest or newest[resource].key < info.key:
            newest[resource] = info
    return newest


def read_lease(store: ObjectStore, sealer: Sealer, key: str) -> LeaseRecord:
    """Raises ObjectMissing, ObjectDamaged."""
    plain = sealer.open(Kind.LEASE, key, store.get(key), key=key)
    try:
        document = cast(dict[str, Any], json.loads(plain))
        return LeaseRecord(**document)
    except (TypeError, ValueError) as error:
        raise ObjectDamaged(key=key, problem="its fields are not those of a lease") from error


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "boot_id": _boot_id(),
        "pid": os.getpid(),
        "pid_started": _start_time(os.getpid()) or "",
    }


def _boot_id() -> str:
    """Identity of this boot and of this pid namespace: pids mean something only within it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat (proc(5)); empty for a process that has ended and is still listed,
    None when nothing is shown of it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _exists(pid: int) -> bool:
    """Whether there is such a process, shown or not (kill(2) with signal 0)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
