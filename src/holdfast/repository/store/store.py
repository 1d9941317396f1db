"""The contract of an object store. A repository needs no more than this from its storage.

Keys are relative paths of lower-case letters, digits, `-`, `_` and `.`, with `/` between
components; no component is empty or begins with a dot (the store keeps such names for itself).
What lies in the storage under any other name is not an object and is never listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview

_KEY = re.compile(r"[a-z0-9_-][a-z0-9._-]*(/[a-z0-9_-][a-z0-9._-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    key: str
    size_bytes: int
    modified: datetime
    """By the storage's clock, never by ours."""


class LockMode(Enum):
    """How hard a lock is where the storage knows the difference."""

    COMPLIANCE = "compliance"
    """Nobody can end it early, whatever their rights."""
    GOVERNANCE = "governance"
    """Who has the right to bypass it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLock:
    """An object can be neither deleted nor changed before `until`, by the storage's clock."""

    until: datetime
    """Aware, in whole seconds."""
    mode: LockMode = LockMode.COMPLIANCE


class ObjectStore(Protocol):
    """Thread-safe. Every method raises StoreUnavailable when the storage misbehaves, and
    OutOfSpace when it is full; neither leaves a visible object behind."""

    @property
    def location(self) -> str:
        """Where it is, for a person; holds no secret."""
        ...

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        """Create `key` from the concatenated parts, atomically, never replacing.

        On return the object and its name are durable. Of several callers exactly one wins; the
        others get ObjectExists. The buffers are the caller's again on return. A reader sees the
        whole object or none, also after a crash at any moment.
        """
        ...

    def get(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissing."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; raises ObjectDamaged when the object ends before that, and
        ObjectMissing."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix` (`""` or one ending in `/`), in no order.

        Complete or an error: an unreadable folder or an interrupted listing raises
        StoreUnavailable, it never yields fewer.
        """
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Raises ObjectMissing."""
        ...

    def delete(self, key: str) -> None:
        """Durable on return; deleting a missing object raises ObjectMissing, and one whose lock
        has not ended ObjectLocked. Then it is there as before."""
        ...

    def replace_damaged(self, key: str, damaged: bytes, parts: Sequence[Buffer]) -> None:
        """Put the parts in place of an object that is not what was stored: the only way in which
        an object ever changes. `damaged` are the bytes it was found to have.

        Durable on return. A reader sees the one or the other, also after a crash at any moment.
        Raises ObjectExists when it has other bytes by now, ObjectMissing, and ObjectLocked while
        its lock has not ended; then it is there as before. The new object is not locked.
        """
        ...

    def now(self) -> datetime:
        """The storage's own clock, to compare with `modified`."""
        ...

    # Locks: a store that cannot keep them raises LocksUnsupported from the first two.

    def put_locked(self, key: str, parts: Sequence[Buffer], lock: ObjectLock) -> None:
        """`put_new`, and on return the object is locked. A crash at any moment leaves a whole
        object or none; it may leave one that is not locked, which `lock` then locks."""
        ...

    def lock(self, key: str, lock: ObjectLock) -> None:
        """Lock an object until then at least. A lock that lasts longer stays as it is: none is
        ever shortened. Durable on return. Raises ObjectMissing."""
        ...

    def locked_until(self, key: str) -> datetime | None:
        """As the storage keeps it, never from a record of ours; it may be past. None when the
        object is not locked. Raises ObjectMissing."""
        ...

    def breaches(self, key: str) -> Sequence[str]:
        """Try to get rid of a locked object by every means this process has: overwrite it, end
        or shorten its lock, delete it. What worked, in words; nothing when the lock holds. For an
        object made for this purpose."""
        ...


@runtime_checkable
class RelistingStore(Protocol):
    """A store that lists sooner what it has listed before."""

    def list_known(self, prefix: str, known: Sequence[str]) -> Iterator[ObjectInfo]:
        """`ObjectStore.list`. `known` are keys that were there before: they say how the listing
        may be divided, never what is in it."""
        ...


@runtime_checkable
class NamingStore(Protocol):
    """A store that tells the names of objects sooner than their sizes and times."""

    def list_keys(self, prefix: str) -> Iterator[str]:
        """The keys of what `ObjectStore.list` lists, under the same obligations."""
        ...


def keys_below(store: ObjectStore, prefix: str) -> Iterator[str]:
    """The keys of what the store lists."""
    if isinstance(store, NamingStore):
        return store.list_keys(prefix)
    return (info.key for info in store.list(prefix))


def is_key(name: str) -> bool:
    """True for names that the contract allows."""
    return _KEY.fullmatch(name) is not None


def check_key(key: str) -> None:
    """Raise ValueError for a key outside the contract: a programming error, never user input."""
    if not is_key(key):
        raise ValueError(f"not an object key: {key!r}")
