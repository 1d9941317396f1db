"""Restore one disk of a point to an image file: chunks fetched and verified by worker threads,
zeroes left as holes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import SystemClock
from holdfast.core.progress import Progress, ProgressSink, SilentProgress
from holdfast.core.units import KIB, MIB
from holdfast.repository import DiskRecord, Repository
from holdfast.repository.errors import ObjectDamaged
from holdfast.restore.targets import Target, TargetWriter, new_target

_BATCH_BYTES = 8 * MIB
_SPARSE_BYTES = 4 * KIB
"""Zero runs of this size inside a chunk stay holes; the page of common file systems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRestore:
    """What was done, in exact bytes."""

    path: Path
    size_bytes: int
    written_bytes: int
    duration_s: float


def restore_disk(
    *,
    repository: Repository,
    disk: DiskRecord,
    output: Path,
    format: str,
    cancel: CancelToken,
    workers: int = 3,
    progress: ProgressSink | None = None,
) -> DiskRestore:
    """Write the disk to a new image. It appears under `output` only when every chunk was verified
    and the file is durable.

    `Repository.load_index` must have been called since the point was read. Raises TargetExists,
    OutOfSpace, the repository's integrity errors, Cancelled; then nothing is left at `output`.
    """
    started_s = SystemClock().monotonic_s()
    with new_target(output, format, disk.size_bytes) as target:
        copy = _Copy(repository, disk, target, cancel, progress or SilentProgress())
        copy.run(workers)
    return DiskRestore(
        path=output,
        size_bytes=disk.size_bytes,
        written_bytes=copy.written_bytes,
        duration_s=SystemClock().monotonic_s() - started_s,
    )


class _Copy:
    def __init__(
        self,
        repository: Repository,
        disk: DiskRecord,
        target: Target,
        cancel: CancelToken,
        progress: ProgressSink,
    ) -> None:
        self._chunks = repository.chunks
        self._chunk_bytes = repository.chunk_bytes
        self._disk = disk
        self._target = target
        self._cancel = cancel
        self._progress = progress
        self._map = repository.disk_map(disk)
        self._source = self._map.data_chunks()
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._errors: list[BaseException] = []
        self.written_bytes = 0

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
            with closing(self._target.open_writer()) as writer:
                while (batch := self._next()) and not self._failed.is_set():
                    self._cancel.check()
                    self._copy(batch, writer)
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            self._errors.append(error)
            self._failed.set()

    def _next(self) -> list[tuple[int, bytes]]:
        most = max(1, _BATCH_BYTES // self._chunk_bytes)
        with self._lock:
            return list(itertools.islice(self._source, most))

    def _copy(self, batch: list[tuple[int, bytes]], writer: TargetWriter) -> None:
        places: dict[bytes, list[int]] = {}
        for index, chunk_id in batch:
            places.setdefault(chunk_id, []).append(index)
        written = 0
        for chunk_id, data in self._chunks.read_many(list(places)):
            for index in places[chunk_id]:
                written += self._write(writer, index, data)
        with self._lock:
            self.written_bytes += written
            self._progress.update(
                Progress(
                    phase=f"restoring {self._disk.key}",
                    done_bytes=min((batch[-1][0] + 1) * self._chunk_bytes, self._disk.size_bytes),
                    total_bytes=self._disk.size_bytes,
                )
            )

    def _write(self, writer: TargetWriter, index: int, data: bytes) -> int:
        offset = index * self._chunk_bytes
        if len(data) != min(self._chunk_bytes, self._disk.size_bytes - offset):
            raise ObjectDamaged(key="map", problem=f"chunk {index} does not fit its place")
        written = 0
        view = memoryview(data)
        for start, stop in data_runs(view):
            writer.write(offset + start, view[start:stop])
            written += stop - start
        return written


def data_runs(view: memoryview) -> Iterator[tuple[int, int]]:
    """Ranges of `view` in steps of `_SPARSE_BYTES` that hold anything but zeroes, joined."""
    whole = len(view) // _SPARSE_BYTES * _SPARSE_BYTES
    words = np.frombuffer(view[:whole], dtype=np.uint64).reshape(-1, _SPARSE_BYTES // 8)
    used = np.flatnonzero(np.diff(np.pad(words.any(axis=1), 1).astype(np.int8)))
    runs = (used * _SPARSE_BYTES).reshape(-1, 2).tolist()
    tail = len(view) > whole and any(view[whole:])
    for start, stop in runs:
        if tail and stop == whole:
            yield start, len(view)
            return
        yield start, stop
    if tail:
        yield whole, len(view)
