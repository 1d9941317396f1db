"""A store before another: whatever is not done differently is the other's. For who overrides it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from holdfast.repository.store.store import Buffer, ObjectInfo, ObjectLock, ObjectStore


class PassingStore:
    """Thread-safe as the store behind it is. Obligations and errors are those of `ObjectStore`."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner

    @property
    def location(self) -> str:
        return self.inner.location

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        self.inner.put_new(key, parts)

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.inner.get_range(key, offset, length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def stat(self, key: str) -> ObjectInfo:
        return self.inner.stat(key)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def replace_damaged(self, key: str, damaged: bytes, parts: Sequence[Buffer]) -> None:
        self.inner.replace_damaged(key, damaged, parts)

    def now(self) -> datetime:
        return self.inner.now()

    def put_locked(self, key: str, parts: Sequence[Buffer], lock: ObjectLock) -> None:
        self.inner.put_locked(key, parts, lock)

    def lock(self, key: str, lock: ObjectLock) -> None:
        self.inner.lock(key, lock)

    def locked_until(self, key: str) -> datetime | None:
        return self.inner.locked_until(key)

    def breaches(self, key: str) -> Sequence[str]:
        return self.inner.breaches(key)
