"""The read pipeline: every chosen chunk exactly once, the first error once, and a quick end."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.capture.plan import ChunkRange, whole_disk
from holdfast.capture.reading import BATCH_BYTES, is_all_zero, read_chunks
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Cancelled
from holdfast.core.extents import Extent
from holdfast.core.units import KIB
from holdfast.hypervisors.driver import (
    CapturedDisk,
    CaptureRequest,
    Changes,
    ChangesUnknown,
    ChangeToken,
    Disk,
    DiskReader,
)
from holdfast.hypervisors.errors import SourceReadFailed
from tests.support.fake_driver import FakeDriver, FakeVm

CHUNK = 4 * KIB


class _Sink:
    """Keeps what it was given; thread-safe."""

    def __init__(self) -> None:
        self.chunks: dict[int, bytes] = {}
        self.zero_bytes_read = 0
        self.repeated: list[int] = []
        self.threads: set[int] = set()
        self._lock = threading.Lock()

    def data(self, index: int, view: memoryview) -> None:
        content = bytes(view)
        assert any(content), "zeroes belong to `zeros`"
        with self._lock:
            self._take(index, content)

    def zeros(self, chunks: ChunkRange, *, read_bytes: int) -> None:
        with self._lock:
            self.zero_bytes_read += read_bytes
            for index in range(chunks.start, chunks.stop):
                self._take(index, b"")

    def _take(self, index: int, content: bytes) -> None:
        self.threads.add(threading.get_ident())
        if index in self.chunks:
            self.repeated.append(index)
        self.chunks[index] = content


class _FailingSink(_Sink):
    def data(self, index: int, view: memoryview) -> None:
        super().data(index, view)
        raise MemoryError("the sink is full")


@dataclass(slots=True)
class _Source:
    """One captured disk of the fake hypervisor."""

    driver: FakeDriver
    vm: FakeVm
    content: bytes

    @classmethod
    def of(cls, content: bytes) -> _Source:
        driver = FakeDriver()
        vm = driver.add_vm("guest")
        vm.add_disk("vda", len(content), granule_bytes=CHUNK).write(0, content)
        return cls(driver, vm, content)

    def read(
        self,
        sink: _Sink,
        ranges: list[ChunkRange] | None = None,
        *,
        cancel: CancelToken | None = None,
        workers: int = 3,
        chunk_bytes: int = CHUNK,
    ) -> None:
        token = cancel or CancelToken()
        request = CaptureRequest(
            run_id="run", repository_id="repository", parent_tokens={}, cancel=CancelToken()
        )
        with self.driver.capture(self.vm.describe(), request) as capture:
            chosen = whole_disk(len(self.content), chunk_bytes) if ranges is None else ranges
            read_chunks(
                capture.disks[0],
                chosen,
                sink,
                chunk_bytes=chunk_bytes,
                cancel=token,
                workers=workers,
            )
        assert self.driver.open_readers == 0

    def expected(self, indexes: set[int], chunk_bytes: int = CHUNK) -> dict[int, bytes]:
        chunks = {
            index: self.content[index * chunk_bytes : (index + 1) * chunk_bytes]
            for index in indexes
        }
        return {index: chunk if any(chunk) else b"" for index, chunk in chunks.items()}


def _mixed(size: int, seed: int = 1) -> bytes:
    """Data and holes of odd lengths."""
    chance, content = random.Random(seed), bytearray()
    while len(content) < size:
        length = chance.choice([1, 511, CHUNK, 3 * CHUNK, 20 * CHUNK])
        content += chance.randbytes(length) if chance.random() < 0.5 else bytes(length)
    return bytes(content[:size])


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, CHUNK, CHUNK + 1, 200 * CHUNK + 7])
def test_every_chunk_once(size: int, workers: int) -> None:
    source, sink = _Source.of(_mixed(size)), _Sink()
    source.read(sink, workers=workers)
    assert sink.repeated == []
    assert sink.chunks == source.expected(set(range(-(-size // CHUNK))))


@pytest.mark.parametrize("chunk_bytes", [4 * KIB, 64 * KIB, 2 * BATCH_BYTES])
def test_batches_and_chunks_of_any_size(chunk_bytes: int) -> None:
    source, sink = _Source.of(_mixed(2 * BATCH_BYTES + 12_345)), _Sink()
    source.read(sink, chunk_bytes=chunk_bytes)
    count = -(-len(source.content) // chunk_bytes)
    assert sink.repeated == []
    assert sink.chunks == source.expected(set(range(count)), chunk_bytes)


@st.composite
def _ranges(draw: st.DrawFn) -> list[ChunkRange]:
    cuts = sorted(draw(st.sets(st.integers(0, 121), max_size=20)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return [ChunkRange(start=start, stop=stop) for start, stop in pairs]


@given(_ranges(), st.integers(0, 9), st.integers(1, 4))
def test_chosen_chunks_and_no_others(ranges: list[ChunkRange], seed: int, workers: int) -> None:
    source, sink = _Source.of(_mixed(120 * CHUNK + 99, seed)), _Sink()
    source.read(sink, ranges, workers=workers)
    chosen = {index for item in ranges for index in range(item.start, item.stop)}
    assert sink.repeated == []
    assert sink.chunks == source.expected(chosen)


def test_holes_are_not_read() -> None:
    content = bytes(3 * CHUNK) + b"x" * 5 + bytes(40 * CHUNK)
    source, sink = _Source.of(b""), _Sink()
    source.vm.disks["vda"].resize(len(content))
    source.vm.disks["vda"].write(3 * CHUNK, b"x" * 5)
    source.content = content
    source.read(sink)
    assert source.driver.captures[-1].read_bytes == CHUNK
    assert sink.zero_bytes_read == 0
    assert len(sink.chunks) == 44


def test_zeroes_that_had_to_be_read_are_counted() -> None:
    source, sink = _Source.of(bytes(10 * CHUNK)), _Sink()
    source.read(sink)
    assert sink.zero_bytes_read == 10 * CHUNK


@pytest.mark.parametrize("workers", [1, 4])
def test_a_read_error_ends_it_and_is_raised(workers: int) -> None:
    source, sink = _Source.of(random.Random(1).randbytes(4000 * CHUNK)), _Sink()
    source.vm.disks["vda"].read_error_at = 1500 * CHUNK + 3
    with pytest.raises(SourceReadFailed) as raised:
        source.read(sink, workers=workers)
    assert raised.value.offset == 1500 * CHUNK + 3
    assert len(sink.chunks) < 4000


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_of_the_sink_ends_it_and_is_raised(workers: int) -> None:
    sink = _FailingSink()
    with pytest.raises(MemoryError):
        _Source.of(random.Random(1).randbytes(8000 * CHUNK)).read(sink, workers=workers)
    assert len(sink.chunks) <= workers


@pytest.mark.parametrize("workers", [1, 4])
def test_cancellation_stops_within_a_batch_a_worker(workers: int) -> None:
    token, source, sink = CancelToken(), _Source.of(b"x" * 20 * BATCH_BYTES), _Sink()
    reads = 0

    def cancel_at_second(_key: str, _offset: int) -> None:
        nonlocal reads
        reads += 1
        if reads == 2:
            token.cancel("enough")

    source.vm.on_read = cancel_at_second
    with pytest.raises(Cancelled, match="enough"):
        source.read(sink, cancel=token, workers=workers)
    assert reads <= 2 + workers


def test_a_reader_that_cannot_be_opened() -> None:
    source, sink = _Source.of(b"x" * 100 * CHUNK), _Sink()
    source.vm.vanish_after_reads = 0
    with pytest.raises(SourceReadFailed):
        source.read(sink)
    assert sink.chunks == {}


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    _Source.of(_mixed(3 * BATCH_BYTES)).read(_Sink(), workers=5)
    assert threading.active_count() == before


class _Blind:
    """A disk whose hypervisor says nothing of holes, and whose readers are counted."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.open = 0
        self._lock = threading.Lock()
        self.disk = Disk(key="vda", size_bytes=len(content), format="raw", path="memory")
        self.changes: Changes = ChangesUnknown(reason="")
        self.token: ChangeToken | None = None

    def open_reader(self) -> DiskReader:
        with self._lock:
            self.open += 1
        return _BlindReader(self, self._content)

    def closed(self) -> None:
        with self._lock:
            self.open -= 1


class _BlindReader:
    def __init__(self, disk: _Blind, content: bytes) -> None:
        self._disk = disk
        self._content = content

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._content[offset : offset + len(buffer)]

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        yield Extent(offset=offset, length=length)

    def close(self) -> None:
        self._disk.closed()


def test_a_source_that_knows_no_holes() -> None:
    content = _mixed(300 * CHUNK + 1)
    disk, sink = _Blind(content), _Sink()
    captured: CapturedDisk = disk
    read_chunks(
        captured, whole_disk(len(content), CHUNK), sink, chunk_bytes=CHUNK, cancel=CancelToken()
    )
    assert disk.open == 0
    assert (
        b"".join(
            sink.chunks[index] or bytes(min(CHUNK, len(content) - index * CHUNK))
            for index in range(301)
        )
        == content
    )


@given(st.integers(1, 9000), st.lists(st.integers(0, 8999), max_size=2))
def test_all_zero_looks_at_every_byte(size: int, places: list[int]) -> None:
    data = bytearray(size)
    for place in places:
        if place < size:
            data[place] = 1
    assert is_all_zero(memoryview(data)) == (not any(data))
