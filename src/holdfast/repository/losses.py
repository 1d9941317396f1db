"""What damage does to restore points: which of them need a chunk that no sound pack holds, and
which bytes of which disk cannot be read any more.

Pages are looked at once, however many points share them. A chunk outside sound packs is tried
before it is called lost: a damaged pack can usually still give most of its chunks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.extents import Extent, merge_extents
from holdfast.core.progress import Progress, ProgressSink
from holdfast.repository.bundles import with_remedy
from holdfast.repository.disk_map import FANOUT
from holdfast.repository.errors import ChunkMissing, ObjectDamaged, ObjectMissing
from holdfast.repository.format.pack import ID_BYTES, ZERO_ID, ChunkType
from holdfast.repository.format.point import DiskRecord, Manifest
from holdfast.repository.index import ChunkIndex
from holdfast.repository.repository import Repository

DAMAGE = (ObjectDamaged, ObjectMissing, ChunkMissing)


@dataclass(frozen=True, slots=True, kw_only=True)
class LostPage:
    """A page of a disk's map that cannot be read, and so nothing below it."""

    page_id: bytes
    level: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskLoss:
    disk: DiskRecord
    chunks: Sequence[tuple[int, bytes]]
    """Place and id of each chunk that cannot be read."""
    pages: Sequence[LostPage]
    chunk_bytes: int

    @property
    def extents(self) -> list[Extent]:
        """The bytes of the disk that cannot be read, joined."""
        step = self.chunk_bytes
        spans = [(index, index + 1) for index, _ in self.chunks]
        for page in self.pages:
            reach = FANOUT**page.level
            spans.append((page.number * reach, (page.number + 1) * reach))
        lost = [
            Extent(
                offset=start * step, length=min(stop * step, self.disk.size_bytes) - start * step
            )
            for start, stop in sorted(spans)
        ]
        return list(merge_extents(iter(lost)))

    @property
    def lost_bytes(self) -> int:
        return sum(extent.length for extent in self.extents)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointLoss:
    """One point that damage has reached."""

    point_id: str
    vm_name: str
    problem: str = ""
    """Why the manifest itself cannot be read."""
    disks: Sequence[DiskLoss] = ()
    """Only those with bytes that cannot be read."""
    artifacts: Sequence[str] = ()
    """Names of artifacts that cannot be read."""
    manifest: Manifest | None = None

    @property
    def is_readable(self) -> bool:
        """True when everything can still be read, though some of it from damaged packs only."""
        return not (self.problem or self.disks or self.artifacts)

    @property
    def lost_bytes(self) -> int:
        return sum(disk.lost_bytes for disk in self.disks)


def find_losses(
    repository: Repository,
    damaged: Collection[bytes],
    *,
    cancel: CancelToken,
    progress: ProgressSink,
) -> list[PointLoss]:
    """Every point that needs a chunk which no sound pack holds; `damaged` names the packs that
    are not. Raises StoreUnavailable, Cancelled."""
    ids = repository.point_ids()
    index, stored = repository.complete_index()
    unsound = {pack for pack in index.packs if pack not in stored} | set(damaged)
    search = Doubts(repository, unsound)
    found: list[PointLoss] = []
    unreadable: dict[str, str] = {}
    manifests = repository.manifests.read_each(ids)
    for number, (point_id, manifest) in enumerate(zip(ids, manifests, strict=True)):
        cancel.check()
        progress.update(
            Progress(phase="looking for affected points", done_bytes=number, total_bytes=len(ids))
        )
        match manifest:
            case ObjectMissing():
                continue  # deleted since it was listed: legal
            case ObjectDamaged():
                unreadable[point_id] = manifest.problem
            case _:
                loss = _point_loss(search, manifest)
                if loss is not None:
                    found.append(loss)
    for point_id, problem in with_remedy(repository.manifests.bundles, unreadable).items():
        found.append(PointLoss(point_id=point_id, vm_name="", problem=problem))
    return sorted(found, key=lambda loss: loss.point_id)


def _point_loss(search: Doubts, manifest: Manifest) -> PointLoss | None:
    doubted = any(search.is_in_doubt(disk) for disk in manifest.disks)
    artifacts = [item for item in manifest.artifacts if search.unsound(item.chunks)]
    if not doubted and not artifacts:
        return None
    losses = [search.loss(disk) for disk in manifest.disks if search.is_in_doubt(disk)]
    lost_artifacts = [
        item.name
        for item in artifacts
        if not all(search.is_readable(chunk, ChunkType.ARTIFACT) for chunk in item.chunks)
    ]
    return PointLoss(
        point_id=manifest.id,
        vm_name=manifest.vm.name,
        disks=[loss for loss in losses if loss.chunks or loss.pages],
        artifacts=lost_artifacts,
        manifest=manifest,
    )


class Doubts:
    """Which disks need a chunk that only the `unsound` packs hold. Not thread-safe.

    Memory: one small entry a map page, and one a chunk in doubt.
    """

    def __init__(self, repository: Repository, unsound: Iterable[bytes]) -> None:
        self._repository = repository
        self._unsound = frozenset(unsound)
        self._view = repository.load_index().view()
        sound = [pack_hash not in self._unsound for pack_hash, _ in self._view.packs]
        self._sound = np.array(sound, dtype=np.bool_)
        self._pages: dict[bytes, bool] = {}
        self._readable: dict[bytes, bool] = {}

    def is_in_doubt(self, disk: DiskRecord) -> bool:
        return disk.root != ZERO_ID and self._page_in_doubt(disk.root, disk.height)

    def map_in_doubt(self, disk: DiskRecord) -> bool:
        """True when a page of the disk's map is not in a sound pack, whether readable or not."""
        return disk.root != ZERO_ID and self._map_page_in_doubt(disk.root, disk.height)

    def unsound(self, chunk_ids: Sequence[bytes]) -> list[bytes]:
        """Those of the chunks that no sound pack holds."""
        ids = _as_rows(b"".join(chunk_ids))
        return [ids[at].tobytes() for at in self._missing(ids).tolist()]

    def pack_of(self, disk: DiskRecord) -> bytes | None:
        """An unsound pack that the disk needs; None when there is none."""
        for chunk_id in self._doubted(disk.root, disk.height):
            for location in self._index.find_all(chunk_id):
                return location.pack_hash
        return None

    def is_readable(self, chunk_id: bytes, kind: ChunkType) -> bool:
        """Whether some pack still gives the chunk, read and verified now."""
        known = self._readable.get(chunk_id)
        if known is None:
            known = self._readable[chunk_id] = self._try(chunk_id, kind)
        return known

    def _try(self, chunk_id: bytes, kind: ChunkType) -> bool:
        try:
            self._repository.chunks.read_known(chunk_id, kind)
        except DAMAGE:
            return False
        return True

    def loss(self, disk: DiskRecord) -> DiskLoss:
        """What of the disk cannot be read."""
        chunks: list[tuple[int, bytes]] = []
        pages: list[LostPage] = []
        self._collect(disk.root, disk.height, 0, chunks, pages)
        return DiskLoss(
            disk=disk, chunks=chunks, pages=pages, chunk_bytes=self._repository.chunk_bytes
        )

    @property
    def _index(self) -> ChunkIndex:
        return self._repository.load_index()

    def _page_in_doubt(self, page_id: bytes, level: int) -> bool:
        known = self._pages.get(page_id)
        if known is None:
            known = bool(self.unsound([page_id])) or self._below_in_doubt(page_id, level)
            self._pages[page_id] = known
        return known

    def _below_in_doubt(self, page_id: bytes, level: int) -> bool:
        try:
            content = self._repository.chunks.read(page_id, ChunkType.MAP)
        except DAMAGE:
            return True
        if level == 1:
            return bool(len(self._missing(_as_rows(content))))
        # Not `any`: each child's answer is kept for the points that share it.
        return True in [self._page_in_doubt(child, level - 1) for _, child in _children(content)]

    def _map_page_in_doubt(self, page_id: bytes, level: int) -> bool:
        if not self._page_in_doubt(page_id, level):
            return False
        if self.unsound([page_id]):
            return True
        if level == 1:
            return False
        content = self._repository.chunks.read(page_id, ChunkType.MAP)
        return any(self._map_page_in_doubt(child, level - 1) for _, child in _children(content))

    def _doubted(self, page_id: bytes, level: int) -> Iterator[bytes]:
        """Ids of pages and chunks in doubt under a page, itself included."""
        if page_id == ZERO_ID or not self._page_in_doubt(page_id, level):
            return
        if self.unsound([page_id]):
            yield page_id
            return
        content = self._repository.chunks.read(page_id, ChunkType.MAP)
        if level == 1:
            yield from self.unsound([chunk for _, chunk in _children(content)])
            return
        for _, child in _children(content):
            yield from self._doubted(child, level - 1)

    def _collect(
        self,
        page_id: bytes,
        level: int,
        number: int,
        chunks: list[tuple[int, bytes]],
        pages: list[LostPage],
    ) -> None:
        if not self._page_in_doubt(page_id, level):
            return
        try:
            content = self._repository.chunks.read(page_id, ChunkType.MAP)
        except DAMAGE:
            pages.append(LostPage(page_id=page_id, level=level, number=number))
            return
        for slot, child in _children(content):
            place = number * FANOUT + slot
            if level > 1:
                self._collect(child, level - 1, place, chunks, pages)
            elif self.unsound([child]) and not self.is_readable(child, ChunkType.DATA):
                chunks.append((place, child))

    def _missing(self, ids: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Rows of `ids`, zeroes aside, that are in no sound pack."""
        used = np.flatnonzero(ids.any(axis=1))
        found = self._view.positions(ids[used], self._sound)
        return used[found < 0]


def damage_to_heal(repository: Repository, disk: DiskRecord) -> tuple[str, bool]:
    """For a backup on top of `disk`: the name of a damaged pack it needs (empty when there is
    none), and whether its map is among what is in doubt. Reads the records of verify only."""
    damaged = repository.proofs.damaged()
    if not damaged:
        return "", False
    doubts = Doubts(repository, damaged)
    try:
        pack = doubts.pack_of(disk)
        return (pack.hex(), doubts.map_in_doubt(disk)) if pack else ("", False)
    except DAMAGE as error:
        # A page could not be read although no record says so.
        return _named(error), True


def _named(error: HoldfastError) -> str:
    return error.key if isinstance(error, ObjectDamaged | ObjectMissing) else error.message


def _as_rows(ids: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(ids, dtype=np.uint8).reshape(-1, ID_BYTES)


def _children(content: bytes) -> Iterator[tuple[int, bytes]]:
    """`(slot, id)` of every entry of a page that is not zeroes."""
    for slot in range(len(content) // ID_BYTES):
        child = content[slot * ID_BYTES : (slot + 1) * ID_BYTES]
        if child != ZERO_ID:
            yield slot, child
