"""A writing session: chunks, maps and artifacts of one VM's next restore point, then the commit.

The order is the safety of the repository: packs are durable before the index that names them, the
index before the manifest, and creating the manifest is the commit. A crash before that line leaves
packs and index objects that no point refers to; they are found again by the next backup (as known
chunks) and reclaimed by compact.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from blake3 import blake3

from holdfast.core.errors import HoldfastError
from holdfast.core.failpoints import failpoint
from holdfast.core.units import ceil_div
from holdfast.repository.disk_map import DiskMap, DiskMapWriter
from holdfast.repository.errors import LeaseLost, ObjectExists, ObjectMissing, ParentVanished
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.index import PackTable, encode_index
from holdfast.repository.format.pack import ChunkIds, ChunkType
from holdfast.repository.format.point import ArtifactRecord, Manifest, encode_manifest
from holdfast.repository.index import ChunkIndex
from holdfast.repository.index_objects import take_back_stale
from holdfast.repository.leases import Lease
from holdfast.repository.packs import PackWriter
from holdfast.repository.session_locks import SessionLocks
from holdfast.repository.set_aside import put_in_place
from holdfast.repository.store.store import ObjectStore


class BackupSession:
    """Made by `Repository.begin_backup`. A context manager: leaving gives up the lease; without a
    `commit` nothing becomes visible.

    `store_chunk` may be called from many threads; everything else from one.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        sealer: Sealer,
        writer: PackWriter,
        index: ChunkIndex,
        ids: ChunkIds,
        lease: Lease,
        locks: SessionLocks,
        chunk_bytes: int,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._writer = writer
        self._index = index
        self._ids = ids
        self._lease = lease
        self._locks = locks
        self.chunk_bytes = chunk_bytes

    @property
    def stored_bytes(self) -> int:
        """New sealed bytes so far."""
        return self._writer.stored_bytes

    def chunk_id(self, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Id of a chunk of disk data, to compare with a parent's before storing it."""
        return self._ids.of(ChunkType.DATA, plaintext)

    def is_kept(self, chunk_id: bytes) -> bool:
        """Whether a pack that can be relied on holds the chunk. Always true while no pack is in
        doubt, so ask it of chunks that the repository is known to have only."""
        return not self._index.has_doubts or self._index.find_kept(chunk_id) is not None

    def store_chunk(self, chunk_id: bytes, plaintext: bytes | bytearray | memoryview) -> int:
        """Bytes newly stored; 0 when the chunk is known. The buffer stays the caller's."""
        return self._writer.store_known(ChunkType.DATA, chunk_id, plaintext)

    def new_map(self, size_bytes: int, parent: DiskMap | None) -> DiskMapWriter:
        """A map writer for a disk of that size whose pages go into this session."""
        return DiskMapWriter(
            chunk_count=ceil_div(size_bytes, self.chunk_bytes),
            parent=parent,
            store=lambda page: self._writer.store(ChunkType.MAP, page)[0],
        )

    def store_artifact(self, name: str, data: bytes) -> ArtifactRecord:
        """Keep a definition or firmware state of the VM beside its disks."""
        step = self.chunk_bytes
        chunks = [
            self._writer.store(ChunkType.ARTIFACT, data[start : start + step])[0]
            for start in range(0, len(data), step)
        ]
        return ArtifactRecord(name=name, size_bytes=len(data), chunks=tuple(chunks))

    def flush(self) -> None:
        """Make every chunk so far durable and readable. Call when no `store_chunk` is running."""
        self._writer.flush()

    def commit(self, manifest: Manifest, *, in_place_of: bytes | None = None) -> None:
        """Make the point exist. On return it is durable and visible; on any error it is neither.

        `in_place_of` is the damaged manifest that the point has now, for who repairs it: it is set
        aside, and on any error there again.

        Raises LeaseLost, ParentVanished, OutOfSpace, StoreUnavailable.
        """
        self._writer.flush()
        failpoint("index.before_put")
        named = self._put_index()
        failpoint("index.after_put")
        try:
            self._locks.renew(manifest)
            self._lease.confirm()
        except (LeaseLost, ObjectMissing):
            take_back_stale(self._store, named)
            raise
        if manifest.parent_id is not None:
            self._require_point(manifest.parent_id)
        key = point_key(manifest.id)
        sealed = self._sealer.seal(Kind.POINT, key, encode_manifest(manifest))
        failpoint("point.before_commit")
        if in_place_of is None:
            self._store.put_new(key, [sealed])  # THE COMMIT: everything it names is durable
        else:
            put_in_place(self._store, key, in_place_of, sealed)
        failpoint("point.after_commit")
        self._prove_commit(manifest, sealed, in_place_of)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lease.release()

    def _put_index(self) -> dict[str, list[PackTable]]:
        """Name every pack that the point may refer to, those of a broken-off run of this process
        included: their chunks were known and not stored again. What was put, by its key."""
        tables = self._index.unnamed
        if not tables:
            return {}
        sealed = self._sealer.seal(Kind.INDEX, "", encode_index(tables))
        key = f"index/{blake3(sealed).hexdigest()}"
        with suppress(ObjectExists):  # named by the hash of its bytes: it is this one
            self._store.put_new(key, [sealed])
        self._index.now_named(tables)
        return {key: tables}

    def _require_point(self, point_id: str) -> None:
        if not any(info.key == point_key(point_id) for info in self._store.list("points/")):
            raise ParentVanished(point=point_id)

    def _prove_commit(self, manifest: Manifest, sealed: bytes, in_place_of: bytes | None) -> None:
        """If the lease was lost while the manifest was being written, a reclaim may have run in
        between without seeing it: take the point back rather than promise what may be gone. The
        same when the store cannot prove it any more: the caller is told that nothing was kept.

        An immutable point cannot be taken back, and need not be: what it needs was locked before
        it, so that no reclaim can have removed any of it."""
        try:
            self._lease.confirm()
            if manifest.parent_id is not None:
                # Deleted in between, its chunks may have been reclaimed before ours were seen.
                self._require_point(manifest.parent_id)
        except HoldfastError:
            key = point_key(manifest.id)
            with suppress(HoldfastError):  # the first error is the one to tell
                if in_place_of is None:
                    self._store.delete(key)
                else:
                    self._store.replace_damaged(key, sealed, [in_place_of])
            raise


def point_key(point_id: str) -> str:
    return f"points/{point_id}"
