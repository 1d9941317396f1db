"""A bucket, or a prefix in one, as an object store: the contract on top of `s3_bucket`, and of
`s3_lock` where objects are locked."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.core.errors import HoldfastError
from holdfast.repository.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    StoreUnavailable,
)
from holdfast.repository.store.s3_access import S3Access, S3Location
from holdfast.repository.store.s3_bucket import Bucket, Timeouts
from holdfast.repository.store.s3_faults import RetryPolicy
from holdfast.repository.store.s3_probe import (
    TEMPORARY_FOLDER,
    probe_bucket,
    refuses_to_replace,
    require_conditional_put,
)
from holdfast.repository.store.store import Buffer, ObjectInfo, ObjectLock, check_key, is_key

if TYPE_CHECKING:
    from holdfast.repository.store.s3_lock import LockingBucket


class S3Store:
    """Objects are those below the prefix whose names are keys. What a killed process may leave is
    in `TEMPORARY_FOLDER`, whose name no key has."""

    def __init__(
        self,
        where: S3Location,
        access: S3Access,
        *,
        policy: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Connects to nothing yet. Raises InvalidInput."""
        self.access = access
        self._where = where
        self._policy = policy or RetryPolicy()
        self._bucket = Bucket(where, access, policy=self._policy, timeouts=timeouts or Timeouts())
        self._locking: LockingBucket | None = None
        self._is_fit = False
        self._fit_lock = threading.Lock()

    @property
    def location(self) -> str:
        return self._bucket.location

    def prepare(self) -> None:
        """Prove, before a repository is made here, that the bucket does what one rests on.
        Raises BucketUnfit, StoreUnavailable."""
        probe_bucket(self._bucket)
        self._is_fit = True

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        self._require_fit()
        self._bucket.create(key, parts)

    def get(self, key: str) -> bytes:
        check_key(key)
        return self._bucket.read(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        if length == 0:  # HTTP has no empty range
            end, data = self._bucket.describe(key).size_bytes, b""
        else:
            data = self._bucket.read_range(key, offset, length)
            end = offset + len(data)
        if end < offset + length:
            raise ObjectDamaged(key=key, problem=f"it ends before byte {offset + length}")
        return data

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from self.list_known(prefix, ())

    def list_known(self, prefix: str, known: Sequence[str]) -> Iterator[ObjectInfo]:
        """`list` for who knows most of the keys from before: the same, in less time."""
        for info in self._bucket.everything(prefix, known):
            if is_key(info.key):
                yield info

    def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        return self._bucket.describe(key)

    def delete(self, key: str) -> None:
        """S3 does not say whether there was anything to delete, so that is asked before; of two
        that delete at the same moment both may succeed."""
        self.stat(key)
        if self._bucket.keeps_versions and self.locking.keeps_locks():
            self.locking.delete(key)
        else:
            self._bucket.discard(key)

    def replace_damaged(self, key: str, damaged: bytes, parts: Sequence[Buffer]) -> None:
        """Where versions are kept, the older ones go after the new one is there: what breaks off
        in between shows as a hidden object, and this done again ends it."""
        check_key(key)
        self._require_fit()
        self.stat(key)  # says whether versions are kept
        if self.get(key) != damaged:
            raise ObjectExists(key=key, location=self.location)
        if not (self._bucket.keeps_versions and self.locking.keeps_locks()):
            self._bucket.overwrite(key, parts)
            return
        self.locking.require_unlocked(key)
        before = self.locking.versions_of(key)
        self._bucket.overwrite(key, parts)
        for version in reversed(before):
            self.locking.delete_version(version)

    def keeps_versions(self, known: str) -> bool:
        """Whether the bucket may keep more than one version of an object; `known` is one that
        should be there: when it is not, somebody may have hidden it."""
        if not self._bucket.keeps_versions:
            try:
                self.stat(known)
            except ObjectMissing:
                return True
        return self._bucket.keeps_versions

    @property
    def locking(self) -> LockingBucket:
        """Versions and locks of the same objects."""
        from holdfast.repository.store.s3_lock import LockingBucket  # half a second

        with self._fit_lock:
            if self._locking is None:
                self._locking = LockingBucket(self._where, self.access, policy=self._policy)
            return self._locking

    def put_locked(self, key: str, parts: Sequence[Buffer], lock: ObjectLock) -> None:
        check_key(key)
        self._require_fit()
        self.locking.create(key, parts, lock, self._bucket.holds)

    def lock(self, key: str, lock: ObjectLock) -> None:
        check_key(key)
        self.locking.extend(key, lock)

    def locked_until(self, key: str) -> datetime | None:
        check_key(key)
        return self.locking.locked_until(key)

    def breaches(self, key: str) -> Sequence[str]:
        check_key(key)
        return self.locking.attack(key)

    def now(self) -> datetime:
        """By the clock that stamps objects here, in whole seconds as S3 has it. Nobody waits for
        the probe object to go: one that stays is a leftover that no reader sees."""
        probe = f"{TEMPORARY_FOLDER}clock-{secrets.token_hex(8)}"
        self._bucket.create(probe, [])
        try:
            return self._stamp(probe)
        except ObjectMissing as error:
            problem = "an object just written is not there"
            raise StoreUnavailable(location=self.location, problem=problem) from error
        finally:
            threading.Thread(target=self._discard_probe, args=(probe,), name="probe").start()

    def _stamp(self, probe: str) -> datetime:
        """When the probe object was made. In a process that has written nothing yet its name also
        serves to prove that nothing is replaced, beside that."""
        if self._is_fit:
            return self._bucket.describe(probe).modified
        with ThreadPoolExecutor(1, thread_name_prefix="probe") as pool:
            refused = pool.submit(refuses_to_replace, self._bucket, probe)
            modified = self._bucket.describe(probe).modified
            # One that does replace is asked again, and said so, before the first write.
            self._is_fit = self._is_fit or refused.result()
        return modified

    def _discard_probe(self, probe: str) -> None:
        with suppress(HoldfastError):
            self._discard(probe)

    def remove_leftovers(self, older_than_s: float) -> int:
        """Remove probe objects of killed processes; returns how many. Never touches objects."""
        limit = self.now() - timedelta(seconds=older_than_s)
        old = [info for info in self._bucket.everything(TEMPORARY_FOLDER) if info.modified < limit]
        for info in old:
            self._discard(info.key)
        return len(old)

    def _discard(self, name: str) -> None:
        """Of a probe object: whatever is under its name."""
        if self._bucket.keeps_versions and self.locking.keeps_locks():
            self.locking.delete(name)
        else:
            self._bucket.discard(name)

    def _require_fit(self) -> None:
        """Once a process, before its first write: a bucket may have moved, since its repository
        was made, to a service that ignores conditions."""
        if self._is_fit:
            return
        with self._fit_lock:
            if not self._is_fit:
                require_conditional_put(self._bucket)
                self._is_fit = True
