"""What reading packs has proven: which were sound, which are damaged, and when.

Records are objects that are only added; a record that every pack in it has outlived, or that later
ones repeat, is removed. They are knowledge, not data: without them everything is unproven and the
next verify finds the same damage again.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from holdfast.core.clock import Clock
from holdfast.core.ids import uuid7
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.pack import ID_BYTES, pack_name
from holdfast.repository.reading import each, is_distant
from holdfast.repository.store.store import ObjectInfo, ObjectStore

_FOLDER = "verified/"
_READERS = 12
"""Records read at once from a distant storage: each names some hundred packs."""
_COUNTS = struct.Struct("<II")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One record. A pack that is in both rows counts as damaged."""

    key: str
    written_at: datetime
    """By the storage's clock."""
    sound: Sequence[bytes]
    damaged: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What all records say together: of several about one pack the latest counts."""

    sound_at: dict[bytes, datetime]
    damaged: frozenset[bytes]


class Proofs:
    """Reads and writes the records of one repository. Thread-safe."""

    def __init__(self, store: ObjectStore, sealer: Sealer, clock: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock

    def all(self) -> list[Proof]:
        """Oldest first. A record that cannot be read proves nothing and is passed over: what it
        called damaged is found damaged again. Raises StoreUnavailable."""
        listed = list(self._store.list(_FOLDER))
        is_slow = is_distant(self._store) and len(listed) > 1
        found = each(self._read, listed, workers=_READERS, is_slow=is_slow)
        proofs = [proof for proof in found if proof is not None]
        return sorted(proofs, key=lambda proof: (proof.written_at, proof.key))

    def _read(self, info: ObjectInfo) -> Proof | None:
        try:
            stored = self._store.get(info.key)
            plain = self._sealer.open(Kind.VERIFIED, info.key, stored, key=info.key)
            sound, damaged = _decode(plain, key=info.key)
        except (ObjectDamaged, ObjectMissing):
            return None
        return Proof(key=info.key, written_at=info.modified, sound=sound, damaged=damaged)

    def proven(self) -> Proven:
        """Raises StoreUnavailable."""
        sound_at: dict[bytes, datetime] = {}
        damaged: set[bytes] = set()
        for proof in self.all():
            sound_at.update(dict.fromkeys(proof.sound, proof.written_at))
            damaged.difference_update(proof.sound)
            damaged.update(proof.damaged)
            for pack in proof.damaged:
                sound_at.pop(pack, None)
        return Proven(sound_at=sound_at, damaged=frozenset(damaged))

    def damaged(self) -> frozenset[bytes]:
        """Packs that nothing new may rely on. Raises StoreUnavailable."""
        return self.proven().damaged

    def put(self, *, sound: Sequence[bytes], damaged: Sequence[bytes]) -> None:
        """Durable on return. No record of before says that the damaged ones are sound, whatever its
        time: the storage's clock may have been set back since."""
        key = self._put(sound, damaged)
        if not damaged:
            return
        bad = frozenset(damaged)
        proofs = self.all()
        mine = next((at for at, proof in enumerate(proofs) if proof.key == key), len(proofs))
        for proof in proofs[mine + 1 :]:
            if bad.isdisjoint(proof.sound):
                continue
            # A crash between the two leaves both, as it was.
            self._put([pack for pack in proof.sound if pack not in bad], proof.damaged)
            with suppress(ObjectMissing):
                self._store.delete(proof.key)

    def _put(self, sound: Sequence[bytes], damaged: Sequence[bytes]) -> str:
        key = f"{_FOLDER}{uuid7(self._clock)}"
        plain = b"".join([_COUNTS.pack(len(sound), len(damaged)), *sound, *damaged])
        self._store.put_new(key, [self._sealer.seal(Kind.VERIFIED, key, plain)])
        return key

    def drop_superseded(self, known: Collection[bytes]) -> None:
        """Remove the records that say nothing any more: each pack in them is in a later record or
        is not among the `known` ones; damage of a pack that is there counts, known or not, for
        another run may have found it since. A crash in between leaves some of them, which is
        harmless."""
        later: set[bytes] = set()
        for proof in reversed(self.all()):
            packs = {*proof.sound, *proof.damaged}
            if all(pack in later or pack not in known for pack in packs) and not any(
                self._exists(pack) for pack in proof.damaged if pack not in later
            ):
                with suppress(ObjectMissing):
                    self._store.delete(proof.key)
            later |= packs

    def _exists(self, pack: bytes) -> bool:
        try:
            self._store.stat(pack_name(pack))
        except ObjectMissing:
            return False
        return True


def _decode(plain: bytes, *, key: str) -> tuple[list[bytes], list[bytes]]:
    if len(plain) < _COUNTS.size:
        raise ObjectDamaged(key=key, problem="it ends too early")
    sound, damaged = _COUNTS.unpack_from(plain)
    if len(plain) != _COUNTS.size + (sound + damaged) * ID_BYTES:
        raise ObjectDamaged(key=key, problem="it is not a row of pack names")
    packs = [plain[at : at + ID_BYTES] for at in range(_COUNTS.size, len(plain), ID_BYTES)]
    return packs[:sound], packs[sound:]
