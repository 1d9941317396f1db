"""Which stored chunks some restore point needs. Fails closed: anything that cannot be read or found
ends it with an error, never with "not needed"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import Progress, ProgressSink
from holdfast.repository.errors import ChunkMissing, ObjectMissing, StoreUnavailable
from holdfast.repository.format.pack import ID_BYTES, ZERO_ID, ChunkType
from holdfast.repository.format.point import DiskRecord, Manifest
from holdfast.repository.index import IndexView
from holdfast.repository.reading import each
from holdfast.repository.repository import Repository

_BATCH = 1_000_000
"""Ids looked up at once: 32 MiB of them, and about as much again three times meanwhile."""


@dataclass(frozen=True, slots=True)
class Marked:
    """The result: `used` by row of `view`."""

    view: IndexView
    used: NDArray[np.bool_]
    exists: NDArray[np.bool_]
    """By pack number: False for a pack that the index still has and the store does not."""

    def used_bytes(self) -> NDArray[np.int64]:
        """Stored bytes in use, by pack number."""
        stored = self.view.rows["stored"] & np.uint32((1 << 29) - 1)
        packs: NDArray[Any] = self.view.rows["pack"]
        weights = np.where(self.used, stored, 0).astype(np.float64)
        return np.bincount(packs, weights, minlength=len(self.view.packs)).astype(np.int64)

    def chunks_of(self, pack: int) -> Iterator[tuple[bytes, ChunkType]]:
        """Id and type of each chunk in use in one pack."""
        rows = self.view.rows
        for position in np.flatnonzero(self.used & (rows["pack"] == pack)).tolist():
            prefix = int(self.view.prefixes[position]).to_bytes(8, "big")
            chunk = prefix + rows["rest"][position].tobytes()
            yield chunk, ChunkType(int(rows["stored"][position]) >> 30)


def mark(
    repository: Repository,
    *,
    avoid: Iterable[bytes],
    cancel: CancelToken,
    progress: ProgressSink,
) -> Marked:
    """Go through every point. A chunk that lies in several packs is marked in one of them, if it
    can be one outside `avoid` (packs that are to go).

    Raises ChunkMissing, ObjectDamaged, ObjectMissing, StoreUnavailable: then nothing is known.
    """
    began = repository.store.now()
    manifests = _stable_points(repository)
    marked = _Marking(repository, frozenset(avoid), cancel, progress).run(manifests)
    _require_all_points(repository, {manifest.id for manifest in manifests}, began)
    return marked


def bytes_of_only(
    repository: Repository,
    points: Collection[str],
    *,
    cancel: CancelToken,
    progress: ProgressSink,
) -> int:
    """Stored bytes of the chunks that these points need and no other.

    When it returns, no point lacks a chunk. Raises what `mark` raises.
    """
    manifests = _stable_points(repository)
    marking = _Marking(repository, frozenset(), cancel, progress)
    others = marking.run([manifest for manifest in manifests if manifest.id not in points])
    others_bytes = int(others.used_bytes().sum())
    everything = marking.run([manifest for manifest in manifests if manifest.id in points])
    return int(everything.used_bytes().sum()) - others_bytes


def _stable_points(repository: Repository) -> list[Manifest]:
    """All manifests, listed again until two listings agree, so that one that appears while they
    are read is not missed. Begun anew when a point was deleted meanwhile."""
    before: list[str] | None = None
    while True:
        names = repository.point_ids()
        if names == before:
            try:
                return _read_all(repository, names)
            except ObjectMissing:
                if names == repository.point_ids():
                    raise
                names = None
        before = names


def _read_all(repository: Repository, names: Sequence[str]) -> list[Manifest]:
    """From the storage itself, not from a cache. Raises ObjectDamaged, ObjectMissing."""
    manifests: list[Manifest] = []
    for found in repository.manifests.read_each(names):
        if not isinstance(found, Manifest):
            raise found
        manifests.append(found)
    return manifests


def _require_all_points(repository: Repository, known: Collection[str], began: datetime) -> None:
    """A storage that was away for the listings before, and is back, must not make points look
    deleted; one that is still away has no sentinel. Newer points are no matter: their writers'
    leases kept what they rely on. Raises StoreUnavailable, RepositoryIncomplete."""
    repository.require_sentinel()
    for info in repository.store.list("points/"):
        if info.modified < began and info.key.removeprefix("points/") not in known:
            problem = f"a listing left out {info.key}, which is there"
            raise StoreUnavailable(location=repository.location, problem=problem)


class _Marking:
    def __init__(
        self,
        repository: Repository,
        avoid: frozenset[bytes],
        cancel: CancelToken,
        progress: ProgressSink,
    ) -> None:
        self._repository = repository
        self._cancel = cancel
        self._progress = progress
        index, stored = repository.complete_index()
        self._view = index.view()
        self._used = np.zeros(len(self._view.rows), dtype=np.bool_)
        hashes = [pack_hash for pack_hash, _ in self._view.packs]
        self._exists = np.array([name in stored for name in hashes], dtype=np.bool_)
        damaged = repository.proofs.damaged()
        sound = [name in stored and name not in damaged for name in hashes]
        wanted = [ok and name not in avoid for ok, name in zip(sound, hashes, strict=True)]
        # A sound pack that is to go before a damaged one: it may hold the only good copy.
        tiers = (wanted, sound)
        self._tiers = (*(np.array(tier, dtype=np.bool_) for tier in tiers), self._exists)
        self._pages: set[bytes] = set()
        self._pending: list[bytes] = []
        self._pending_count = 0

    def run(self, manifests: list[Manifest]) -> Marked:
        for manifest in manifests:
            for artifact in manifest.artifacts:
                self._add(b"".join(artifact.chunks))
        self._mark_pages(disk for manifest in manifests for disk in manifest.disks)
        self._flush()
        return Marked(self._view, self._used, self._exists)

    def _mark_pages(self, disks: Iterable[DiskRecord]) -> None:
        """Level by level, for the pages of a level can be read at once. A page that several maps
        share is read once."""
        levels: dict[int, list[bytes]] = {}
        for disk in disks:
            if disk.height:
                levels.setdefault(disk.height, []).extend(self._new_pages([disk.root]))
        below: list[bytes] = []
        for level in range(max(levels, default=0), 0, -1):
            pages = [*below, *levels.get(level, ())]
            below = []
            for number, content in enumerate(each(self._read_page, pages)):
                self._cancel.check()
                self._progress.update(
                    Progress(phase="marking", done_bytes=number, total_bytes=len(pages))
                )
                if level == 1:
                    self._add(content)
                else:
                    below += self._new_pages(_split(content))
            self._add(b"".join(pages))

    def _new_pages(self, ids: Iterable[bytes]) -> list[bytes]:
        """Those that were not seen before."""
        new = [page for page in ids if page != ZERO_ID and page not in self._pages]
        self._pages.update(new)
        return list(dict.fromkeys(new))

    def _read_page(self, page_id: bytes) -> bytes:
        return self._repository.chunks.read(page_id, ChunkType.MAP)

    def _add(self, ids: bytes) -> None:
        self._pending.append(ids)
        self._pending_count += len(ids) // ID_BYTES
        if self._pending_count >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        ids = np.frombuffer(b"".join(self._pending), dtype=np.uint8).reshape(-1, ID_BYTES)
        self._pending, self._pending_count = [], 0
        words = ids.view(np.uint64)
        ids = ids[(words[:, 0] | words[:, 1] | words[:, 2] | words[:, 3]) != 0]
        for usable in self._tiers:
            found = self._view.positions(ids, usable)
            lost = found < 0
            self._used[found[~lost]] = True
            ids = ids[lost]
            if not len(ids):
                return
        raise ChunkMissing(chunk=ids[0].tobytes().hex())


def _split(ids: bytes) -> Iterator[bytes]:
    return (ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES))
