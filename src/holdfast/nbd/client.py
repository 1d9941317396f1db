"""Typed NBD client: the one way to read a disk that a server exports, or to write one.

Owns the splitting of requests, the number in flight and the reading of block status. Must not
know what the bytes are for. Enter at `NbdReader.connect` and `NbdWriter.connect`.

Every call lets other threads run while it waits (the libnbd binding releases the GIL).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import nbd

from holdfast.core.errors import OutOfSpace
from holdfast.core.extents import Extent, merge_extents
from holdfast.core.units import GIB
from holdfast.nbd.connection import NO_PROGRESS_TIMEOUT_S, NbdConnection, NbdFailure
from holdfast.nbd.errors import (
    SourceReadFailed,
    SourceUnavailable,
    TargetUnavailable,
    TargetWriteFailed,
)
from holdfast.nbd.request_buffers import POOL, REQUEST_BYTES, RequestBuffer

_IN_FLIGHT = 8
"""Requests of `REQUEST_BYTES`. Measured against qemu-nbd on a unix socket, from the page cache, two
cores, GB/s for buffers of 4 and 28 MiB: 256 KiB x 16 in flight 2.2 and 1.8; 1 MiB x 8 3.0 and 2.2;
4 MiB x 4 3.7 (one request) and 0.8. Servers must accept 32 MiB; some copy large requests through
fresh memory."""

_STATUS_BYTES = 2 * GIB
"""Range asked for in one block status request; the protocol's limit is just under 4 GiB."""

_ZERO_BYTES = 1 * GIB

_DIRTY_CONTEXT = "qemu:dirty-bitmap:"
_DIRTY = 1


class NbdReader:
    """A `DiskReader` (see `hypervisors/driver.py`) over one NBD connection. One thread at a time.

    After any failure the reader is of no further use; every later call fails too.
    """

    def __init__(self, connection: NbdConnection, *, source: str, bitmap: str | None) -> None:
        self._connection = connection
        self._source = source
        self._dirty_context = f"{_DIRTY_CONTEXT}{bitmap}" if bitmap is not None else None
        self._size_bytes = connection.size_bytes
        self._reports_allocation = connection.has_context(nbd.CONTEXT_BASE_ALLOCATION)

    @classmethod
    def connect(
        cls,
        *,
        socket_path: Path,
        export: str,
        source: str,
        bitmap: str | None = None,
        timeout_s: float = NO_PROGRESS_TIMEOUT_S,
    ) -> NbdReader:
        """Connect to an export. `source` names the disk in errors; `bitmap` is the dirty bitmap
        that `dirty` is to read. Raises SourceUnavailable, also when the bitmap is not exported
        (it must never look clean).
        """
        contexts = [nbd.CONTEXT_BASE_ALLOCATION]
        if bitmap is not None:
            contexts.append(f"{_DIRTY_CONTEXT}{bitmap}")
        try:
            connection = NbdConnection.connect(
                socket_path=socket_path, export=export, contexts=contexts, timeout_s=timeout_s
            )
            lacks_bitmap = bitmap is not None and not connection.has_context(contexts[-1])
        except NbdFailure as failure:
            raise SourceUnavailable(source=source, problem=failure.problem) from failure
        if lacks_bitmap:
            connection.close()
            raise SourceUnavailable(
                source=source, problem=f"the server does not export the bitmap {bitmap}"
            )
        return cls(connection, source=source, bitmap=bitmap)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the whole `buffer` from `offset`. Raises SourceReadFailed."""
        self._check_range(offset, buffer.nbytes)
        _transfer(self._connection, offset, buffer, writing=False, failed=self._failed)

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        """The range split into zero and to-be-read extents, from `base:allocation`."""
        self._check_range(offset, length)
        if not self._reports_allocation:
            if length:
                yield Extent(offset=offset, length=length)
            return
        statuses = self._status(nbd.CONTEXT_BASE_ALLOCATION, offset, length)
        yield from merge_extents(
            Extent(offset=start, length=size, zero=bool(flags & nbd.STATE_ZERO))
            for start, size, flags in statuses
        )

    def dirty(self, offset: int, length: int) -> Iterator[Extent]:
        """The dirty parts of the range: sorted, no overlap, joined. Raises SourceReadFailed."""
        self._check_range(offset, length)
        if self._dirty_context is None:
            raise ValueError("connected without a bitmap")
        statuses = self._status(self._dirty_context, offset, length)
        yield from merge_extents(
            Extent(offset=start, length=size) for start, size, flags in statuses if flags & _DIRTY
        )

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _status(self, context: str, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """(offset, length, flags) covering the range exactly. A server may answer for less than
        was asked (then it is asked again) or for more (clipped)."""
        end = offset + length
        while offset < end:
            asked = min(end - offset, _STATUS_BYTES)
            entries = self._status_once(context, offset, asked)
            for size, flags in zip(entries[::2], entries[1::2], strict=True):
                span = min(size, end - offset)
                if span == 0:
                    break
                yield offset, span, flags
                offset += span

    def _status_once(self, context: str, offset: int, length: int) -> list[int]:
        """One block status request: alternating lengths and flags, from `offset`."""
        answers: list[list[int]] = []

        def collect(name: str, start: int, entries: list[int], _error: object) -> int:
            if name == context and start == offset:
                answers.append(list(entries))
            return 0

        try:
            cookie = self._connection.issue(
                lambda handle: handle.aio_block_status(length, offset, collect)
            )
            self._connection.wait({cookie: offset})
        except NbdFailure as failure:
            raise self._failed(offset, failure) from failure
        if len(answers) != 1 or not answers[0] or 0 in answers[0][::2]:
            self._connection.close()
            raise SourceReadFailed(
                source=self._source,
                offset=offset,
                problem=f"the server gave no usable block status for {context}",
            )
        return answers[0]

    def _failed(self, offset: int, failure: NbdFailure) -> SourceReadFailed:
        return SourceReadFailed(source=self._source, offset=offset, problem=failure.problem)

    def _check_range(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self._size_bytes:
            raise SourceReadFailed(
                source=self._source,
                offset=offset,
                problem=f"{length} bytes from there reach beyond its {self._size_bytes} bytes",
            )


class NbdWriter:
    """Writes a disk over one NBD connection. One thread at a time; several writers may be
    connected to one export. Nothing is durable before `flush` returned.

    After any failure the writer is of no further use.
    """

    def __init__(self, connection: NbdConnection, *, target: str) -> None:
        self._connection = connection
        self._target = target
        self._size_bytes = connection.size_bytes
        self._can_zero = connection.can_zero

    @classmethod
    def connect(
        cls,
        *,
        socket_path: Path,
        export: str,
        target: str,
        timeout_s: float = NO_PROGRESS_TIMEOUT_S,
    ) -> NbdWriter:
        """Raises TargetUnavailable, also for a read-only export and for one that cannot flush."""
        try:
            connection = NbdConnection.connect(
                socket_path=socket_path, export=export, timeout_s=timeout_s
            )
        except NbdFailure as failure:
            raise TargetUnavailable(target=target, problem=failure.problem) from failure
        if connection.is_read_only or not connection.can_flush:
            connection.close()
            lack = "is read-only" if connection.is_read_only else "cannot make writes durable"
            raise TargetUnavailable(target=target, problem=f"the export {lack}")
        return cls(connection, target=target)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def write(self, offset: int, buffer: bytes | bytearray | memoryview) -> None:
        """Write all of `buffer`; it is the caller's again when this returns.

        Raises TargetWriteFailed, OutOfSpace.
        """
        view = memoryview(buffer)
        self._check_range(offset, view.nbytes)
        _transfer(self._connection, offset, view, writing=True, failed=self._failed)

    def zero(self, offset: int, length: int) -> None:
        """Make the range read as zeroes, as a hole where the target can have one.

        Raises TargetWriteFailed, OutOfSpace.
        """
        self._check_range(offset, length)
        end = offset + length
        while offset < end:
            size = min(end - offset, _ZERO_BYTES)
            if self._can_zero:
                self._command(offset, lambda handle, at=offset, n=size: handle.aio_zero(n, at))
            else:
                size = min(size, _IN_FLIGHT * REQUEST_BYTES)
                self.write(offset, bytes(size))
            offset += size

    def flush(self) -> None:
        """Make everything written on any connection to the export durable."""
        self._command(0, lambda handle: handle.aio_flush())

    def close(self) -> None:
        """Drop the connection. Does not flush."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self, offset: int, command: Callable[[nbd.NBD], int]) -> None:
        try:
            cookie = self._connection.issue(command)
            self._connection.wait({cookie: offset})
        except NbdFailure as failure:
            raise self._failed(offset, failure) from failure

    def _failed(self, offset: int, failure: NbdFailure) -> TargetWriteFailed | OutOfSpace:
        if failure.errno == errno.ENOSPC:
            return OutOfSpace(location=self._target)
        return TargetWriteFailed(target=self._target, offset=offset, problem=failure.problem)

    def _check_range(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self._size_bytes:
            raise TargetWriteFailed(
                target=self._target,
                offset=offset,
                problem=f"{length} bytes from there reach beyond its {self._size_bytes} bytes",
            )


@dataclass(slots=True)
class _Request:
    """A request in flight: where its bytes belong in the caller's buffer."""

    buffer: RequestBuffer
    start: int
    length: int


def _transfer(
    connection: NbdConnection,
    offset: int,
    caller: memoryview,
    *,
    writing: bool,
    failed: Callable[[int, NbdFailure], Exception],
) -> None:
    """Move the whole of `caller` in pieces, several in flight. The error names the lowest offset
    that was not confirmed."""
    flat = caller.cast("B") if caller.format != "B" or caller.ndim != 1 else caller
    requests: dict[int, _Request] = {}
    pending: dict[int, int] = {}
    position = 0
    try:
        while position < len(flat) or pending:
            while position < len(flat) and len(pending) < _IN_FLIGHT:
                length = min(REQUEST_BYTES, len(flat) - position)
                request = _Request(POOL.take(), position, length)
                if writing:
                    request.buffer.view[:length] = flat[position : position + length]
                cookie = _issue(connection, request, offset + position, writing=writing)
                requests[cookie], pending[cookie] = request, offset + position
                position += length
            for cookie in connection.wait(pending):
                del pending[cookie]
                done = requests.pop(cookie)
                if not writing:
                    end = done.start + done.length
                    flat[done.start : end] = done.buffer.view[: done.length]
                POOL.give_back(done.buffer)
    except NbdFailure as failure:
        # Buffers still in flight are not given back: the binding may yet refer to them.
        raise failed(min(pending.values(), default=offset), failure) from failure


def _issue(connection: NbdConnection, request: _Request, at: int, *, writing: bool) -> int:
    part = request.buffer.part(request.length)
    if writing:
        return connection.issue(lambda handle: handle.aio_pwrite(part, at))
    return connection.issue(lambda handle: handle.aio_pread(part, at))
