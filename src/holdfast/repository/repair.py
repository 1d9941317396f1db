"""Save what damage has left: chunks that can still be read move out of damaged packs into new ones,
and what is lost here is fetched from a copy of the same points in another repository.

A copy of a data key that is damaged or missing is put again from the other one, and a damaged
manifest from a bundle or the other repository (`mending`).

Nothing is dropped: damaged packs stay where they are and stay recorded as damaged, and compact
takes them once no point needs them. Ids differ between repositories, because they are keyed: the
way across goes by point, disk and place, and what comes back counts only when its id here is the
one that is missing. What stays lost is in the report, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from holdfast.core.cancellation import CancelToken
from holdfast.core.failpoints import failpoint
from holdfast.core.progress import Progress, ProgressSink
from holdfast.core.units import ceil_div
from holdfast.repository.disk_map import FANOUT
from holdfast.repository.format.pack import ZERO_ID, ChunkType, pack_name
from holdfast.repository.format.point import ArtifactRecord, DiskRecord, Manifest
from holdfast.repository.index import ChunkLocation, location_at
from holdfast.repository.losses import DAMAGE, DiskLoss, PointLoss, find_losses
from holdfast.repository.maintenance import Maintenance
from holdfast.repository.mending import Mended, mend_manifests
from holdfast.repository.packs import PackWriter
from holdfast.repository.repository import Repository
from holdfast.repository.spans import SpanReader


@dataclass(slots=True, kw_only=True)
class RepairReport:
    damaged_packs: Sequence[str] = ()
    """Packs known to be damaged or missing; those present stay, for compact to take later."""
    saved_chunks: int = 0
    """Moved out of damaged packs."""
    fetched_chunks: int = 0
    """Taken from the other repository."""
    stored_bytes: int = 0
    mended: Sequence[Mended] = ()
    """Objects put back: manifests of points, and what the caller mended before."""
    left: Mapping[str, str] = field(default_factory=dict[str, str])
    """Manifests that stay damaged, by key, and why."""
    losses: list[PointLoss] = field(default_factory=list[PointLoss])
    """What is lost all the same."""

    @property
    def is_whole(self) -> bool:
        return not self.losses


def repair_repository(
    repository: Repository,
    source: Repository | None,
    *,
    cancel: CancelToken,
    progress: ProgressSink,
) -> RepairReport:
    """Works on what verify has recorded, and on packs and chunks that are missing. May run beside
    backups. A run that is broken off has changed nothing but added packs; run it again.

    Raises LeaseHeld (another maintenance runs), OutOfSpace, StoreUnavailable, Cancelled.
    """
    with repository.begin_maintenance() as maintenance:
        repository.data_keys.renew_copies()
        # First: what a point needs is found by its manifest.
        mended = mend_manifests(
            repository, source, confirm=maintenance.confirm, cancel=cancel, progress=progress
        )
        report = _Repair(repository, source, maintenance, cancel, progress).run()
    report.mended = [*mended.mended]
    report.left = mended.left
    return report


class _Repair:
    def __init__(
        self,
        repository: Repository,
        source: Repository | None,
        maintenance: Maintenance,
        cancel: CancelToken,
        progress: ProgressSink,
    ) -> None:
        self._repository = repository
        self._source = source
        self._cancel = cancel
        self._progress = progress
        self._maintenance = maintenance
        self._index, stored = repository.complete_index()
        self._unsound = self._unsound_packs(stored)
        going = {pack for stone in repository.tombstones.all() for pack in stone.packs}
        self._writer: PackWriter = maintenance.writer(self._unsound | going)
        self._report = RepairReport(damaged_packs=sorted(map(pack_name, self._unsound)))

    def run(self) -> RepairReport:
        for location in self._saveable():
            self._save(location)
        for loss in self._losses():
            self._fetch_point(loss)
        self._writer.flush()
        failpoint("repair.before_index")
        # A crash before this line leaves packs that readers find by their own tables.
        self._maintenance.put_index()
        failpoint("repair.after_index")
        self._report.stored_bytes = self._writer.stored_bytes
        self._report.losses = self._losses()
        return self._report

    def _unsound_packs(self, stored: Mapping[bytes, int]) -> frozenset[bytes]:
        """Of the packs that the index or the store has."""
        known = self._index.packs.keys()
        damaged = self._repository.proofs.damaged() & (known | stored.keys())
        return frozenset(damaged) | (known - stored.keys())

    def _losses(self) -> list[PointLoss]:
        return find_losses(
            self._repository, self._unsound, cancel=self._cancel, progress=self._progress
        )

    # -- saving what is here --------------------------------------------------------------------

    def _saveable(self) -> Iterator[ChunkLocation]:
        """Every chunk of the damaged packs that no other pack holds."""
        view = self._index.view()
        for number, (pack_hash, _) in enumerate(view.packs):
            if pack_hash not in self._unsound:
                continue
            self._progress.update(Progress(phase=f"saving {pack_name(pack_hash)}"))
            for row in np.flatnonzero(view.rows["pack"] == number).tolist():
                location = location_at(view, row)
                if self._index.find_kept(location.meta.chunk_id) is None:
                    yield location

    def _save(self, location: ChunkLocation) -> None:
        self._cancel.check()
        with suppress(*DAMAGE):  # what cannot be saved is in the losses at the end
            plain = self._repository.chunks.fetch(location)
            self._report.saved_chunks += self._store(location.meta.type, plain)

    def _store(self, kind: ChunkType, plain: bytes) -> int:
        """1 when it was not kept yet."""
        return 1 if self._writer.store(kind, plain)[1] else 0

    # -- fetching from a copy -------------------------------------------------------------------

    def _fetch_point(self, loss: PointLoss) -> None:
        if self._source is None or loss.manifest is None:
            return
        with suppress(*DAMAGE):  # not there, or damaged there too: stays in the losses
            theirs = self._source.manifest(loss.point_id)
            self._source.load_index()
            for disk in loss.disks:
                self._fetch_disk(self._source, disk, theirs)
            for name in loss.artifacts:
                ours = next(item for item in loss.manifest.artifacts if item.name == name)
                self._fetch_artifact(self._source, ours, theirs)

    def _fetch_disk(self, source: Repository, loss: DiskLoss, theirs: Manifest) -> None:
        size = loss.disk.size_bytes
        record = next((disk for disk in theirs.disks if disk.key == loss.disk.key), None)
        if record is None or record.size_bytes != size:
            return
        reader = SpanReader(source, record)
        for index, chunk_id in loss.chunks:
            self._cancel.check()
            self._progress.update(Progress(phase=f"fetching {loss.disk.key}"))
            with suppress(*DAMAGE):
                plain = self._read(reader, loss.disk, index)
                if self._repository.chunks.id_of(ChunkType.DATA, plain) == chunk_id:
                    self._report.fetched_chunks += self._store(ChunkType.DATA, plain)
        for page in loss.pages:
            with suppress(*DAMAGE):
                self._fetch_page(reader, loss.disk, page.level, page.number, page.page_id)

    def _fetch_page(
        self, reader: SpanReader, disk: DiskRecord, level: int, number: int, wanted: bytes | None
    ) -> bytes:
        """Build a page from the content below it; its id. Stored, as are the chunks below that
        nothing holds, unless it turns out another page than the `wanted` one."""
        below = ceil_div(disk.size_bytes, self._repository.chunk_bytes * FANOUT ** (level - 1))
        places = range(number * FANOUT, min((number + 1) * FANOUT, below))
        if level == 1:
            content = b"".join(self._fetch_chunk(reader, disk, place) for place in places)
        else:
            content = b"".join(
                self._fetch_page(reader, disk, level - 1, place, None) for place in places
            )
        if content.count(0) == len(content):
            return ZERO_ID
        page_id = self._repository.chunks.id_of(ChunkType.MAP, content)
        if wanted is None or page_id == wanted:
            self._report.fetched_chunks += self._store(ChunkType.MAP, content)
        return page_id

    def _fetch_chunk(self, reader: SpanReader, disk: DiskRecord, index: int) -> bytes:
        self._cancel.check()
        plain = self._read(reader, disk, index)
        if plain.count(0) == len(plain):
            return ZERO_ID
        self._report.fetched_chunks += self._store(ChunkType.DATA, plain)
        return self._repository.chunks.id_of(ChunkType.DATA, plain)

    def _read(self, reader: SpanReader, disk: DiskRecord, index: int) -> bytes:
        step = self._repository.chunk_bytes
        return reader.read(index * step, min(step, disk.size_bytes - index * step))

    def _fetch_artifact(self, source: Repository, ours: ArtifactRecord, theirs: Manifest) -> None:
        record = next((item for item in theirs.artifacts if item.name == ours.name), None)
        if record is None or record.size_bytes != ours.size_bytes:
            return
        data = source.read_artifact(record)
        step = self._repository.chunk_bytes
        for number, chunk_id in enumerate(ours.chunks):
            plain = data[number * step : (number + 1) * step]
            if self._repository.chunks.id_of(ChunkType.ARTIFACT, plain) == chunk_id:
                self._report.fetched_chunks += self._store(ChunkType.ARTIFACT, plain)
