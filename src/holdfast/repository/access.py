"""Who may open a repository: the key slots, each holding the master key wrapped under a passphrase
or a recovery key.

Slots are objects of their own. A new one is durable before an old one goes, and the last one that
can be read never goes. Removing a slot keeps out whoever comes later; it takes nothing back from
somebody who copied the slot, or the data, before.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from holdfast.core.clock import Clock
from holdfast.core.failpoints import failpoint
from holdfast.core.ids import is_uuid, uuid7, uuid7_time
from holdfast.repository.errors import (
    KeySlotNotFound,
    LastKeySlot,
    ObjectDamaged,
    ObjectMissing,
    RepositoryIncomplete,
    WrongPassphrase,
)
from holdfast.repository.format.config import RepositoryConfig
from holdfast.repository.format.keys import KEY_BYTES, Credential, new_slot, open_slot
from holdfast.repository.store.store import ObjectInfo, ObjectStore

_FOLDER = "keys/"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySlot:
    """What is known of a slot without a key."""

    id: str
    kind: str
    """`passphrase`, `recovery`, or empty when the slot cannot be read."""
    created_at: datetime | None
    """By the clock of the machine that made it."""


class KeySlots:
    """The slots of one repository whose master key is known."""

    def __init__(
        self,
        store: ObjectStore,
        config: RepositoryConfig,
        master: bytes,
        clock: Clock,
        retire: Callable[[str], None],
    ) -> None:
        """`retire` is told of each slot that is to go, before it goes."""
        self._store = store
        self._retire = retire
        self._id_bytes = config.repository_id.bytes
        self._master = master
        self._clock = clock

    def all(self) -> list[KeySlot]:
        """Oldest first."""
        return [
            KeySlot(id=slot, kind=self._kind(slot, stored), created_at=_created_at(slot))
            for slot, stored in _slots(self._store)
        ]

    def add(self, credential: Credential) -> str:
        """A slot that opens with `credential`; its id. Durable, and proven to open, on return."""
        slot = str(uuid7(self._clock))
        stored = new_slot(self._id_bytes, slot, self._master, credential)
        self._store.put_new(f"{_FOLDER}{slot}", [stored])
        kept = self._store.get(f"{_FOLDER}{slot}")
        if open_slot(self._id_bytes, slot, kept, credential) != self._master:
            raise ObjectDamaged(key=f"{_FOLDER}{slot}", problem="it does not open as written")
        return slot

    def change(self, old: Credential, new: Credential) -> tuple[str, list[str]]:
        """Let `new` open the repository in place of `old`: the new slot's id, and the ids of the
        removed ones. Raises WrongPassphrase when `old` opens no slot; then nothing was changed.
        Raises ObjectLocked when an old slot is immutable yet: then the new one opens the repository
        and the old ones do too, until they are removed after the time it says.

        Call within a maintenance session, so that no two processes remove slots at a time.
        """
        replaced = self.opened_by(old)
        if not replaced:
            raise WrongPassphrase(location=self._store.location)
        added = self.add(new)
        failpoint("keys.between_slots")
        # A crash here leaves both: the old passphrase and the new one open the repository.
        for slot in replaced:
            self._retire(f"{_FOLDER}{slot}")
        for slot in replaced:
            self._store.delete(f"{_FOLDER}{slot}")
        return added, replaced

    def opened_by(self, credential: Credential) -> list[str]:
        """Ids of the slots that open with it, oldest first. Takes the time of one key derivation
        a slot of its kind."""
        return [
            slot for slot, stored in _slots(self._store) if self._opens(slot, stored, credential)
        ]

    def find(self, id_or_prefix: str) -> str:
        """The full id of a slot. Raises KeySlotNotFound."""
        return self._one_of(self.all(), id_or_prefix).id

    def remove(self, id_or_prefix: str) -> str:
        """Remove one slot; its id. Raises KeySlotNotFound, LastKeySlot; and ObjectLocked while it
        is immutable, which it stays no longer than until the time that this says.

        Call within a maintenance session, so that no two processes remove slots at a time.
        """
        slots = self.all()
        going = self._one_of(slots, id_or_prefix)
        if not any(item.kind for item in slots if item.id != going.id):
            raise LastKeySlot(slot=going.id)
        self._retire(f"{_FOLDER}{going.id}")
        try:
            self._store.delete(f"{_FOLDER}{going.id}")
        except ObjectMissing as error:
            raise KeySlotNotFound(slot=id_or_prefix, location=self._store.location) from error
        return going.id

    def _one_of(self, slots: Sequence[KeySlot], id_or_prefix: str) -> KeySlot:
        matches = [item for item in slots if id_or_prefix and item.id.startswith(id_or_prefix)]
        if len(matches) != 1:
            raise KeySlotNotFound(slot=id_or_prefix, location=self._store.location)
        return matches[0]

    def _kind(self, slot: str, stored: bytes) -> str:
        """Empty for a slot that nobody can open: damaged, or of another repository."""
        probe = Credential(kind="none", secret=b"")
        try:
            open_slot(self._id_bytes, slot, stored, probe)
        except ObjectDamaged:
            return ""
        document = cast(dict[str, Any], json.loads(stored.removesuffix(b"\n").rpartition(b"\n")[0]))
        return str(document["kind"])

    def _opens(self, slot: str, stored: bytes, credential: Credential) -> bool:
        try:
            return open_slot(self._id_bytes, slot, stored, credential) == self._master
        except ObjectDamaged:
            return False


def unlock(store: ObjectStore, config: RepositoryConfig, credential: Credential) -> bytes:
    """The master key. Raises WrongPassphrase, ObjectDamaged, RepositoryIncomplete."""
    damaged: ObjectDamaged | None = None
    slots = 0
    for slot, stored in _read(store, store.list(_FOLDER)):  # no further than to the one that opens
        slots += 1
        try:
            master = open_slot(config.repository_id.bytes, slot, stored, credential)
        except ObjectDamaged as error:
            damaged = error  # another slot may still open
            continue
        if master is not None and len(master) == KEY_BYTES:
            return master
    if damaged is not None:
        raise damaged
    if slots == 0:
        raise RepositoryIncomplete(location=store.location)
    raise WrongPassphrase(location=store.location)


def _slots(store: ObjectStore) -> Iterator[tuple[str, bytes]]:
    return _read(store, sorted(store.list(_FOLDER), key=lambda info: info.key))


def _read(store: ObjectStore, listed: Iterable[ObjectInfo]) -> Iterator[tuple[str, bytes]]:
    """Ids and contents, without the slots that went since the listing."""
    for info in listed:
        try:
            stored = store.get(info.key)
        except ObjectMissing:
            continue
        yield info.key.removeprefix(_FOLDER), stored


def _created_at(slot: str) -> datetime | None:
    """The time in a version 7 UUID (RFC 9562, 5.7)."""
    if not is_uuid(slot) or uuid.UUID(slot).version != 7:
        return None
    return uuid7_time(uuid.UUID(slot))
