"""Opening a repository that is perhaps damaged, to read what is left of it and to write nothing.

What a healthy repository needs and a reader of points can do without (sentinel, index, leases, the
members of `config`) is missed here and said. Enter at `open_for_rescue`; `point_health` tells what
is known of a point without reading its data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from holdfast.core.clock import SystemClock
from holdfast.core.errors import HoldfastError
from holdfast.repository.errors import (
    ObjectDamaged,
    RepositoryIncomplete,
    StoreUnavailable,
)
from holdfast.repository.format.config import RepositoryConfig
from holdfast.repository.format.keys import Credential
from holdfast.repository.format.pack import ZERO_ID
from holdfast.repository.format.point import Manifest
from holdfast.repository.header import find_header
from holdfast.repository.index import ChunkIndex
from holdfast.repository.repository import Repository
from holdfast.repository.restore_point import RestorePoint
from holdfast.repository.store.local import LocalStore
from holdfast.repository.store.store import Buffer, ObjectInfo, ObjectLock, ObjectStore

_PACKS = "packs/"
_PACK = re.compile(r"packs/(?P<start>[0-9a-f]{2})/(?P=start)[0-9a-f]{62}")


class ReadOnlyStore:
    """Another store that nothing is written to. On a folder, an object or a list that cannot be
    read is damage of just that; a bucket that does not answer is an error as ever."""

    def __init__(self, inner: ObjectStore, on_problem: Callable[[str], None]) -> None:
        self._inner = inner
        self._on_problem = on_problem
        self._is_tolerant = isinstance(inner, LocalStore)

    @property
    def location(self) -> str:
        return self._inner.location

    def get(self, key: str) -> bytes:
        try:
            return self._inner.get(key)
        except StoreUnavailable as error:
            raise self._of_object(key, error) from error

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        try:
            return self._inner.get_range(key, offset, length)
        except StoreUnavailable as error:
            raise self._of_object(key, error) from error

    def stat(self, key: str) -> ObjectInfo:
        return self._inner.stat(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As much as can be listed. What is no pack is not listed among packs."""
        found, in_full = self._listed(prefix)
        if not in_full and prefix == _PACKS:
            folders = (self._listed(f"{_PACKS}{number:02x}/") for number in range(256))
            found = [info for folder, _ in folders for info in folder]
        for info in found:
            if prefix != _PACKS or _PACK.fullmatch(info.key):
                yield info

    def now(self) -> datetime:
        return datetime.now(UTC)

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        del parts
        self._refuse(key)

    def delete(self, key: str) -> None:
        self._refuse(key)

    def replace_damaged(self, key: str, damaged: bytes, parts: Sequence[Buffer]) -> None:
        del damaged, parts
        self._refuse(key)

    def put_locked(self, key: str, parts: Sequence[Buffer], lock: ObjectLock) -> None:
        del parts, lock
        self._refuse(key)

    def lock(self, key: str, lock: ObjectLock) -> None:
        del lock
        self._refuse(key)

    def locked_until(self, key: str) -> datetime | None:
        return self._inner.locked_until(key)

    def breaches(self, key: str) -> Sequence[str]:
        self._refuse(key)

    def _listed(self, prefix: str) -> tuple[Sequence[ObjectInfo], bool]:
        """What can be listed, and whether that is all."""
        found: list[ObjectInfo] = []
        try:
            found.extend(self._inner.list(prefix))
        except StoreUnavailable as error:
            if not self._is_tolerant:
                raise
            self._on_problem(f"{prefix}: cannot be listed in full: {error.problem}")
            return found, False
        return found, True

    def _of_object(self, key: str, error: StoreUnavailable) -> HoldfastError:
        if not self._is_tolerant:
            return error
        return ObjectDamaged(key=key, problem=f"it cannot be read: {error.problem}")

    def _refuse(self, key: str) -> NoReturn:
        raise StoreUnavailable(
            location=self.location, problem=f"it was opened to be read only, not to change {key}"
        )


@dataclass(slots=True, kw_only=True)
class Rescue:
    """An opened repository and what was found wrong with it so far."""

    repository: Repository
    problems: list[str] = field(default_factory=list[str])
    damaged: list[str] = field(default_factory=list[str])
    """Points whose manifest cannot be read, and why."""

    def points(self) -> list[RestorePoint]:
        """Every point whose manifest can be read, oldest first; the others are `damaged`. No
        bundle is believed: it could repeat a manifest that is damaged."""
        return self.repository.points(
            lambda error: note(self.damaged, error.message), from_store=True
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Packs:
    """Which packs there are to read from."""

    index: ChunkIndex
    present: frozenset[bytes]
    damaged: frozenset[bytes]
    """As verify recorded: most of what is in them can usually still be read."""


def open_for_rescue(store: ObjectStore, credential: Credential) -> Rescue:
    """Needs a key slot that opens and nothing else that could be missed. Writes nothing, now or
    later. Raises NotARepository, RepositoryTooNew, RepositoryIncomplete (no key slot),
    WrongPassphrase, ObjectDamaged (no slot can be read), StoreUnavailable."""
    problems: list[str] = []
    reading = ReadOnlyStore(store, lambda problem: note(problems, problem))
    config, master = _unlocked(reading, credential, problems)
    repository = Repository(reading, config, master, SystemClock())
    try:
        repository.require_sentinel()
    except (ObjectDamaged, RepositoryIncomplete):
        note(problems, "sentinel: damaged or missing. Perhaps not all of the storage is here")
    return Rescue(repository=repository, problems=problems)


def packs_of(rescue: Rescue) -> Packs:
    """Reads the index, and the tables of the packs that it lacks."""
    index, stored = rescue.repository.complete_index()
    missing = sum(pack not in stored for pack in index.packs)
    if missing:
        note(rescue.problems, f"packs: {missing} that the index names are missing")
    damaged = rescue.repository.proofs.damaged()
    if damaged & stored.keys():
        count = len(damaged & stored.keys())
        note(rescue.problems, f"packs: {count} are damaged, as an earlier verify found")
    return Packs(index=index, present=frozenset(stored), damaged=frozenset(damaged))


def point_health(point: RestorePoint, packs: Packs) -> str:
    """What is wrong with the point as far as can be told without reading its maps and data; empty
    when nothing is."""
    for name, chunk in _entrances(point.manifest):
        places = {location.pack_hash for location in packs.index.find_all(chunk)}
        if not places & packs.present:
            return f"{name} cannot be read"
        if not places & (packs.present - packs.damaged):
            return f"{name} may not be readable: its pack is damaged"
    return ""


def note(problems: list[str], problem: str) -> None:
    """Each problem once."""
    if problem not in problems:
        problems.append(problem)


def _entrances(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    for disk in manifest.disks:
        if disk.root != ZERO_ID:
            yield disk.key, disk.root
    for artifact in manifest.artifacts:
        for chunk in artifact.chunks:
            yield artifact.name, chunk


def _unlocked(
    store: ReadOnlyStore, credential: Credential, problems: list[str]
) -> tuple[RepositoryConfig, bytes]:
    """The configuration as written, or when it is not whole as the other objects tell it."""
    header = find_header(store, credential)
    part = header.config_part
    if part.problem:
        wrong = "config is missing" if part.stored is None else f"config is damaged: {part.problem}"
        note(problems, f"{wrong}. What it says was taken from other objects")
    return header.config, header.master
