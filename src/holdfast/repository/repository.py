"""A repository: create, open, list its points, begin a backup, read a disk, delete, check.

The facade over the parts in this folder; callers outside import it from `holdfast.repository`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Self, cast

from blake3 import blake3

from holdfast.core.clock import Clock, SystemClock, format_time
from holdfast.core.failpoints import failpoint
from holdfast.core.ids import uuid7, uuid7_time
from holdfast.core.units import KIB, ceil_div
from holdfast.repository.access import KeySlots
from holdfast.repository.chunks import ChunkReader
from holdfast.repository.data_keys import DataKeys
from holdfast.repository.disk_map import DiskMap
from holdfast.repository.errors import (
    HeaderDamaged,
    ObjectDamaged,
    ObjectMissing,
    PointAmbiguous,
    PointHeld,
    PointNotFound,
    RepositoryIncomplete,
    WrongPassphrase,
)
from holdfast.repository.format.config import (
    RepositoryConfig,
    check_config,
    decode_config,
    encode_config,
)
from holdfast.repository.format.envelope import Kind, Sealer, owner_of
from holdfast.repository.format.immutability import Immutability
from holdfast.repository.format.keys import KEY_BYTES, Credential
from holdfast.repository.format.listing import ListedPoint
from holdfast.repository.format.pack import ChunkIds, ChunkType
from holdfast.repository.format.point import ArtifactRecord, DiskRecord, Manifest
from holdfast.repository.format.recovery_kit import new_recovery_key, render_kit
from holdfast.repository.index import ChunkIndex
from holdfast.repository.index_objects import IndexObjects
from holdfast.repository.leases import MAINTENANCE, Lease
from holdfast.repository.locking import LockingStore, Locks
from holdfast.repository.maintenance import Maintenance, with_room
from holdfast.repository.manifests import Manifests
from holdfast.repository.marks import Marks
from holdfast.repository.pack_tables import PackTables
from holdfast.repository.packs import PackWriter
from holdfast.repository.presence import SENTINEL_CONTENT, SENTINEL_KEY, refuse_used
from holdfast.repository.proofs import Proofs
from holdfast.repository.reading import is_distant, side_by_side
from holdfast.repository.restore_point import (
    OnDamage,
    RestorePoint,
    all_points,
    known_point,
    listed_points,
)
from holdfast.repository.session import BackupSession, point_key
from holdfast.repository.session_locks import SessionLocks
from holdfast.repository.store.local import LocalStore
from holdfast.repository.store.opening import shared_store, store_document
from holdfast.repository.store.store import ObjectStore
from holdfast.repository.tombstones import Tombstones
from holdfast.repository.unlocking import Unlocking

DEFAULT_CHUNK_BYTES = 256 * KIB
_LEFTOVER_AGE_S = 86_400.0
"""Temporary files of killed writers are removed at this age: a living writer's is minutes old."""


class Repository:
    """An opened repository. Thread-safe for reading. Holds the master key in memory."""

    def __init__(
        self, store: ObjectStore, config: RepositoryConfig, master: bytes, clock: Clock
    ) -> None:
        self.config = config
        self.clock = clock
        self._store = store
        self._master = master
        self._clock = clock
        self._id_bytes = config.repository_id.bytes
        self._sealer = Sealer(self._id_bytes, master)
        self._ids = ChunkIds(master)
        self.locks = Locks(store, self._sealer, clock)
        self._locking = LockingStore(store, self.locks)
        """The store, for what is to be immutable as soon as it is there."""
        self.marks = Marks(self._locking, self._sealer, clock)
        self.tombstones = Tombstones(store, self._sealer, clock)
        self.proofs = Proofs(store, self._sealer, clock)
        self.key_slots = KeySlots(self._locking, config, master, clock, retire=self.locks.retire)
        self.data_keys = DataKeys(self._locking, self._sealer, self._id_bytes, master)
        self.pack_tables = PackTables(store, self._id_bytes, self.data_keys)
        self.index_objects = IndexObjects(store, self._sealer, self.pack_tables)
        self._index = self.index_objects.index
        self.manifests = Manifests(store, self._sealer, self.id)
        self.chunks = ChunkReader(
            store=store,
            is_distant=self.is_distant,
            index=self._index,
            ids=self._ids,
            repository_id=self._id_bytes,
            data_keys=self.data_keys,
            recover=self.index_objects.complete,
        )

    # -- create and open ------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        store: ObjectStore,
        credential: Credential,
        *,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        immutability: Immutability | None = None,
        clock: Clock | None = None,
        hand_over: Callable[[str], None] | None = None,
    ) -> tuple[Repository, str]:
        """A new repository and its recovery kit (text, to be shown once).

        The sentinel is written last: without it nobody takes the folder for a repository, so
        `hand_over`, which is given the kit right before, makes sure that no repository is without
        one. Raises ObjectExists when there is one already, RepositoryIncomplete when a creation was
        broken off.
        """
        clock = clock or SystemClock()
        refuse_used(store)
        master = _random_key()
        repository_id = uuid7(clock)
        config = RepositoryConfig(
            repository_id=repository_id,
            created_at=format_time(uuid7_time(repository_id)),
            chunk_bytes=chunk_bytes,
        )
        repository = cls(store, config, master, clock)
        repository.locks.use(immutability or Immutability(days=0))
        locking = repository._locking
        locking.put_new("config", [encode_config(config, master)])
        failpoint("repository.after_config")
        if immutability is not None:
            repository.locks.put_rule(immutability)
        recovery = new_recovery_key()
        for holder in (credential, recovery):
            repository.key_slots.add(holder)
        failpoint("repository.after_key_slot")
        kit = render_kit(recovery, config.repository_id, store.location, config.created_at)
        if hand_over is not None:
            hand_over(kit)
        sentinel = repository._sealer.seal(Kind.SENTINEL, SENTINEL_KEY, SENTINEL_CONTENT)
        locking.put_new(SENTINEL_KEY, [sentinel])
        return repository, kit

    @classmethod
    def open(
        cls, store: ObjectStore, credential: Credential, *, clock: Clock | None = None
    ) -> Repository:
        """Raises NotARepository, RepositoryTooNew, RepositoryIncomplete, WrongPassphrase,
        ObjectDamaged. Reads no index yet."""
        return cls.open_unlocking(Unlocking(store, credential), clock=clock)

    @classmethod
    def open_unlocking(cls, unlocking: Unlocking, *, clock: Clock | None = None) -> Repository:
        """`open` for who has begun to unlock it already. Raises what `open` raises."""
        store = unlocking.store
        sentinel = _read_or_none(store, SENTINEL_KEY)
        try:
            master = unlocking.master()
        except WrongPassphrase as error:
            if sentinel and owner_of(sentinel) not in {None, unlocking.config.repository_id.bytes}:
                problem = "it names another repository than the sentinel does"
                raise HeaderDamaged(key="config", problem=problem) from error
            raise
        repository = cls(store, unlocking.config, master, clock or SystemClock())
        repository._check_sentinel(sentinel)
        return repository

    # -- handing over to a process of ours ------------------------------------------------------

    def share(self) -> dict[str, object]:
        """What another process of ours needs to open this repository, as a JSON document.

        It holds the master key and the storage's credentials in clear: only through a pipe to that
        process, never in arguments, environment, files or logs.
        """
        return {
            "store": store_document(self._store),
            "config": encode_config(self.config, self._master).decode(),
            "master": self._master.hex(),
        }

    @classmethod
    def from_shared(cls, document: Mapping[str, object], *, clock: Clock | None = None) -> Self:
        """The repository of a `share` document. Raises what `open` raises."""
        stored = str(document["config"]).encode()
        master = bytes.fromhex(str(document["master"]))
        store = shared_store(cast("Mapping[str, object]", document["store"]))
        config = decode_config(stored, location=store.location)
        check_config(stored, master)
        repository = cls(store, config, master, clock or SystemClock())
        repository.require_sentinel()
        return repository

    # -- identity -------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return str(self.config.repository_id)

    @property
    def location(self) -> str:
        return self._store.location

    @property
    def is_distant(self) -> bool:
        """Whether requests take so long that few large ones are better than many small ones."""
        return is_distant(self._store)

    @property
    def chunk_bytes(self) -> int:
        return self.config.chunk_bytes

    # -- points ---------------------------------------------------------------------------------

    def points(
        self,
        on_damage: OnDamage | None = None,
        *,
        from_store: bool = False,
    ) -> list[RestorePoint]:
        """Every point whose manifest can be read, oldest first; `on_damage` hears of the others,
        which must keep no VM from being backed up and no other point from being restored.

        Manifests may come from bundles, and those of a distant repository from a local cache.
        `from_store` reads every one itself: for who deletes one point because another is there.
        """
        return all_points(
            self.manifests,
            self.marks,
            self._store,
            on_damage,
            from_store=from_store,
        )

    def listed_points(self, on_damage: OnDamage | None = None) -> list[ListedPoint]:
        """What a list shows of `points`, in a quarter of its time; oldest first, to the
        millisecond."""
        return listed_points(self.manifests, self.marks, self._store, on_damage)

    def point_ids(self) -> list[str]:
        """Ids only, without reading the manifests."""
        return sorted(self.manifests.ids())

    def point(self, id_or_prefix: str) -> RestorePoint:
        """The point with that id, a unique beginning of it, or `latest`.

        Raises PointNotFound, PointAmbiguous.
        """
        if id_or_prefix == "latest" and (latest := self._latest()):
            return latest
        found = self.manifest(self.point_id(id_or_prefix))
        return known_point(found, self.marks.suspects(), self.marks.holds())

    def point_id(self, id_or_prefix: str) -> str:
        """The full id, also of a point whose manifest is damaged. Raises what `point` raises."""
        ids = self.point_ids()
        matches = [name for name in ids if id_or_prefix and name.startswith(id_or_prefix.lower())]
        if not matches:
            raise PointNotFound(point=id_or_prefix, location=self.location)
        if len(matches) > 1:
            raise PointAmbiguous(point=id_or_prefix, candidates=", ".join(matches[:5]))
        return matches[0]

    def latest_point(self, platform: str, vm_id: str) -> RestorePoint | None:
        """The newest point of one VM."""
        mine = [
            point
            for point in self.points()
            if (point.manifest.vm.platform, point.manifest.vm.id) == (platform, vm_id)
        ]
        return mine[-1] if mine else None

    def _latest(self) -> RestorePoint | None:
        """The newest point whose manifest itself can be read."""
        for point in reversed(self.points()):
            with suppress(ObjectDamaged, ObjectMissing):
                return replace(point, manifest=self.manifest(point.id))
        return None

    def delete_point(self, point_id: str) -> None:
        """Remove one point; no other depends on it. Its space is reclaimed by compact.

        Raises PointHeld, PointNotFound, and ObjectLocked with the time while it is immutable.
        """
        self.require_free(point_id)
        self.delete_free_point(point_id)

    def require_free(self, point_id: str) -> None:
        """Raises PointHeld. A hold made from here on may come too late; `hold` says so when it
        finds the point gone."""
        held = self.marks.holds().reason(point_id)
        if held:
            raise PointHeld(point=point_id, reason=held)

    def delete_free_point(self, point_id: str) -> None:
        """`delete_point` right after `require_free`."""
        try:
            self._store.delete(point_key(point_id))
        except ObjectMissing as error:
            raise PointNotFound(point=point_id, location=self.location) from error

    def mark_suspect(self, point_ids: Sequence[str], reason: str) -> None:
        """Record, durably, that the content of these points is in doubt."""
        self.marks.suspect(point_ids, reason)

    def hold(self, point_ids: Sequence[str], reason: str) -> None:
        """Keep these points from being deleted, by whomever, until they are released.

        Raises PointNotFound when one is gone by the time the hold is durable.
        """
        self.marks.hold(point_ids, reason)
        self._require_points(point_ids)

    def release(self, point_ids: Sequence[str], reason: str = "") -> list[str]:
        """End the holds on these points; returns those that were held. Raises PointNotFound."""
        self._require_points(point_ids)
        return self.marks.release(point_ids, reason)

    # -- reading --------------------------------------------------------------------------------

    def load_index(self) -> ChunkIndex:
        """Read the index objects that were not read yet.

        Call after listing points, never before: an index object is durable before the point that
        needs it, so whoever saw the point finds its chunks.
        """
        return self.index_objects.load()

    def complete_index(self) -> tuple[ChunkIndex, dict[bytes, int]]:
        """The index with every readable pack in it, named by an index object or not; and the packs
        in the store by hash, with their sizes, as listed after the index objects were read."""
        return self.index_objects.complete()

    def disk_map(self, disk: DiskRecord) -> DiskMap:
        """The map of a disk at a point. `load_index` must have been called since the point was
        read."""
        return DiskMap(
            root=disk.root,
            height=disk.height,
            chunk_count=ceil_div(disk.size_bytes, self.chunk_bytes),
            fetch=lambda page_id: self.chunks.read(page_id, ChunkType.MAP),
            fetch_many=self.chunks.read_pages,
        )

    def read_artifact(self, artifact: ArtifactRecord) -> bytes:
        data = b"".join(self.chunks.read(chunk, ChunkType.ARTIFACT) for chunk in artifact.chunks)
        if len(data) != artifact.size_bytes:
            raise ObjectDamaged(key=artifact.name, problem="it has another length than recorded")
        return data

    # -- writing --------------------------------------------------------------------------------

    def begin_backup(self, *, platform: str, vm_id: str, vm_name: str) -> BackupSession:
        """Take the VM's lease and start writing. Raises LeaseHeld when another run has it."""
        self.require_sentinel()
        resource = (
            "vm-" + blake3(f"{platform}\n{vm_id}".encode(), key=self._lease_key()).hexdigest()[:32]
        )
        lease = Lease(self._store, self._sealer, self._clock, resource, vm_name).acquire()
        try:
            # In this order: a tombstone written after the lease waits for it, and one that is
            # removed before it is read here has its packs out of the index that is read next.
            for stone in self.tombstones.all():
                self._index.forget(stone.packs)
            index = self.load_index()
            self.index_objects.forget_what_went()
            index.doubt(self.proofs.damaged())
            self.locks.forget()
            if isinstance(self._store, LocalStore):
                self._store.remove_leftovers(older_than_s=_LEFTOVER_AGE_S)
        except BaseException:
            lease.release()
            raise
        writer = self._new_writer()
        return BackupSession(
            store=self._locking,
            sealer=self._sealer,
            writer=writer,
            index=index,
            ids=self._ids,
            lease=lease,
            locks=SessionLocks(self.locks, index, self.chunks, self.proofs),
            chunk_bytes=self.chunk_bytes,
        )

    def begin_maintenance(self) -> Maintenance:
        """Take the right to rearrange packs. Raises LeaseHeld when another process has it."""
        lease = Lease(
            self._store, self._sealer, self.clock, MAINTENANCE, "maintenance of the repository"
        )
        self.locks.forget()

        def look() -> None:
            side_by_side(self._store, self.require_sentinel, lease.look)

        def compare_clocks() -> timedelta:
            return self._store.now() - self.clock.now()

        # Nothing but a probe object is written before the sentinel was seen.
        _, skew = side_by_side(self._store, look, compare_clocks)
        with_room(self._store, lease.acquire)
        return Maintenance(
            store=self._store,
            sealer=self._sealer,
            index=self._index,
            lease=lease,
            clock_skew=skew,
            new_writer=self._new_writer,
            read_index=self.index_objects.read,
        )

    # -- inside ---------------------------------------------------------------------------------

    def _new_writer(self) -> PackWriter:
        return PackWriter(
            store=self._locking,
            index=self._index,
            ids=self._ids,
            repository_id=self._id_bytes,
            data_key=self.data_keys.newest(),
        )

    @property
    def sealer(self) -> Sealer:
        """For maintenance inside this package."""
        return self._sealer

    @property
    def store(self) -> ObjectStore:
        """For maintenance inside this package."""
        return self._store

    @property
    def locking(self) -> ObjectStore:
        """The store, for what is to be immutable as soon as it is there."""
        return self._locking

    def manifest(self, point_id: str) -> Manifest:
        """Raises ObjectMissing, ObjectDamaged."""
        return self.manifests.read(point_id)

    def _require_points(self, point_ids: Sequence[str]) -> None:
        present = set(self.point_ids())
        for point_id in point_ids:
            if point_id not in present:
                raise PointNotFound(point=point_id, location=self.location)

    def require_sentinel(self) -> None:
        """The cheap proof that the whole storage is there: an unmounted share has no sentinel."""
        self._check_sentinel(_read_or_none(self._store, SENTINEL_KEY))

    def _check_sentinel(self, stored: bytes | None) -> None:
        if stored is None:
            raise RepositoryIncomplete(location=self.location)
        try:
            self._sealer.open(Kind.SENTINEL, SENTINEL_KEY, stored, key=SENTINEL_KEY)
        except ObjectDamaged as error:
            raise HeaderDamaged(key=SENTINEL_KEY, problem=error.problem) from error

    def _lease_key(self) -> bytes:
        return blake3(
            self._master, derive_key_context="holdfast repository v1 lease names"
        ).digest()


def _read_or_none(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectMissing:
        return None


def _random_key() -> bytes:
    return os.urandom(KEY_BYTES)
