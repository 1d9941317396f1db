"""Tombstones: packs that a compact run found unneeded and that a later one may delete.

A tombstone object names packs; its age is by the storage's clock. Writers read them after they
have taken their lease and rely on none of those packs, so whoever may still rely on one holds a
lease that is older than the tombstone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from holdfast.core.clock import Clock
from holdfast.core.ids import uuid7
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.pack import ID_BYTES
from holdfast.repository.reading import each, is_distant
from holdfast.repository.store.store import ObjectInfo, ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    key: str
    written_at: datetime
    """By the storage's clock."""
    packs: Sequence[bytes]


class Tombstones:
    """Reads and writes tombstone objects of one repository."""

    def __init__(self, store: ObjectStore, sealer: Sealer, clock: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock

    def all(self) -> list[Tombstone]:
        """Raises ObjectDamaged: a tombstone that cannot be read could hide what may go away.

        One that is removed meanwhile is passed over: its packs are gone by now, and an index that
        is read after this call does not name them.
        """
        listed = list(self._store.list("tombstones/"))
        is_slow = is_distant(self._store) and len(listed) > 1
        found = each(self._read, listed, is_slow=is_slow)
        return [stone for stone in found if stone is not None]

    def _read(self, info: ObjectInfo) -> Tombstone | None:
        try:
            stored = self._store.get(info.key)
        except ObjectMissing:
            return None
        plain = self._sealer.open(Kind.TOMBSTONE, info.key, stored, key=info.key)
        if len(plain) % ID_BYTES:
            raise ObjectDamaged(key=info.key, problem="it is not a row of pack names")
        packs = [plain[at : at + ID_BYTES] for at in range(0, len(plain), ID_BYTES)]
        return Tombstone(key=info.key, written_at=info.modified, packs=packs)

    def put(self, packs: Sequence[bytes]) -> Tombstone:
        """Durable on return."""
        key = f"tombstones/{uuid7(self._clock)}"
        sealed = self._sealer.seal(Kind.TOMBSTONE, key, b"".join(packs))
        self._store.put_new(key, [sealed])
        return Tombstone(key=key, written_at=self._store.stat(key).modified, packs=packs)

    def remove(self, tombstone: Tombstone) -> None:
        self._store.delete(tombstone.key)
