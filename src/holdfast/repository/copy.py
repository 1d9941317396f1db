"""Copy restore points to another repository, with other keys and perhaps another chunk size.

Incremental: only points that are not there yet, and of those only what differs from the point of
the same VM that was copied before. Ids differ between the repositories, so both maps of that
earlier point are walked beside the new one: where the source's ids are equal, so are the target's.
A copied point keeps its id, times and VM; it is committed in the same order as a backup, under the
VM's lease, after its map was walked once more beside the source's.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import InvalidInput
from holdfast.core.failpoints import failpoint
from holdfast.core.progress import Progress, ProgressSink
from holdfast.core.units import MIB, ceil_div
from holdfast.repository.copy_check import check_copy
from holdfast.repository.disk_map import FANOUT, DiskMap, DiskMapWriter
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ID_BYTES, ZERO_ID
from holdfast.repository.format.point import DiskRecord, Manifest
from holdfast.repository.leases import Lease
from holdfast.repository.losses import DAMAGE, damage_to_heal
from holdfast.repository.repository import Repository
from holdfast.repository.restore_point import RestorePoint
from holdfast.repository.session import BackupSession
from holdfast.repository.spans import SpanReader

_BATCH_BYTES = 8 * MIB
_REMEMBERED = 1_000_000
"""Chunks of this run whose id over there is remembered, for VMs that share data: 200 MB at most."""

_Changed = Iterator[tuple[int, bytes]]


@dataclass(slots=True, kw_only=True)
class CopyReport:
    copied: list[str] = field(default_factory=list[str])
    present: list[str] = field(default_factory=list[str])
    """Points that were there already."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Points that cannot be read in full here, and why; nothing of them is visible there."""
    read_bytes: int = 0
    stored_bytes: int = 0


def copy_points(
    source: Repository,
    target: Repository,
    points: Sequence[RestorePoint],
    *,
    cancel: CancelToken,
    progress: ProgressSink,
    workers: int = 3,
    in_place_of: Mapping[str, bytes] | None = None,
) -> CopyReport:
    """Copy those of the points that `target` does not have, oldest first. Broken off at any
    moment, it leaves complete points only; run it again to go on. `in_place_of`, by the ids of
    points: damaged manifests in `target`, which are set aside for the copied ones.

    Damage of a point here is reported, and the others are copied. Raises LeaseHeld, OutOfSpace,
    StoreUnavailable, CopyMismatch, Cancelled.
    """
    if source.id == target.id:
        raise InvalidInput(what=target.location, problem="is the same repository")
    # Held throughout, and taken before the index is read: no pack that this process takes for
    # stored can be deleted before the end.
    resource = f"copy-{source.id}"
    what = f"the copy of {source.location} to {target.location}"
    with Lease(target.store, target.sealer, target.clock, resource, what).acquire():
        copy = _Copy(source, target, cancel, progress, workers, in_place_of or {})
        return copy.run(points)


class _Copy:
    def __init__(
        self,
        source: Repository,
        target: Repository,
        cancel: CancelToken,
        progress: ProgressSink,
        workers: int,
        in_place_of: Mapping[str, bytes],
    ) -> None:
        self._source = source
        self._target = target
        self._cancel = cancel
        self._progress = progress
        self._workers = workers
        self._report = CopyReport()
        self._ids: dict[bytes, bytes] = {}
        self._there = {point.id: point.manifest for point in target.points()}
        self._here = set(source.point_ids())
        self._in_place_of = in_place_of
        self._taken = set(target.point_ids()) - in_place_of.keys()

    def run(self, points: Sequence[RestorePoint]) -> CopyReport:
        self._source.load_index()
        for point in sorted(points, key=lambda item: (item.manifest.captured_at, item.id)):
            failpoint("copy.before_point")
            self._cancel.check()
            if point.id in self._taken:
                self._report.present.append(point.id)
                continue
            try:
                self._copy_point(point)
            except DAMAGE as error:
                self._report.failed[point.id] = error.message
                self._ids.clear()  # what was stored last is perhaps in no pack
                self._progress.message(f"point {point.id} was not copied: {error.message}")
        return self._report

    def _copy_point(self, point: RestorePoint) -> None:
        manifest = point.manifest
        vm = manifest.vm
        with self._target.begin_backup(
            platform=vm.platform, vm_id=vm.id, vm_name=vm.name
        ) as session:
            base = self._base(manifest)
            disks = [self._copy_disk(session, disk, base) for disk in manifest.disks]
            artifacts = [
                session.store_artifact(item.name, self._source.read_artifact(item))
                for item in manifest.artifacts
            ]
            copied = replace(
                manifest,
                parent_id=base.id if base else None,
                chunk_bytes=self._target.chunk_bytes,
                disks=disks,
                artifacts=artifacts,
                notes=(*manifest.notes, f"copied from repository {self._source.id}"),
                stored_bytes=session.stored_bytes,
            )
            session.flush()
            check_copy(self._source, manifest, self._target, copied)
            if point.suspect:
                # Before the commit: a copy of doubtful content is never visible without its mark.
                self._target.mark_suspect([point.id], point.suspect)
            failpoint("copy.before_commit")
            session.commit(copied, in_place_of=self._in_place_of.get(point.id))
        self._there[point.id] = copied
        self._report.copied.append(point.id)
        self._report.stored_bytes += session.stored_bytes
        self._progress.message(f"copied point {point.id} of {vm.name}")

    def _base(self, manifest: Manifest) -> Manifest | None:
        """The newest point of the same VM that both repositories have, as it is over there."""
        vm = (manifest.vm.platform, manifest.vm.id)
        common = [
            other
            for other in self._there.values()
            if (other.vm.platform, other.vm.id) == vm and other.id in self._here
        ]
        return max(common, key=lambda other: (other.captured_at, other.id), default=None)

    def _copy_disk(
        self, session: BackupSession, disk: DiskRecord, base: Manifest | None
    ) -> DiskRecord:
        before = session.stored_bytes
        old_here, old_there = self._base_maps(disk, base)
        writer = session.new_map(disk.size_bytes, old_there)
        changed = _changed(self._source.disk_map(disk), old_here)
        move = self._move_same if self._same_chunks else self._move_other
        if not self._same_chunks:
            changed = _regrid(changed, self._source.chunk_bytes, self._target.chunk_bytes, disk)
        _Movement(self, session, disk, writer, changed, move).run(self._workers)
        root, height = writer.finish()
        return replace(
            disk,
            root=root,
            height=height,
            stored_bytes=session.stored_bytes - before,
            token=None,  # a change token belongs to one point of one repository
        )

    @property
    def _same_chunks(self) -> bool:
        return self._source.chunk_bytes == self._target.chunk_bytes

    def _base_maps(
        self, disk: DiskRecord, base: Manifest | None
    ) -> tuple[DiskMap | None, DiskMap | None]:
        """The disk's map at the base point here and there; None when it is of no use."""
        if base is None:
            return None, None
        here = _record(self._source.manifest(base.id), disk.key)
        there = _record(base, disk.key)
        if here is None or there is None or here.size_bytes != there.size_bytes:
            return None, None
        if not self._same_chunks and here.size_bytes != disk.size_bytes:
            return None, None  # the last chunks of the two grids change in different places
        for repository, record in ((self._source, here), (self._target, there)):
            if damage_to_heal(repository, record)[0]:
                return None, None
        return self._source.disk_map(here), self._target.disk_map(there)

    # -- moving bytes, in worker threads --------------------------------------------------------

    def _move_same(self, movement: _Movement, batch: Sequence[tuple[int, bytes]]) -> None:
        places: dict[bytes, list[int]] = {}
        for index, chunk_id in batch:
            known = ZERO_ID if chunk_id == ZERO_ID else self._ids.get(chunk_id)
            if known is not None and (known == ZERO_ID or movement.session.is_kept(known)):
                movement.put(index, known, 0)
            else:
                places.setdefault(chunk_id, []).append(index)
        for chunk_id, data in self._source.chunks.read_many(list(places)):
            theirs = movement.session.chunk_id(data)
            movement.session.store_chunk(theirs, data)
            for index in places[chunk_id]:
                movement.require_length(index, len(data))
                movement.put(index, theirs, len(data))
            if len(self._ids) < _REMEMBERED:
                self._ids[chunk_id] = theirs

    def _move_other(self, movement: _Movement, batch: Sequence[tuple[int, bytes]]) -> None:
        step = self._target.chunk_bytes
        reader = SpanReader(self._source, movement.disk)
        for index, _ in batch:
            length = min(step, movement.disk.size_bytes - index * step)
            data = reader.read(index * step, length)
            if data.count(0) == length:
                movement.put(index, ZERO_ID, length)
                continue
            theirs = movement.session.chunk_id(data)
            movement.session.store_chunk(theirs, data)
            movement.put(index, theirs, length)

    def note(self, disk: DiskRecord, done_bytes: int, read_bytes: int) -> None:
        self._cancel.check()
        self._report.read_bytes += read_bytes
        self._progress.update(
            Progress(
                phase=f"copying {disk.key}", done_bytes=done_bytes, total_bytes=disk.size_bytes
            )
        )

    @property
    def target_chunk_bytes(self) -> int:
        return self._target.chunk_bytes


_Move = Callable[["_Movement", Sequence[tuple[int, bytes]]], None]


class _Movement:
    """One disk on its way: threads take batches of changed chunks and set their ids in the map,
    which one lock guards."""

    def __init__(
        self,
        copy: _Copy,
        session: BackupSession,
        disk: DiskRecord,
        writer: DiskMapWriter,
        changed: _Changed,
        move: _Move,
    ) -> None:
        self.session = session
        self.disk = disk
        self._copy = copy
        self._writer = writer
        self._changed = changed
        self._move = move
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []

    def run(self, workers: int) -> None:
        threads = [
            threading.Thread(target=self._work, name=f"copy-{number}") for number in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def put(self, index: int, chunk_id: bytes, read_bytes: int) -> None:
        """Set one chunk of the target's map."""
        with self._lock:
            self._writer.set(index, chunk_id)
            self._copy.note(self.disk, index * self._copy.target_chunk_bytes, read_bytes)

    def require_length(self, index: int, length: int) -> None:
        step = self._copy.target_chunk_bytes
        if length != min(step, self.disk.size_bytes - index * step):
            raise ObjectDamaged(key="map", problem=f"chunk {index} does not fit its place")

    def _work(self) -> None:
        try:
            while not self._errors and (batch := self._next()):
                self._move(self, batch)
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            self._errors.append(error)

    def _next(self) -> list[tuple[int, bytes]]:
        most = max(1, _BATCH_BYTES // self._copy.target_chunk_bytes)
        with self._lock:
            return list(itertools.islice(self._changed, most))


def _changed(new: DiskMap, old: DiskMap | None) -> _Changed:
    """`(index, id)` of every chunk of `new` that differs from `old`, zeroes included."""
    if old is None:
        yield from new.data_chunks()
        return
    if new.chunk_count == old.chunk_count and new.root == old.root:
        return
    for number in range(ceil_div(new.chunk_count, FANOUT)):
        old_page = b""
        if number * FANOUT < old.chunk_count:
            if new.page_id(1, number) == old.page_id(1, number):
                continue
            old_page = old.page(1, number)
        yield from _differing(number, new.page(1, number), old_page, new.chunk_count)


def _differing(number: int, page: bytes, old_page: bytes, chunk_count: int) -> _Changed:
    first = number * FANOUT
    for slot in range(min(FANOUT, chunk_count - first)):
        place = slice(slot * ID_BYTES, (slot + 1) * ID_BYTES)
        chunk_id = page[place] or ZERO_ID
        if chunk_id != (old_page[place] or ZERO_ID):
            yield first + slot, chunk_id


def _regrid(changed: _Changed, step: int, target_step: int, disk: DiskRecord) -> _Changed:
    """The chunks of the target's grid that the changed ones of the source's grid touch."""
    done = -1
    for index, _ in changed:
        end = min((index + 1) * step, disk.size_bytes)
        for place in range(max(index * step // target_step, done + 1), ceil_div(end, target_step)):
            yield place, b""
            done = place


def _record(manifest: Manifest, key: str) -> DiskRecord | None:
    return next((disk for disk in manifest.disks if disk.key == key), None)
