"""An open capture of a running or paused VM: the backup job in pull mode, read over NBD.

Owns what may be done with the instant (read, check, promote) and its end. It is taken by
`live_take`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Self

from holdfast.core.errors import HoldfastError
from holdfast.core.extents import Extent
from holdfast.hypervisors.driver import (
    Artifact,
    CapturedDisk,
    Changes,
    ChangesKnown,
    ChangeToken,
    Consistency,
    Disk,
    DiskReader,
    VirtualMachine,
)
from holdfast.hypervisors.libvirt.backup_job import Instant, JobDisk
from holdfast.hypervisors.libvirt.leftovers import drop_checkpoints
from holdfast.hypervisors.libvirt.open_run import OpenRun
from holdfast.nbd.client import NbdReader
from holdfast.nbd.errors import SourceReadFailed, SourceUnavailable


class LiveDisk:
    """One disk of a running VM at the instant."""

    def __init__(
        self,
        *,
        run: OpenRun,
        disk: Disk,
        job_disk: JobDisk,
        changes: Changes,
        token: ChangeToken | None,
    ) -> None:
        self._run = run
        self._disk = disk
        self._job_disk = job_disk
        self._changes = changes
        self._token = token
        self._source = f"{run.vm.name}/{disk.key}"

    @property
    def disk(self) -> Disk:
        return self._disk

    @property
    def changes(self) -> Changes:
        return self._changes

    @property
    def token(self) -> ChangeToken | None:
        return self._token

    def open_reader(self) -> DiskReader:
        if self._run.is_closed:
            raise SourceUnavailable(source=self._source, problem="its capture has ended")
        return _LiveReader(self._connect(bitmap=None), self._run)

    def load(self) -> None:
        """Look at the export: its exact size, and the changes when a bitmap goes with it."""
        bitmap = self._job_disk.export_bitmap if self._job_disk.incremental_from else None
        with self._connect(bitmap=bitmap) as reader, _failures_explained(self._run):
            self._disk = replace(self._disk, size_bytes=reader.size_bytes)
            if bitmap is not None:
                self._changes = ChangesKnown(extents=tuple(reader.dirty(0, reader.size_bytes)))

    def _connect(self, *, bitmap: str | None) -> NbdReader:
        with _failures_explained(self._run):
            return NbdReader.connect(
                socket_path=self._run.folder.socket,
                export=self._disk.key,
                source=self._source,
                bitmap=bitmap,
            )


class _LiveReader:
    """Reads the export; a failure is told by its cause where the capture knows it."""

    def __init__(self, reader: NbdReader, run: OpenRun) -> None:
        self._reader = reader
        self._run = run

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        with _failures_explained(self._run):
            self._reader.pread_into(offset, buffer)

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        with _failures_explained(self._run):
            yield from self._reader.allocated(offset, length)

    def close(self) -> None:
        self._reader.close()


@contextmanager
def _failures_explained(run: OpenRun) -> Generator[None]:
    """Raise CaptureLost or ScratchExhausted in place of a failed read where that is the cause."""
    try:
        yield
    except (SourceReadFailed, SourceUnavailable):
        run.explain_failure()
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveView:
    """What was taken, as plain values."""

    vm: VirtualMachine
    instant: Instant
    disks: Sequence[LiveDisk]
    artifacts: Sequence[Artifact]
    notes: Sequence[str]


class LiveCapture:
    """`Capture` of a running VM."""

    def __init__(self, run: OpenRun, view: LiveView) -> None:
        self._run = run
        self._view = view

    @property
    def instant(self) -> datetime:
        return self._view.instant.time

    @property
    def consistency(self) -> Consistency:
        return self._view.instant.consistency

    @property
    def notes(self) -> Sequence[str]:
        return self._view.notes

    @property
    def vm(self) -> VirtualMachine:
        return self._view.vm

    @property
    def artifacts(self) -> Sequence[Artifact]:
        return self._view.artifacts

    @property
    def disks(self) -> Sequence[CapturedDisk]:
        return self._view.disks

    def check(self) -> None:
        self._run.check_job()

    def promote(self) -> None:
        run = self._run
        new = run.owed.checkpoint
        run.owed = replace(run.owed, checkpoint="")
        # The point is committed: whatever fails from here on is a leftover for the next capture.
        with suppress(HoldfastError):
            run.janitor.promoted()
        with suppress(HoldfastError):
            domain = run.connection.domain(run.vm.id)
            drop_checkpoints(
                domain,
                run.connection.platform,
                repository_id=run.repository_id,
                keep={new},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run.close()
