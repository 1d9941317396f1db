"""One captured disk into one map: the sink of the read pipeline, and the audit of what was not
read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from holdfast.capture.audit import sample_unchanged
from holdfast.capture.plan import CaptureMode, ChunkRange, DiskPlan, whole_disk
from holdfast.capture.reading import read_chunks
from holdfast.core.cancellation import CancelToken
from holdfast.hypervisors.driver import CapturedDisk
from holdfast.repository import ZERO_ID, BackupSession, DiskMap, DiskMapWriter


@dataclass(slots=True, kw_only=True)
class DiskOutcome:
    """Exact counts, in bytes of the disk unless said otherwise."""

    done_bytes: int = 0
    read_bytes: int = 0
    changed_bytes: int = 0
    stored_bytes: int = 0
    """New bytes in the repository."""


class DiskBackup:
    """Run once; run again after `distrust` when the audit failed; then `finish`."""

    def __init__(
        self,
        *,
        captured: CapturedDisk,
        plan: DiskPlan,
        parent: DiskMap | None,
        session: BackupSession,
        cancel: CancelToken,
        workers: int | None = None,
    ) -> None:
        self.captured = captured
        self.plan = plan
        self.outcome = DiskOutcome()
        self._session = session
        self._cancel = cancel
        self._workers = workers
        self._believes_zeroes = True
        self._parent = parent
        # Zeroes of a full need no entry: the map starts as zeroes. Otherwise it starts as the
        # parent's, and every chunk in the plan is set.
        self._base = None if plan.mode is CaptureMode.FULL else parent
        self._map = session.new_map(plan.disk.size_bytes, self._base)

    def run(self, report: Callable[[DiskOutcome], None]) -> bool:
        """Read what is planned and audit the rest. False: the audit found a chunk that differs
        although it was called unchanged, so the plan cannot be trusted."""
        sink = _MapSink(self, self._map, self._base, report)
        read_chunks(
            self.captured,
            self.plan.ranges,
            sink,
            chunk_bytes=self.plan.chunk_bytes,
            cancel=self._cancel,
            workers=self._workers,
            believe_zeroes=self._believes_zeroes,
        )
        return self.plan.mode is not CaptureMode.CHANGED or self._audit()

    def distrust(self, reason: str) -> None:
        """Plan again to read everything, holes too, because the hypervisor was caught out."""
        self._believes_zeroes = False
        size = self.plan.disk.size_bytes
        self.plan = replace(
            self.plan,
            mode=CaptureMode.COMPARE,
            reason=reason,
            ranges=whole_disk(size, self.plan.chunk_bytes),
        )
        self.outcome = DiskOutcome(stored_bytes=self.outcome.stored_bytes)
        self._map = self._session.new_map(size, self._base)

    def finish(self) -> tuple[bytes, int]:
        """Store the map; its root and height."""
        return self._map.finish()

    @property
    def session(self) -> BackupSession:
        return self._session

    def _audit(self) -> bool:
        if self._base is None:
            return True
        sample = sample_unchanged(self.plan.chunk_count, self.plan.ranges)
        sink = _AuditSink(self._session, self._base)
        read_chunks(
            self.captured,
            [ChunkRange(start=index, stop=index + 1) for index in sample],
            sink,
            chunk_bytes=self.plan.chunk_bytes,
            cancel=self._cancel,
            workers=self._workers,
            believe_zeroes=False,
        )
        self.outcome.read_bytes += sink.read_bytes
        return not sink.mismatches


class _MapSink:
    """Stores what differs from the base map and sets it. The counters and both maps are guarded
    by one lock, held for microseconds; hashing and storing happen outside it."""

    def __init__(
        self,
        backup: DiskBackup,
        target: DiskMapWriter,
        base: DiskMap | None,
        report: Callable[[DiskOutcome], None],
    ) -> None:
        self._session = backup.session
        self._outcome = backup.outcome
        self._chunk_bytes = backup.plan.chunk_bytes
        self._size_bytes = backup.plan.disk.size_bytes
        self._target = target
        self._base = base
        self._report = report
        self._lock = threading.Lock()

    def data(self, index: int, view: memoryview) -> None:
        chunk_id = self._session.chunk_id(view)
        with self._lock:
            before = self._before(index)
        # Unchanged is stored again when it lies in packs only that are damaged or are to go.
        is_kept = chunk_id == before and self._session.is_kept(chunk_id)
        stored = 0 if is_kept else self._session.store_chunk(chunk_id, view)
        with self._lock:
            if chunk_id != before:
                self._target.set(index, chunk_id)
                self._outcome.changed_bytes += len(view)
            self._outcome.stored_bytes += stored
            self._outcome.read_bytes += len(view)
            self._outcome.done_bytes += len(view)
            self._report(self._outcome)

    def zeros(self, chunks: ChunkRange, *, read_bytes: int) -> None:
        with self._lock:
            if self._base is not None:
                stop = min(chunks.stop, self._base.chunk_count)
                for index, _ in self._base.data_chunks(chunks.start, stop):
                    self._target.set(index, ZERO_ID)
                    self._outcome.changed_bytes += self._length(index)
            self._outcome.read_bytes += read_bytes
            length = min(chunks.stop * self._chunk_bytes, self._size_bytes)
            self._outcome.done_bytes += length - chunks.start * self._chunk_bytes
            self._report(self._outcome)

    def _before(self, index: int) -> bytes:
        """Id of the chunk in the base map; what lies beyond a smaller disk's end was zeroes."""
        if self._base is None or index >= self._base.chunk_count:
            return ZERO_ID
        return self._base.chunk_id(index)

    def _length(self, index: int) -> int:
        return min(self._chunk_bytes, self._size_bytes - index * self._chunk_bytes)


class _AuditSink:
    """Compares with the base map; stores nothing."""

    def __init__(self, session: BackupSession, base: DiskMap) -> None:
        self._session = session
        self._base = base
        self._lock = threading.Lock()
        self.mismatches: list[int] = []
        self.read_bytes = 0

    def data(self, index: int, view: memoryview) -> None:
        chunk_id = self._session.chunk_id(view)
        with self._lock:
            self.read_bytes += len(view)
            if self._base.chunk_id(index) != chunk_id:
                self.mismatches.append(index)

    def zeros(self, chunks: ChunkRange, *, read_bytes: int) -> None:
        with self._lock:
            self.read_bytes += read_bytes
            self.mismatches.extend(
                index
                for index in range(chunks.start, chunks.stop)
                if self._base.chunk_id(index) != ZERO_ID
            )
