"""An open capture of a running or paused VM: the backup job in pull mode, read over NBD.

Owns what may be done with the instant (read, check, promote) and its end. It is taken by
`live_take`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
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
from holdfast.hypervisors.errors import CaptureLost, ScratchExhausted
from holdfast.hypervisors.libvirt.backup_job import Instant, JobDisk
from holdfast.hypervisors.libvirt.connection import LibvirtConnection, is_active
from holdfast.hypervisors.libvirt.errors import LibvirtObjectMissing
from holdfast.hypervisors.libvirt.janitor_link import JanitorLink
from holdfast.hypervisors.libvirt.leftovers import drop_checkpoints
from holdfast.hypervisors.libvirt.obligations import Obligations, discharge, job_folder
from holdfast.hypervisors.libvirt.scratch import RunFolder
from holdfast.nbd.client import NbdReader
from holdfast.nbd.errors import SourceReadFailed, SourceUnavailable

_DAEMON_RESTART_S = 30.0
"""How long a daemon that is being restarted is waited for before a capture is given up."""


class OpenRun:
    """What one capture holds on the host and the hypervisor, from before the first change on. Ends
    exactly once, by `close`."""

    def __init__(
        self,
        *,
        connection: LibvirtConnection,
        vm: VirtualMachine,
        repository_id: str,
        folder: RunFolder,
        janitor: JanitorLink,
    ) -> None:
        self.connection = connection
        self.vm = vm
        self.repository_id = repository_id
        self.folder = folder
        self.janitor = janitor
        self.owed = Obligations(vm_id=vm.id, vm_name=vm.name, folder=str(folder.path))
        self._closed = False

    def close(self) -> None:
        """Pay what is owed. What cannot be paid now is left to the janitor, which goes on for a
        minute, and after it to the next capture. Never raises."""
        if self._closed:
            return
        self._closed = True
        try:
            discharge(self.owed, self.connection)
            self.janitor.dismiss()
        except HoldfastError:
            self.janitor.leave_behind()
        self.folder.release()

    def check(self) -> None:
        """Raise ScratchExhausted or CaptureLost if the job no longer stands."""
        alarm = self.janitor.alarm
        if alarm is not None:
            raise ScratchExhausted(
                name=self.vm.name,
                location=str(self.folder.path.parent),
                used_bytes=alarm.used_bytes,
                limit_bytes=alarm.limit_bytes,
            )
        if self._closed or self.janitor.is_gone:
            raise self._lost("the process that guards its scratch space ended")
        self.connection.wait_until_reachable(_DAEMON_RESTART_S)
        try:
            domain = self.connection.domain(self.vm.id)
        except LibvirtObjectMissing as error:
            raise self._lost("the VM was removed") from error
        if not is_active(domain, self.connection.platform):
            raise self._lost("the VM was shut down, or its QEMU ended")
        if job_folder(domain, self.connection.platform) != self.folder.path:
            # The alarm and the end of the job race: the janitor speaks first, but is heard by a
            # thread of its own.
            if self.janitor.alarm is not None:
                self.check()
            raise self._lost("its backup job was ended by someone else, or by a restart of QEMU")

    def _lost(self, problem: str) -> CaptureLost:
        return CaptureLost(name=self.vm.name, problem=problem)


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
        try:
            reader = self._connect(bitmap=None)
        except SourceUnavailable:
            self._run.check()
            raise
        return _LiveReader(reader, self._run)

    def load(self) -> None:
        """Look at the export: its exact size, and the changes when a bitmap goes with it."""
        bitmap = self._job_disk.export_bitmap if self._job_disk.incremental_from else None
        with self._connect(bitmap=bitmap) as reader:
            self._disk = replace(self._disk, size_bytes=reader.size_bytes)
            if bitmap is not None:
                self._changes = ChangesKnown(extents=tuple(reader.dirty(0, reader.size_bytes)))

    def _connect(self, *, bitmap: str | None) -> NbdReader:
        return NbdReader.connect(
            socket_path=self._run.folder.socket,
            export=self._disk.key,
            source=f"{self._run.vm.name}/{self._disk.key}",
            bitmap=bitmap,
        )


class _LiveReader:
    """Reads the export; a failure is told by its cause where the capture knows it."""

    def __init__(self, reader: NbdReader, run: OpenRun) -> None:
        self._reader = reader
        self._run = run

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        try:
            self._reader.pread_into(offset, buffer)
        except SourceReadFailed:
            self._run.check()
            raise

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        try:
            yield from self._reader.allocated(offset, length)
        except SourceReadFailed:
            self._run.check()
            raise

    def close(self) -> None:
        self._reader.close()


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
        self._run.check()

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
