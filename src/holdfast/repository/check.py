"""Is the repository whole? Every object opens, every pack is there with the size and the table the
index says, and every chunk of every point is in a pack that is. Reading every byte of the packs
again is optional. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from blake3 import blake3

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.progress import Progress, ProgressSink
from holdfast.core.units import MIB
from holdfast.repository.bundles import bundle_problems, with_remedy
from holdfast.repository.errors import ChunkMissing, ObjectDamaged, ObjectMissing
from holdfast.repository.format.index import PackTable, decode_index
from holdfast.repository.format.pack import ID_BYTES, ChunkType, pack_name
from holdfast.repository.format.point import DiskRecord, Manifest
from holdfast.repository.index import ChunkIndex, IndexView
from holdfast.repository.map_walk import MapWalk
from holdfast.repository.reading import each
from holdfast.repository.repository import Repository
from holdfast.repository.store.store import ObjectInfo

_READ_BYTES = 8 * MIB
_TABLE_READERS = 48
_INDEX_READERS = 4
_DATA_READERS = 6
"""Packs looked at once on a distant storage; each may take `_READ_BYTES` when it is read."""
_DAMAGE = (ObjectDamaged, ObjectMissing, ChunkMissing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing found wrong."""

    object: str
    problem: str
    points: Sequence[str] = ()
    """Restore points that cannot be read in full because of it."""


@dataclass(slots=True, kw_only=True)
class CheckReport:
    points: int = 0
    packs: int = 0
    pack_bytes: int = 0
    chunks: int = 0
    unindexed_packs: int = 0
    """Packs that no index names: leftovers of interrupted runs, harmless."""
    problems: list[Problem] = field(default_factory=list[Problem])

    @property
    def is_sound(self) -> bool:
        return not self.problems


def check_repository(
    repository: Repository,
    *,
    cancel: CancelToken,
    progress: ProgressSink,
    read_data: bool = False,
) -> CheckReport:
    """Look at everything and report; damage is reported, never raised. `read_data` also hashes
    every byte of every pack. Raises StoreUnavailable, Cancelled."""
    return _Check(repository, cancel, progress, read_data=read_data).run()


class _Check:
    def __init__(
        self,
        repository: Repository,
        cancel: CancelToken,
        progress: ProgressSink,
        *,
        read_data: bool,
    ) -> None:
        self._repository = repository
        self._store = repository.store
        self._cancel = cancel
        self._progress = progress
        self._read_data = read_data
        self._is_over = False
        self._index = ChunkIndex()
        self._report = CheckReport()
        self._problems: dict[str, tuple[str, set[str]]] = {}
        self._bad_packs: set[bytes] = set()

    def run(self) -> CheckReport:
        with ThreadPoolExecutor(2, thread_name_prefix="check") as pool:
            # What does not need one another's answers is waited for together. The index objects
            # are read after the points are listed, and the packs listed after those are read.
            keys = pool.submit(self._repository.data_keys.damage)
            ids = self._repository.point_ids()
            points = pool.submit(self._open_points, ids)
            indexed = self._open_indexes()
            for bad in keys.result():
                self._add(bad.key, bad.problem)
            manifests = points.result()
            for key, problem in bundle_problems(self._repository.manifests.bundles, manifests):
                self._add(key, problem)
            maps = pool.submit(self._is_all_there, manifests, self._index.view())
            try:
                self._check_packs(indexed)
            except BaseException:
                self._is_over = True
                raise
            is_all_there = maps.result()
        recorded = self._recorded_damage()
        if self._bad_packs or not is_all_there:
            index = self._repository.load_index()  # compact may have replaced some of it meanwhile
            index.doubt(self._bad_packs)  # a chunk that a sound pack holds, too, affects no point
            for manifest in manifests:
                self._cancel.check()
                self._progress.update(Progress(phase=f"point {manifest.id}"))
                self._check_point(manifest)
        for name in recorded:
            if not self._problems[name][1]:
                del self._problems[name]
        self._report.problems = [
            Problem(object=name, problem=problem, points=tuple(sorted(points)))
            for name, (problem, points) in sorted(self._problems.items())
        ]
        return self._report

    def _recorded_damage(self) -> list[str]:
        """Keys of packs with damage that only verify sees. They are problems of the points that
        need them; what was healed since waits for compact and is none."""
        recorded = self._repository.proofs.damaged() & self._index.packs.keys() - self._bad_packs
        self._bad_packs |= recorded
        for pack_hash in recorded:
            self._add(pack_name(pack_hash), "verify found it damaged")
        return [pack_name(pack_hash) for pack_hash in recorded]

    def _open_points(self, ids: Sequence[str]) -> list[Manifest]:
        manifests: list[Manifest] = []
        damaged: dict[str, str] = {}
        self._report.points = len(ids)
        found = self._repository.manifests.read_each(ids)
        for point_id, manifest in zip(ids, found, strict=True):
            self._cancel.check()
            if isinstance(manifest, Manifest):
                manifests.append(manifest)
            else:
                damaged[point_id] = _said(manifest)
        bundles = self._repository.manifests.bundles
        for point_id, problem in with_remedy(bundles, damaged).items():
            self._add(f"points/{point_id}", problem, point_id)
        return manifests

    def _open_indexes(self) -> dict[bytes, PackTable]:
        found: dict[str, Sequence[PackTable]] = {}
        keys = [info.key for info in self._store.list("index/")]
        is_slow = self._repository.is_distant and len(keys) > 1
        read = each(self._read_index, keys, workers=_INDEX_READERS, is_slow=is_slow)
        for key, tables in zip(keys, read, strict=True):
            if isinstance(tables, HoldfastError):
                self._add(key, _said(tables))
            else:
                found[key] = tables
        self._index = self._repository.index_objects.take(found)
        self._report.chunks = len(self._index)
        return {table.pack_hash: table for tables in found.values() for table in tables}

    def _read_index(self, key: str) -> Sequence[PackTable] | HoldfastError:
        try:
            return decode_index(self._repository.index_objects.read(key), key=key)
        except _DAMAGE as error:
            return error

    def _check_packs(self, indexed: dict[bytes, PackTable]) -> None:
        seen: set[bytes] = set()

        def look(pack: tuple[bytes, ObjectInfo]) -> tuple[bytes, ObjectInfo, HoldfastError | None]:
            pack_hash, info = pack
            try:
                self._check_pack(pack_hash, info.size_bytes, indexed.get(pack_hash))
            except _DAMAGE as error:
                return pack_hash, info, error
            return pack_hash, info, None

        workers = _DATA_READERS if self._read_data else _TABLE_READERS
        packs = self._repository.pack_tables.packs()
        is_slow = self._repository.is_distant
        for pack_hash, info, error in each(look, packs, workers=workers, is_slow=is_slow):
            self._cancel.check()
            seen.add(pack_hash)
            self._report.packs += 1
            self._report.pack_bytes += info.size_bytes
            self._report.unindexed_packs += pack_hash not in indexed
            self._progress.update(
                Progress(phase="packs", done_bytes=len(seen), total_bytes=len(indexed))
            )
            if error is not None:
                self._add(info.key, _said(error))
                self._bad_packs.add(pack_hash)
        for pack_hash in indexed.keys() - seen:
            self._bad_packs.add(pack_hash)
            self._add(pack_name(pack_hash), "it is missing")

    def _check_pack(self, pack_hash: bytes, size_bytes: int, indexed: PackTable | None) -> None:
        key = pack_name(pack_hash)
        table = self._repository.pack_tables.read(pack_hash, size_bytes)
        if indexed is not None and not np.array_equal(table.entries, indexed.entries):
            raise ObjectDamaged(key=key, problem="its table is not the one the index has")
        if self._read_data and self._hash_pack(key, size_bytes) != pack_hash:
            raise ObjectDamaged(key=key, problem="its bytes do not hash to its name")

    def _hash_pack(self, key: str, size_bytes: int) -> bytes:
        hasher = blake3()
        for start in range(0, size_bytes, _READ_BYTES):
            self._cancel.check()
            hasher.update(self._store.get_range(key, start, min(_READ_BYTES, size_bytes - start)))
        return hasher.digest()

    def _is_all_there(self, manifests: Sequence[Manifest], view: IndexView) -> bool:
        """Every page of every map can be read, and every chunk has its place in some pack. All
        points at once, each page once: it does not say which point lacks what."""
        try:
            for manifest in manifests:
                chunks = b"".join(chunk for item in manifest.artifacts for chunk in item.chunks)
                if not _are_known(chunks, ChunkType.ARTIFACT, view):
                    return False
            disks = (disk for manifest in manifests for disk in manifest.disks)
            for window in MapWalk(self._repository).windows(disks):
                self._cancel.check()
                if self._is_over:
                    return False
                self._progress.update(
                    Progress(phase="maps", done_bytes=window.done, total_bytes=window.total)
                )
                chunks = b"".join(window.contents) if window.level == 1 else b""
                if not _are_known(chunks, ChunkType.DATA, view):
                    return False
        except _DAMAGE:
            return False
        return True

    def _check_point(self, manifest: Manifest) -> None:
        for disk in manifest.disks:
            self._noting(
                f"points/{manifest.id}",
                lambda item=disk: self._check_chunks(manifest, self._map_chunks(item)),
                manifest.id,
            )
        for artifact in manifest.artifacts:
            chunks = ((chunk, ChunkType.ARTIFACT) for chunk in artifact.chunks)
            self._noting(
                f"points/{manifest.id}",
                lambda items=chunks: self._check_chunks(manifest, items),
                manifest.id,
            )

    def _map_chunks(self, disk: DiskRecord) -> Iterator[tuple[bytes, ChunkType]]:
        stored_map = self._repository.disk_map(disk)
        for page_id in stored_map.page_ids():
            yield page_id, ChunkType.MAP
        for _, chunk_id in stored_map.data_chunks():
            yield chunk_id, ChunkType.DATA

    def _check_chunks(self, manifest: Manifest, chunks: Iterator[tuple[bytes, ChunkType]]) -> None:
        for chunk_id, kind in chunks:
            location = self._repository.chunks.locate(chunk_id, kind)
            if location.pack_hash in self._bad_packs:
                name = pack_name(location.pack_hash)
                self._problems[name][1].add(manifest.id)

    def _noting(self, name: str, look: Callable[[], None], *points: str) -> bool:
        """Run one look; its damage becomes a problem of `name`. True when there was none."""
        try:
            look()
        except _DAMAGE as error:
            self._add(name, _said(error), *points)
            return False
        return True

    def _add(self, name: str, problem: str, *points: str) -> None:
        known, affected = self._problems.setdefault(name, (problem, set()))
        affected.update(points)
        if problem not in known:
            self._problems[name] = (f"{known}; {problem}", affected)


def _are_known(chunks: bytes, kind: ChunkType, view: IndexView) -> bool:
    """True when each of these ids, zeroes aside, is a chunk of that type in the index."""
    ids = np.frombuffer(chunks, dtype=np.uint8).reshape(-1, ID_BYTES)
    found = view.positions(ids[ids.any(axis=1)], np.ones(len(view.packs), dtype=np.bool_))
    return bool((found >= 0).all()) and bool((view.types(found) == kind).all())


def _said(error: HoldfastError) -> str:
    return error.problem if isinstance(error, ObjectDamaged) else error.message
