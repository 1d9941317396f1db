"""An object store in memory: for speed, for a clock that jumps, and for power cuts.

`MemoryStore` keeps the contract of `holdfast.repository.store`. Given a `FileTrace` it also records
the file operations by which a folder would do the same, so that `crash_states` can tell what a
power cut leaves; a `WriteRule` with a step left out is a store that breaks the contract.
`FaultyStore` wraps any store and makes it fail or die at a chosen operation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from holdfast.core.clock import format_time
from holdfast.core.errors import HoldfastError
from holdfast.repository.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
    StoreUnavailable,
)
from holdfast.repository.store.store import (
    Buffer,
    ObjectInfo,
    ObjectLock,
    ObjectStore,
    check_key,
)
from tests.support.power_cut import FileSynced, FileTrace, FolderSynced, Written

_FOLDER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRule:
    """Which steps of a durable put are carried out."""

    sync_file: bool = True
    sync_folder: bool = True


class MemoryStore:
    """Thread-safe. `advance` moves its clock."""

    def __init__(
        self,
        objects: Mapping[str, bytes] | None = None,
        *,
        trace: FileTrace | None = None,
        rule: WriteRule | None = None,
    ) -> None:
        self._ahead = timedelta()
        now = self.now()
        self._objects = {key: (data, now) for key, data in (objects or {}).items()}
        self._trace = trace
        self._rule = rule or WriteRule()
        self._folders: set[str] = set()
        self._locks: dict[str, datetime] = {}
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        return "memory"

    @property
    def objects(self) -> dict[str, bytes]:
        """A copy of everything stored."""
        with self._lock:
            return {key: data for key, (data, _) in self._objects.items()}

    def advance(self, duration_s: float) -> None:
        """Let time pass, by the storage's clock."""
        self._ahead += timedelta(seconds=duration_s)

    def replace(self, key: str, data: bytes) -> None:
        """What decay or an attacker does; no store operation can."""
        with self._lock:
            self._objects[key] = (data, self._objects[key][1])

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        data = b"".join(parts)
        with self._lock:
            if key in self._objects:
                raise ObjectExists(key=key, location=self.location)
            if self._trace is not None:
                self._record_put(self._trace, key, data)
            self._objects[key] = (data, self.now())

    def get(self, key: str) -> bytes:
        check_key(key)
        with self._lock:
            if key not in self._objects:
                raise ObjectMissing(key=key, location=self.location)
            return self._objects[key][0]

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        data = self.get(key)[offset : offset + length]
        if len(data) != length:
            raise ObjectDamaged(key=key, problem=f"it ends before byte {offset + length}")
        return data

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            found = [self._info(key) for key in self._objects if key.startswith(prefix)]
        yield from found

    def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        with self._lock:
            if key not in self._objects:
                raise ObjectMissing(key=key, location=self.location)
            return self._info(key)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            if key not in self._objects:
                raise ObjectMissing(key=key, location=self.location)
            until = self._locks.get(key)
            if until is not None and until > self.now():
                raise ObjectLocked(key=key, until=format_time(until))
            self._locks.pop(key, None)
            del self._objects[key]
            if self._trace is not None:
                self._trace.enter(key, None)
                self._sync_folder(self._trace, key.rpartition("/")[0])

    def replace_damaged(self, key: str, damaged: bytes, parts: Sequence[Buffer]) -> None:
        data = b"".join(parts)
        with self._lock:
            if key not in self._objects:
                raise ObjectMissing(key=key, location=self.location)
            if self._objects[key][0] != damaged:
                raise ObjectExists(key=key, location=self.location)
            until = self._locks.get(key)
            if until is not None and until > self.now():
                raise ObjectLocked(key=key, until=format_time(until))
            self._locks.pop(key, None)
            if self._trace is not None:
                self._record_put(self._trace, key, data)
            self._objects[key] = (data, self.now())

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def put_locked(self, key: str, parts: Sequence[Buffer], lock: ObjectLock) -> None:
        self.put_new(key, parts)
        self._locks[key] = lock.until

    def lock(self, key: str, lock: ObjectLock) -> None:
        self.stat(key)
        self._locks[key] = max(lock.until, self._locks.get(key, lock.until))

    def locked_until(self, key: str) -> datetime | None:
        self.stat(key)
        return self._locks.get(key)

    def breaches(self, key: str) -> Sequence[str]:
        try:
            self.delete(key)
        except ObjectLocked:
            return []
        return ["it can be deleted"]

    def _info(self, key: str) -> ObjectInfo:
        data, modified = self._objects[key]
        return ObjectInfo(key=key, size_bytes=len(data), modified=modified)

    def _record_put(self, trace: FileTrace, key: str, data: bytes) -> None:
        folder = key.rpartition("/")[0]
        self._make_folder(trace, folder)
        inode = trace.new_file()
        temporary = f"{folder}/.tmp-{inode}" if folder else f".tmp-{inode}"
        trace.enter(temporary, inode)
        trace.add(Written(inode=inode, data=data))
        if self._rule.sync_file:
            trace.add(FileSynced(inode=inode))
        trace.enter(key, inode)
        trace.enter(temporary, None)
        self._sync_folder(trace, folder)

    def _make_folder(self, trace: FileTrace, folder: str) -> None:
        if not folder or folder in self._folders:
            return
        parent = folder.rpartition("/")[0]
        self._make_folder(trace, parent)
        trace.enter(folder, _FOLDER)
        self._sync_folder(trace, parent)
        self._folders.add(folder)

    def _sync_folder(self, trace: FileTrace, folder: str) -> None:
        if self._rule.sync_folder:
            trace.add(FolderSynced(folder=folder))


class FaultyStore:
    """Passes everything to another store until told to fail. Thread-safe.

    `die_at` is the process's death as the store sees it: from the n-th writing operation (counted
    from 1) on, nothing reaches the store any more. `fail` is a fault that passes.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.writes = 0
        """Writing operations so far, those that failed included."""
        self._last_write: int | None = None
        self._apply_last = False
        self._dead = False
        self._faults: dict[str, list[HoldfastError]] = {}
        self.before: Callable[[str, str], None] | None = None
        """Called with the name of each operation and its key before it is carried out."""
        self._lock = threading.Lock()

    def die_at(self, write: int, *, applied: bool) -> None:
        """Die at that many writes from now; `applied` when that write still reaches the store."""
        self._last_write = self.writes + write
        self._apply_last = applied

    def fail(self, operation: str, error: HoldfastError) -> None:
        """The next such operation (`put_new`, `get`, ...) raises `error` and does nothing."""
        self._faults.setdefault(operation, []).append(error)

    @property
    def died(self) -> bool:
        return self._dead

    @property
    def location(self) -> str:
        return self.inner.location

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        self._write("put_new", key, lambda: self.inner.put_new(key, parts))

    def put_locked(self, key: str, parts: Sequence[Buffer], lock: ObjectLock) -> None:
        self._write("put_locked", key, lambda: self.inner.put_locked(key, parts, lock))

    def replace_damaged(self, key: str, damaged: bytes, parts: Sequence[Buffer]) -> None:
        def act() -> None:
            self.inner.replace_damaged(key, damaged, parts)

        self._write("replace_damaged", key, act)

    def lock(self, key: str, lock: ObjectLock) -> None:
        self._write("lock", key, lambda: self.inner.lock(key, lock))

    def locked_until(self, key: str) -> datetime | None:
        self._read("locked_until", key)
        return self.inner.locked_until(key)

    def breaches(self, key: str) -> Sequence[str]:
        return self.inner.breaches(key)

    def delete(self, key: str) -> None:
        self._write("delete", key, lambda: self.inner.delete(key))

    def get(self, key: str) -> bytes:
        self._read("get", key)
        return self.inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self._read("get_range", key)
        return self.inner.get_range(key, offset, length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._read("list", prefix)
        yield from self.inner.list(prefix)

    def stat(self, key: str) -> ObjectInfo:
        self._read("stat", key)
        return self.inner.stat(key)

    def now(self) -> datetime:
        self._read("now", "")
        return self.inner.now()

    def _read(self, operation: str, key: str) -> None:
        if self.before is not None:
            self.before(operation, key)
        with self._lock:
            if self._dead:
                raise self._gone()
            faults = self._faults.get(operation)
            if faults:
                raise faults.pop(0)

    def _write(self, operation: str, key: str, act: Callable[[], None]) -> None:
        self._read(operation, key)
        with self._lock:
            self.writes += 1
            last = self._last_write is not None and self.writes >= self._last_write
            self._dead = self._dead or last
            apply = not last or self._apply_last
        if apply:
            act()
        if last:
            raise self._gone()

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(location=self.location, problem="the test ended this process")
