"""The read pipeline: chosen chunks of a captured disk, through worker threads, to a sink.

Each worker has its own reader and buffer and does all the work on what it read: zero test, hash,
compression and encryption happen in the sink, which it calls. These and the reads release the
interpreter lock, so a few threads keep every core and the source busy. Memory: one buffer of
`BATCH_BYTES` a worker.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from holdfast.capture.plan import ChunkRange
from holdfast.core.busy_time import BUSY, Activity
from holdfast.core.cancellation import CancelToken
from holdfast.core.memory import page_area
from holdfast.core.units import MIB
from holdfast.hypervisors.driver import CapturedDisk, DiskReader

BATCH_BYTES = 4 * MIB
_EXTENT_STEP_BYTES = 1024 * MIB


class ChunkSink(Protocol):
    """Receives every chosen chunk exactly once, from any thread, in no order."""

    def data(self, index: int, view: memoryview) -> None:
        """A chunk that is not all zero. The buffer is reused on return."""
        ...

    def zeros(self, chunks: ChunkRange, *, read_bytes: int) -> None:
        """Chunks that are all zero; `read_bytes` of them had to be read to know."""
        ...


@dataclass(frozen=True, slots=True)
class _Batch:
    """Neighbouring chunks to read with one request."""

    start: int
    count: int


def worker_count() -> int:
    """Two more than the cores: while one waits for the source and one for a pack to be durable,
    the others compute."""
    return (os.cpu_count() or 1) + 2


def read_chunks(
    disk: CapturedDisk,
    ranges: Iterable[ChunkRange],
    sink: ChunkSink,
    *,
    chunk_bytes: int,
    cancel: CancelToken,
    workers: int | None = None,
    believe_zeroes: bool = True,
) -> None:
    """Feed the chunks of `ranges` (sorted, without overlap) to `sink`; returns when all were
    taken. The first error of any worker ends the others and is raised.

    With `believe_zeroes` what the source calls a hole is not read.
    """
    reading = _Reading(disk, ranges, sink, chunk_bytes, cancel, believe_zeroes)
    reading.run(workers or worker_count())


class _Reading:
    def __init__(
        self,
        disk: CapturedDisk,
        ranges: Iterable[ChunkRange],
        sink: ChunkSink,
        chunk_bytes: int,
        cancel: CancelToken,
        believe_zeroes: bool,
    ) -> None:
        self._disk = disk
        self._believe_zeroes = believe_zeroes
        self._sink = sink
        self._size_bytes = disk.disk.size_bytes
        self._chunk_bytes = chunk_bytes
        self._cancel = cancel
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._errors: list[BaseException] = []
        self._ranges = ranges

    def run(self, workers: int) -> None:
        with closing(self._disk.open_reader()) as mapper:
            self._batches = self._plan(mapper)
            first = self._next()
            if first is None:
                return
            threads = [
                threading.Thread(target=self._work, args=(None,), name=f"read-{number}")
                for number in range(1, workers)
            ]
            for thread in threads:
                thread.start()
            self._work(first)
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _work(self, first: _Batch | None) -> None:
        try:
            buffer = page_area(max(BATCH_BYTES, self._chunk_bytes))
            with closing(self._disk.open_reader()) as reader:
                batch = first or self._next()
                while batch is not None and not self._failed.is_set():
                    self._cancel.check()
                    self._read(reader, batch, buffer)
                    batch = self._next()
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            self._errors.append(error)
            self._failed.set()

    def _next(self) -> _Batch | None:
        with self._lock:
            return next(self._batches, None)

    def _read(self, reader: DiskReader, batch: _Batch, buffer: memoryview) -> None:
        offset = batch.start * self._chunk_bytes
        length = min(batch.count * self._chunk_bytes, self._size_bytes - offset)
        view = buffer[:length]
        with BUSY.measure(Activity.SOURCE):
            reader.pread_into(offset, view)
        with BUSY.measure(Activity.CPU):
            self._hand_on(batch, view)

    def _hand_on(self, batch: _Batch, view: memoryview) -> None:
        for number in range(batch.count):
            start = number * self._chunk_bytes
            chunk = view[start : start + self._chunk_bytes]
            index = batch.start + number
            if is_all_zero(chunk):
                zero = ChunkRange(start=index, stop=index + 1)
                self._sink.zeros(zero, read_bytes=len(chunk))
            else:
                self._sink.data(index, chunk)

    def _plan(self, mapper: DiskReader) -> Iterator[_Batch]:
        """Batches of chunks that must be read; all-zero chunks go to the sink on the way."""
        most = max(1, BATCH_BYTES // self._chunk_bytes)
        for item in self._ranges:
            for run, zero in self._runs(mapper, item):
                if zero:
                    self._sink.zeros(run, read_bytes=0)
                    continue
                for start in range(run.start, run.stop, most):
                    yield _Batch(start, min(most, run.stop - start))

    def _runs(self, mapper: DiskReader, item: ChunkRange) -> Iterator[tuple[ChunkRange, bool]]:
        """`item` split into runs of chunks that are known zeroes and runs that are not."""
        if not self._believe_zeroes:
            yield item, False
            return
        step = max(1, _EXTENT_STEP_BYTES // self._chunk_bytes)
        for start in range(item.start, item.stop, step):
            stop = min(start + step, item.stop)
            position = start
            for chunks in self._data_runs(mapper, start, stop):
                if chunks.start > position:
                    yield ChunkRange(start=position, stop=chunks.start), True
                yield chunks, False
                position = chunks.stop
            if position < stop:
                yield ChunkRange(start=position, stop=stop), True

    def _data_runs(self, mapper: DiskReader, start: int, stop: int) -> Iterator[ChunkRange]:
        """Chunks of the range that any non-zero extent touches, joined."""
        offset = start * self._chunk_bytes
        length = min(stop * self._chunk_bytes, self._size_bytes) - offset
        pending: ChunkRange | None = None
        for extent in mapper.allocated(offset, length):
            if extent.zero:
                continue
            first = extent.offset // self._chunk_bytes
            last = -(-extent.end // self._chunk_bytes)
            if pending and first <= pending.stop:
                pending = ChunkRange(start=pending.start, stop=max(last, pending.stop))
                continue
            if pending:
                yield pending
            pending = ChunkRange(start=first, stop=last)
        if pending:
            yield pending


def is_all_zero(view: memoryview) -> bool:
    """True when every byte is zero. Looks at the first page alone before the whole."""
    head = np.frombuffer(view[:4096], dtype=np.uint8)
    if head.any():
        return False
    words = len(view) // 8 * 8
    if np.frombuffer(view[:words], dtype=np.uint64).any():
        return False
    return not np.frombuffer(view[words:], dtype=np.uint8).any()
