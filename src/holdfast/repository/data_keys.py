"""Data keys: what packs are sealed under, numbered by generation, so that new packs can get a new
one while old packs stay as they are.

Generation 0 is the master key itself; a repository whose data key was never rotated has no other
and no object here. Every later one is 32 random bytes sealed under the master key, in two objects
of the same content: packs are worth nothing without it, so one damaged object must not cost them.
The first of the two to appear puts the generation in force. They are never removed. Ids of chunks
are keyed by the master key and know no generation. Enter at `DataKeys`.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass

from holdfast.core.failpoints import failpoint
from holdfast.repository.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
)
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.keys import KEY_BYTES
from holdfast.repository.format.pack import ChunkCipher, PackHeader
from holdfast.repository.store.store import ObjectStore

_FOLDER = "datakeys/"
_COPIES = ("a", "b")
_KEY = re.compile(r"datakeys/(?P<generation>(?!0{8})[0-9a-f]{8})/[ab]")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DataKey:
    """Never logged."""

    generation: int
    secret: bytes

    def __repr__(self) -> str:
        return f"DataKey({self.generation})"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCopy:
    """One of the two objects of a generation is damaged or missing."""

    key: str
    problem: str
    is_lost: bool
    """True when the other one does not open either: no pack of this generation can be read."""


class DataKeys:
    """The data keys of one repository whose master key is known. Thread-safe."""

    def __init__(
        self, store: ObjectStore, sealer: Sealer, repository_id: bytes, master: bytes
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._repository_id = repository_id
        self._secrets = {0: master}
        self._lock = threading.Lock()

    # -- reading --------------------------------------------------------------------------------

    def cipher(self, header: PackHeader, *, key: str) -> ChunkCipher:
        """Of the pack `key` with that header. A generation that this process does not know is
        looked for in the storage first: it may have been made since. Raises ObjectDamaged."""
        secret = self._secret(header.generation, pack=key)
        return ChunkCipher(self._repository_id, secret, header.salt)

    def newest(self) -> DataKey:
        """What new packs are to be sealed under, as the storage says now. Whoever began with an
        older one may finish with it. Raises ObjectDamaged when neither copy of it opens: then
        nothing is written before another rotation, for whoever could damage them would otherwise
        choose the key."""
        generation = max(self._generations(), default=0)
        return DataKey(generation=generation, secret=self._secret(generation))

    def damage(self) -> list[BadCopy]:
        """What `renew_copies` would mend, and what it cannot."""
        found: list[BadCopy] = []
        for generation in self._generations():
            problems = {name: self._problem(generation, name) for name in _COPIES}
            is_lost = all(problems.values())
            found += [
                BadCopy(key=_key(generation, name), problem=problem, is_lost=is_lost)
                for name, problem in problems.items()
                if problem
            ]
        return found

    # -- writing: within a maintenance session, so that no two processes do it at a time ----------

    def rotate(self) -> int:
        """A new data key for packs of sessions that begin from now on; its generation. Durable,
        and proven to open, on return. Raises ObjectExists when somebody else was faster."""
        self.renew_copies()
        generation = max(self._generations(), default=0) + 1
        for name in _COPIES:
            # A listing may be short; two secrets of one generation would be a disaster.
            with suppress(ObjectMissing):
                self._store.stat(_key(generation, name))
                raise ObjectExists(key=_key(generation, name), location=self._store.location)
        secret = os.urandom(KEY_BYTES)
        failpoint("data_keys.before_put")
        self._put(generation, _COPIES[0], secret)  # from here on it is in force
        failpoint("data_keys.between_copies")
        # A crash here leaves one copy, which serves as well; the next rotation adds the other.
        self._put(generation, _COPIES[1], secret)
        return generation

    def renew_copies(self) -> list[str]:
        """Put again each copy that is damaged or missing while the other one opens. A damaged one
        that is immutable yet stays: a later run puts it again."""
        renewed: list[str] = []
        for bad in self.damage():
            match = _KEY.fullmatch(bad.key)
            if bad.is_lost or match is None:
                continue
            generation = int(match["generation"], 16)
            secret = self._secret(generation)
            try:
                with suppress(ObjectMissing):
                    self._store.delete(bad.key)
            except ObjectLocked:
                continue
            self._put(generation, bad.key[-1], secret)
            renewed.append(bad.key)
        return renewed

    # -- inside ---------------------------------------------------------------------------------

    def _generations(self) -> list[int]:
        matches = (_KEY.fullmatch(info.key) for info in self._store.list(_FOLDER))
        return sorted({int(match["generation"], 16) for match in matches if match})

    def _secret(self, generation: int, pack: str = "") -> bytes:
        with self._lock:
            known = self._secrets.get(generation)
        if known is not None:
            return known
        problems: list[str] = []
        for name in _COPIES:
            try:
                secret = self._open(generation, name)
            except (ObjectDamaged, ObjectMissing) as error:
                problems.append(error.message)
                continue
            with self._lock:
                return self._secrets.setdefault(generation, secret)
        problem = f"no copy of data key {generation} opens: {'; '.join(problems)}"
        if not pack:
            problem += "; `holdfast key rotate` makes another for new packs"
        raise ObjectDamaged(key=pack or _key(generation, _COPIES[0]), problem=problem)

    def _problem(self, generation: int, name: str) -> str:
        """Empty when this copy opens."""
        try:
            self._open(generation, name)
        except ObjectDamaged as error:
            return error.problem
        except ObjectMissing:
            return "it is missing"
        return ""

    def _open(self, generation: int, name: str) -> bytes:
        key = _key(generation, name)
        secret = self._sealer.open(Kind.DATAKEY, key, self._store.get(key), key=key)
        if len(secret) != KEY_BYTES:
            raise ObjectDamaged(key=key, problem="it does not hold a key")
        return secret

    def _put(self, generation: int, name: str, secret: bytes) -> None:
        key = _key(generation, name)
        self._store.put_new(key, [self._sealer.seal(Kind.DATAKEY, key, secret)])
        try:
            if self._open(generation, name) == secret:
                return
        except ObjectMissing:
            pass
        except ObjectDamaged:
            with suppress(ObjectMissing, ObjectLocked):
                self._store.delete(key)
        raise ObjectDamaged(key=key, problem="it does not open as written")


def _key(generation: int, name: str) -> str:
    return f"{_FOLDER}{generation:08x}/{name}"
