"""Capture of a shut-off VM: its images are read through `qemu-nbd` while nothing writes them.

There is no snapshot: the instant is "not written from the first look until `check`". The VM is not
kept from starting; a capture during which it started is lost. No checkpoint is made: the
parent's bitmap goes on recording, so the new point carries the parent's token again, whose
changes are then a superset. Enter at `OfflineTaker.take`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import libvirt

from holdfast.core.clock import Clock
from holdfast.core.extents import Extent
from holdfast.hypervisors.driver import (
    Artifact,
    CapturedDisk,
    CaptureRequest,
    Changes,
    ChangesKnown,
    ChangesUnknown,
    ChangeToken,
    Consistency,
    Disk,
    DiskReader,
    VirtualMachine,
)
from holdfast.hypervisors.libvirt.artifacts import collect_artifacts
from holdfast.hypervisors.libvirt.connection import LibvirtConnection, is_active
from holdfast.hypervisors.libvirt.facts import stored_facts
from holdfast.hypervisors.libvirt.inventory import Inventory
from holdfast.hypervisors.libvirt.leftovers import drop_checkpoints, remove_leftovers
from holdfast.hypervisors.libvirt.open_run import OpenRun
from holdfast.hypervisors.libvirt.selection import select_disks
from holdfast.hypervisors.libvirt.taking import taking
from holdfast.hypervisors.libvirt.tokens import checkpoint_of, judge
from holdfast.nbd.client import NbdReader
from holdfast.nbd.errors import SourceUnavailable
from holdfast.nbd.qemu import QemuNbd

_ADVICE = "run the backup again to capture the running VM"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What the parent's token of one disk is worth."""

    token: ChangeToken | None
    """The parent's, if it is still true."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileState:
    """Changes when anybody writes, replaces or re-owns the file; starting a VM does the last."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: str) -> _FileState:
        status = Path(path).stat()
        return cls(
            device=status.st_dev,
            inode=status.st_ino,
            size_bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            changed_ns=status.st_ctime_ns,
        )


class OfflineDisk:
    """One disk of a shut-off VM."""

    def __init__(self, *, run: OpenRun, disk: Disk, server: QemuNbd, verdict: _Verdict) -> None:
        self._run = run
        self._disk = disk
        self._server = server
        self._verdict = verdict
        self._source = f"{run.vm.name}/{disk.key}"
        self._changes: Changes = ChangesUnknown(reason=verdict.reason)
        bitmap = checkpoint_of(verdict.token) or None
        with self._connect(bitmap) as reader:
            self._disk = replace(disk, size_bytes=reader.size_bytes)
            if bitmap is not None:
                self._changes = ChangesKnown(extents=tuple(reader.dirty(0, reader.size_bytes)))

    @property
    def disk(self) -> Disk:
        return self._disk

    @property
    def changes(self) -> Changes:
        return self._changes

    @property
    def token(self) -> ChangeToken | None:
        return self._verdict.token

    def open_reader(self) -> DiskReader:
        if self._run.is_closed:
            raise SourceUnavailable(source=self._source, problem="its capture has ended")
        return self._connect(None)

    def _connect(self, bitmap: str | None) -> NbdReader:
        return NbdReader.connect(
            socket_path=self._server.socket_path,
            export=self._server.export,
            source=self._source,
            bitmap=bitmap,
        )


class OfflineCapture:
    """`Capture` of a shut-off VM."""

    def __init__(
        self,
        *,
        run: OpenRun,
        disks: Sequence[OfflineDisk],
        states: Mapping[str, _FileState],
        servers: ExitStack,
        instant: datetime,
        artifacts: Sequence[Artifact],
        notes: Sequence[str],
    ) -> None:
        self._run = run
        self._disks = disks
        self._states = states
        self._servers = servers
        self._instant = instant
        self._artifacts = artifacts
        self._notes = notes
        self._vm = replace(run.vm, disks=tuple(disk.disk for disk in disks))

    @property
    def instant(self) -> datetime:
        return self._instant

    @property
    def consistency(self) -> Consistency:
        return Consistency.OFFLINE

    @property
    def notes(self) -> Sequence[str]:
        return self._notes

    @property
    def vm(self) -> VirtualMachine:
        return self._vm

    @property
    def artifacts(self) -> Sequence[Artifact]:
        return self._artifacts

    @property
    def disks(self) -> Sequence[CapturedDisk]:
        return self._disks

    def check(self) -> None:
        run = self._run
        run.check_alarm()
        domain = run.domain()
        if is_active(domain, run.connection.platform):
            raise run.lost(f"the VM was started; {_ADVICE}")
        for path, before in self._states.items():
            try:
                now = _FileState.of(path)
            except OSError as error:
                raise run.lost(f"{path} is out of reach: {error.strerror}") from error
            if now != before:
                raise run.lost(f"{path} was written or replaced; {_ADVICE}")

    def promote(self) -> None:
        """Nothing to do: no checkpoint was made, and the parent's stays."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the servers and the run. May be called twice."""
        try:
            self._servers.close()
        finally:
            self._run.close()


class OfflineTaker:
    """Takes shut-off VMs of one daemon. Thread-safe."""

    def __init__(self, connection: LibvirtConnection, *, scratch_root: Path, clock: Clock) -> None:
        self._connection = connection
        self._platform = connection.platform
        self._inventory = Inventory(connection)
        self._scratch_root = scratch_root
        self._clock = clock

    def preview(
        self, vm: VirtualMachine, tokens: Mapping[str, ChangeToken]
    ) -> Mapping[str, Changes]:
        """How much a stored bitmap marks is not known before it is served: a disk whose changes
        are known is shown as changed in full."""
        included = [disk for disk in vm.disks if disk.included]
        verdicts = self._judge(vm, included, tokens, None)
        return {
            disk.key: ChangesKnown(extents=(Extent(offset=0, length=disk.size_bytes),))
            if verdicts[disk.key].token
            else ChangesUnknown(reason=verdicts[disk.key].reason)
            for disk in included
        }

    def take(self, vm: VirtualMachine, request: CaptureRequest) -> OfflineCapture:
        """See `HypervisorDriver.capture`."""
        with taking(
            self._connection,
            vm,
            scratch_root=self._scratch_root,
            files="disks or scratch space",
        ):
            return self._take_alone(vm, request)

    def _take_alone(self, vm: VirtualMachine, request: CaptureRequest) -> OfflineCapture:
        domain = self._connection.domain(vm.id)
        remove_leftovers(domain, self._platform, vm_id=vm.id, scratch_root=self._scratch_root)
        vm = self._inventory.describe(domain)
        selected = select_disks(vm, request.disk_keys)
        included = [disk for disk in vm.disks if disk.included]
        verdicts = self._judge(vm, included, request.parent_tokens, request.repository_id)
        notes = drop_checkpoints(
            domain,
            self._platform,
            repository_id=request.repository_id,
            keep={checkpoint_of(verdict.token) for verdict in verdicts.values()},
        )
        if any(disk.tracks_changes and verdicts[disk.key].token is None for disk in selected):
            notes.append(
                "no checkpoint can be made while the VM is off: the next backup reads the disks"
            )
        request.cancel.check()
        run = OpenRun.open(
            self._connection, vm, request, scratch_root=self._scratch_root, qemu_user=None
        )
        with ExitStack() as stack:
            stack.callback(run.close)
            capture = self._open(domain, run, selected, verdicts, notes)
            capture.check()
            stack.pop_all()
        return capture

    def _open(
        self,
        domain: libvirt.virDomain,
        run: OpenRun,
        selected: Sequence[Disk],
        verdicts: Mapping[str, _Verdict],
        notes: list[str],
    ) -> OfflineCapture:
        states = {disk.path: _FileState.of(disk.path) for disk in selected}
        instant = self._clock.now()
        artifacts, artifact_notes = collect_artifacts(domain, self._connection)
        with ExitStack() as servers:
            disks: list[OfflineDisk] = []
            for disk in selected:
                verdict = verdicts[disk.key]
                server = servers.enter_context(
                    QemuNbd.serve(
                        image=Path(disk.path),
                        format=disk.format,
                        read_only=True,
                        socket_dir=run.folder.path,
                        bitmap=checkpoint_of(verdict.token) or None,
                        force_share=True,
                    )
                )
                disks.append(OfflineDisk(run=run, disk=disk, server=server, verdict=verdict))
            return OfflineCapture(
                run=run,
                disks=disks,
                states=states,
                servers=servers.pop_all(),
                instant=instant,
                artifacts=artifacts,
                notes=(*notes, *artifact_notes),
            )

    def _judge(
        self,
        vm: VirtualMachine,
        disks: Sequence[Disk],
        tokens: Mapping[str, ChangeToken],
        repository_id: str | None,
    ) -> Mapping[str, _Verdict]:
        facts = stored_facts(disks)
        verdicts: dict[str, _Verdict] = {}
        for disk in disks:
            token = tokens.get(disk.key)
            reason = judge(
                token,
                facts[disk.key],
                vm_id=vm.id,
                repository_id=repository_id,
                checkpoints=None,
            )
            verdicts[disk.key] = _Verdict(token=None if reason else token, reason=reason)
        return verdicts
