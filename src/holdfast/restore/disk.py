"""Restore one disk of a point to an image file: chunks fetched and verified by worker threads,
zeroes left as holes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.core.busy_time import BUSY, Activity
from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import SystemClock
from holdfast.core.memory import page_area
from holdfast.core.progress import DiskProgress, Progress, ProgressSink, SilentProgress
from holdfast.core.units import KIB, MIB
from holdfast.repository import DiskRecord, Repository
from holdfast.repository.errors import ObjectDamaged
from holdfast.restore.holes import DAMAGE, Hole, join_holes, readable_chunks
from holdfast.restore.targets import Target, TargetWriter, new_target

_WORKERS = 6
_BATCH_BYTES = 4 * MIB
"""Chunks of so many bytes are gathered and written together: each worker holds one such area, and
as much again of what it has just fetched. Three workers a core of two keep both busy while others
wait for the disk."""
_DISTANT_BATCH_BYTES = 8 * MIB
_DISTANT_WORKERS = 12
_WINDOW_CHUNKS = 32768
"""From a distant repository the chunks of so long a stretch of the disk (8 GiB) are fetched in the
order of the packs instead of the disk's: large requests, and few."""
_SPARSE_BYTES = 4 * KIB
"""Zero runs of this size inside a chunk stay holes; the page of common file systems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRestore:
    """What was done, in exact bytes."""

    path: Path
    size_bytes: int
    written_bytes: int
    duration_s: float
    holes: Sequence[Hole] = ()
    """What could not be read and holds zeroes instead; only ever with `fill_holes`."""

    @property
    def is_whole(self) -> bool:
        return not self.holes


def restore_disk(
    *,
    repository: Repository,
    disk: DiskRecord,
    output: Path,
    format: str,
    cancel: CancelToken,
    workers: int | None = None,
    progress: ProgressSink | None = None,
    fill_holes: bool = False,
) -> DiskRestore:
    """Write the disk to a new image. It appears under `output` only when every chunk was verified
    and the file is durable. With `fill_holes`, what cannot be read becomes zeroes, and the result
    names every such range.

    `Repository.load_index` must have been called since the point was read. Raises TargetExists,
    OutOfSpace, the repository's integrity errors, Cancelled; then nothing is left at `output`.
    """
    started_s = SystemClock().monotonic_s()
    if fill_holes:
        repository.complete_index()
    with new_target(output, format, disk.size_bytes) as target:
        copy = _Copy(repository, disk, target, cancel, progress or SilentProgress(), fill_holes)
        copy.run(workers or (_DISTANT_WORKERS if repository.is_distant else _WORKERS))
    return DiskRestore(
        path=output,
        size_bytes=disk.size_bytes,
        written_bytes=copy.written_bytes,
        duration_s=SystemClock().monotonic_s() - started_s,
        holes=join_holes(copy.holes),
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one worker copies at once."""

    chunks: list[tuple[int, bytes]]
    """Place on the disk and id, in the order of the places."""
    reached: int
    """How far the whole copy is with it, as a place on the disk; for showing progress."""


class _Copy:
    def __init__(
        self,
        repository: Repository,
        disk: DiskRecord,
        target: Target,
        cancel: CancelToken,
        progress: ProgressSink,
        fill_holes: bool,
    ) -> None:
        self._chunks = repository.chunks
        self._chunk_bytes = repository.chunk_bytes
        self._disk = disk
        self._target = target
        self._cancel = cancel
        self._progress = progress
        self._map = repository.disk_map(disk)
        self._fill_holes = fill_holes
        self.holes: list[Hole] = []
        self._by_packs = repository.is_distant and not fill_holes
        batch_bytes = _DISTANT_BATCH_BYTES if self._by_packs else _BATCH_BYTES
        self._most = max(1, batch_bytes // self._chunk_bytes)
        self._batches = self._in_batches()
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._errors: list[BaseException] = []
        self.written_bytes = 0
        self._done_bytes = 0

    def run(self, workers: int) -> None:
        threads = [
            threading.Thread(target=self._work, name=f"restore-{number}")
            for number in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _work(self) -> None:
        try:
            area = page_area(self._most * self._chunk_bytes)
            with closing(self._target.open_writer()) as writer:
                while (batch := self._next()) and not self._failed.is_set():
                    self._cancel.check()
                    self._copy(batch, area, writer)
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            self._errors.append(error)
            self._failed.set()

    def _next(self) -> _Batch | None:
        with self._lock:
            return next(self._batches, None)

    def _in_batches(self) -> Iterator[_Batch]:
        if not self._by_packs:
            source = (
                readable_chunks(self._map, self._chunk_bytes, self._disk.size_bytes, self.holes)
                if self._fill_holes
                else self._map.data_chunks()
            )
            while chunks := list(itertools.islice(source, self._most)):
                yield _Batch(chunks, chunks[-1][0] + 1)
            return
        source = self._map.data_chunks()
        while window := list(itertools.islice(source, _WINDOW_CHUNKS)):
            start, stop = window[0][0], window[-1][0] + 1
            done = 0
            for chunks in self._chunks.together(window, self._most):
                done += len(chunks)
                yield _Batch(chunks, start + (stop - start) * done // len(window))

    @BUSY.measure(Activity.CPU)
    def _copy(self, wanted: _Batch, area: memoryview, writer: TargetWriter) -> None:
        batch = wanted.chunks
        slots: dict[bytes, list[int]] = {}
        for slot, (_, chunk_id) in enumerate(batch):
            slots.setdefault(chunk_id, []).append(slot)
        filled = [False] * len(batch)
        read = self._read_each(batch, slots) if self._fill_holes else self._read_all(area, slots)
        for chunk_id, data in read:
            for number, slot in enumerate(slots[chunk_id]):
                there = number == 0 and isinstance(data, memoryview)
                self._place(batch[slot][0], data, area, slot, there=there)
                filled[slot] = True
        written = sum(
            self._write(writer, batch[first][0], area, first, last)
            for first, last in _stretches(batch, filled)
        )
        size = self._disk.size_bytes
        with self._lock:
            self.written_bytes += written
            # Other threads' batches may lie before this one: the furthest counts.
            done = min(wanted.reached * self._chunk_bytes, size)
            self._done_bytes = done = max(done, self._done_bytes)
            self._progress.update(
                Progress(
                    phase=f"restoring {self._disk.key}",
                    done_bytes=done,
                    total_bytes=size,
                    disk=DiskProgress(
                        key=self._disk.key, size_bytes=size, done_bytes=done, total_bytes=size
                    ),
                )
            )

    def _read_all(
        self, area: memoryview, slots: Mapping[bytes, Sequence[int]]
    ) -> Iterator[tuple[bytes, bytes | memoryview]]:
        """Each chunk right where the first that needs it has its slot."""
        return self._chunks.read_into(
            {chunk_id: self._slot(area, places[0]) for chunk_id, places in slots.items()}
        )

    def _read_each(
        self, batch: Sequence[tuple[int, bytes]], slots: Mapping[bytes, Sequence[int]]
    ) -> Iterator[tuple[bytes, bytes | memoryview]]:
        """Chunk by chunk, so that one that cannot be read costs no other; such become holes."""
        for chunk_id, places in slots.items():
            try:
                data = self._chunks.read_known(chunk_id)
            except DAMAGE as error:
                self._note_holes([batch[slot][0] for slot in places], error.message)
                continue
            yield chunk_id, data

    def _note_holes(self, indexes: Sequence[int], problem: str) -> None:
        with self._lock:
            for index in indexes:
                offset = index * self._chunk_bytes
                length = self._length(index)
                self.holes.append(Hole(offset=offset, length=length, problem=problem))

    def _length(self, index: int) -> int:
        """Of a chunk; the last one may be shorter."""
        return min(self._chunk_bytes, self._disk.size_bytes - index * self._chunk_bytes)

    def _slot(self, area: memoryview, slot: int) -> memoryview:
        start = slot * self._chunk_bytes
        return area[start : start + self._chunk_bytes]

    def _place(
        self, index: int, data: bytes | memoryview, area: memoryview, slot: int, *, there: bool
    ) -> None:
        """`there`: the data is a view of this very slot."""
        if len(data) != self._length(index):
            raise ObjectDamaged(key="map", problem=f"chunk {index} does not fit its place")
        if not there:
            self._slot(area, slot)[: len(data)] = data

    def _write(
        self, writer: TargetWriter, index: int, area: memoryview, first: int, last: int
    ) -> int:
        """Slots `first` to `last`, which are chunks from `index` on without a gap."""
        start = first * self._chunk_bytes
        length = (last - first) * self._chunk_bytes + self._length(index + last - first)
        view = area[start : start + length]
        offset = index * self._chunk_bytes
        written = 0
        for begin, end in data_runs(view):
            with BUSY.measure(Activity.SOURCE):
                writer.write(offset + begin, view[begin:end])
            written += end - begin
        return written


def _stretches(
    batch: Sequence[tuple[int, bytes]], filled: Sequence[bool]
) -> Iterator[tuple[int, int]]:
    """First and last slot of each stretch of filled ones that are neighbours on the disk."""
    first = None
    for slot, full in enumerate(filled):
        follows = first is not None and batch[slot][0] == batch[slot - 1][0] + 1
        if first is not None and not (full and follows):
            yield first, slot - 1
            first = None
        if full and first is None:
            first = slot
    if first is not None:
        yield first, len(batch) - 1


def data_runs(view: memoryview) -> Iterator[tuple[int, int]]:
    """Ranges of `view` in steps of `_SPARSE_BYTES` that hold anything but zeroes, joined."""
    whole = len(view) // _SPARSE_BYTES * _SPARSE_BYTES
    words = np.frombuffer(view[:whole], dtype=np.uint64).reshape(-1, _SPARSE_BYTES // 8)
    # Few blocks begin with a zero word, and only those can be all zero.
    holding = np.ones(len(words), dtype=np.bool_)
    doubtful = np.flatnonzero(words[:, 0] == 0)
    holding[doubtful] = words[doubtful].any(axis=1)
    used = np.flatnonzero(np.diff(np.pad(holding, 1).astype(np.int8)))
    runs = (used * _SPARSE_BYTES).reshape(-1, 2).tolist()
    tail = len(view) > whole and any(view[whole:])
    for start, stop in runs:
        if tail and stop == whole:
            yield start, len(view)
            return
        yield start, stop
    if tail:
        yield whole, len(view)
