"""Taking the instant of a running or paused VM, from the first look to the open capture.

Owns the order of the steps: nothing is changed on the hypervisor before the janitor knows of it.
Enter at `LiveTaker.take`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import libvirt

from holdfast.core.clock import Clock
from holdfast.core.ids import CHECKPOINT_PREFIX, uuid7
from holdfast.core.units import ceil_div, format_bytes
from holdfast.hypervisors.driver import (
    CaptureRequest,
    Changes,
    ChangesKnown,
    ChangesUnknown,
    ChangeToken,
    Disk,
    PowerState,
    VirtualMachine,
)
from holdfast.hypervisors.errors import VmBusy
from holdfast.hypervisors.libvirt.artifacts import collect_artifacts
from holdfast.hypervisors.libvirt.backup_job import Instant, JobDisk, job_xml, take_instant
from holdfast.hypervisors.libvirt.checkpoints import (
    BITMAP_HEADROOM_BYTES,
    checkpoint_xml,
    own_checkpoints,
)
from holdfast.hypervisors.libvirt.connection import LibvirtConnection, running_job
from holdfast.hypervisors.libvirt.errors import ChangeRecordBroken
from holdfast.hypervisors.libvirt.facts import live_facts
from holdfast.hypervisors.libvirt.host import qemu_user
from holdfast.hypervisors.libvirt.inventory import Inventory
from holdfast.hypervisors.libvirt.leftovers import drop_checkpoints, remove_leftovers
from holdfast.hypervisors.libvirt.live import LiveCapture, LiveDisk, LiveView
from holdfast.hypervisors.libvirt.open_run import OpenRun
from holdfast.hypervisors.libvirt.scratch import free_bytes
from holdfast.hypervisors.libvirt.selection import select_disks
from holdfast.hypervisors.libvirt.taking import taking
from holdfast.hypervisors.libvirt.tokens import DiskFacts, checkpoint_of, judge, make_token

_BITMAP_GRANULARITY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one disk's parent token is worth."""

    facts: DiskFacts
    parent: str
    """The checkpoint to read changes from; "" when they are unknown."""
    reason: str
    """Why they are unknown."""

    @property
    def disk(self) -> Disk:
        return self.facts.disk

    def without_parent(self, reason: str) -> Choice:
        return replace(self, parent="", reason=reason) if self.parent else self


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is asked of libvirt in one call."""

    choices: Sequence[Choice]
    other_keys: Sequence[str]
    checkpoint: str
    tracked: frozenset[str]
    """Keys of the disks that get a bitmap in the new checkpoint."""
    freeze: bool

    @property
    def job_disks(self) -> Sequence[JobDisk]:
        return [JobDisk(key=c.disk.key, incremental_from=c.parent) for c in self.choices]


def choose(
    domain: libvirt.virDomain,
    platform: str,
    vm: VirtualMachine,
    tokens: Mapping[str, ChangeToken],
    repository_id: str | None,
) -> Mapping[str, Choice]:
    """Judge the tokens of every included disk; changes nothing."""
    included = [disk for disk in vm.disks if disk.included]
    facts = live_facts(domain, platform, included)
    known = frozenset(checkpoint.name for checkpoint in own_checkpoints(domain, platform))
    choices: dict[str, Choice] = {}
    for disk in included:
        token = tokens.get(disk.key)
        reason = judge(
            token,
            facts[disk.key],
            vm_id=vm.id,
            repository_id=repository_id,
            checkpoints=known,
        )
        parent = "" if reason else checkpoint_of(token)
        choices[disk.key] = Choice(facts=facts[disk.key], parent=parent, reason=reason)
    return choices


class LiveTaker:
    """Takes instants of running VMs of one daemon. Thread-safe."""

    def __init__(
        self,
        connection: LibvirtConnection,
        *,
        scratch_root: Path,
        scratch_limit_bytes: int,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._platform = connection.platform
        self._inventory = Inventory(connection)
        self._scratch_root = scratch_root
        self._scratch_limit_bytes = scratch_limit_bytes
        self._clock = clock

    def take(self, vm: VirtualMachine, request: CaptureRequest) -> LiveCapture:
        """See `HypervisorDriver.capture`."""
        with taking(self._connection, vm, scratch_root=self._scratch_root, files="scratch space"):
            return self._take_alone(vm, request)

    def _take_alone(self, vm: VirtualMachine, request: CaptureRequest) -> LiveCapture:
        domain = self._connection.domain(vm.id)
        remove_leftovers(domain, self._platform, vm_id=vm.id, scratch_root=self._scratch_root)
        vm = self._inventory.describe(domain)
        selected = select_disks(vm, request.disk_keys)
        choices = choose(domain, self._platform, vm, request.parent_tokens, request.repository_id)
        # A checkpoint that no disk can use any more is dropped now: its bitmaps are lost for good.
        notes = drop_checkpoints(
            domain,
            self._platform,
            repository_id=request.repository_id,
            keep={choice.parent for choice in choices.values() if choice.parent},
        )
        chosen = [choices[disk.key] for disk in selected]
        plan = self._plan(domain, vm, chosen, request, notes)
        request.cancel.check()
        run = OpenRun.open(
            self._connection,
            vm,
            request,
            scratch_root=self._scratch_root,
            qemu_user=qemu_user(self._connection),
        )
        try:
            return self._begin(domain, run, plan, request, notes)
        except BaseException:
            run.close()
            raise

    def _plan(
        self,
        domain: libvirt.virDomain,
        vm: VirtualMachine,
        choices: Sequence[Choice],
        request: CaptureRequest,
        notes: list[str],
    ) -> _Plan:
        tracked = frozenset(
            choice.disk.key
            for choice in choices
            if choice.disk.tracks_changes and _has_headroom(choice.disk, notes)
        )
        freeze = request.freeze and self._can_freeze(domain, vm, notes)
        captured = {choice.disk.key for choice in choices}
        return _Plan(
            choices=choices,
            other_keys=[disk.key for disk in vm.disks if disk.key not in captured],
            checkpoint=f"{CHECKPOINT_PREFIX}{uuid7(self._clock)}" if tracked else "",
            tracked=tracked,
            freeze=freeze,
        )

    def _can_freeze(self, domain: libvirt.virDomain, vm: VirtualMachine, notes: list[str]) -> bool:
        if vm.power is PowerState.PAUSED:
            notes.append("the guest was not frozen: the VM is paused")
            return False
        if not self._inventory.definition(domain).agent_connected:
            notes.append("the guest was not frozen: no guest agent is connected")
            return False
        return True

    def _begin(
        self,
        domain: libvirt.virDomain,
        run: OpenRun,
        plan: _Plan,
        request: CaptureRequest,
        notes: list[str],
    ) -> LiveCapture:
        if running_job(domain, self._platform) is not None:
            raise VmBusy(name=run.vm.name, problem="another job of it has just started")
        try:
            instant = self._take_instant(domain, run, plan, request)
        except ChangeRecordBroken as error:
            # QEMU lost a bitmap between the look at it and now.
            reason = f"libvirt found the checkpoint broken: {error.problem}"
            plan = replace(plan, choices=[c.without_parent(reason) for c in plan.choices])
            instant = self._take_instant(domain, run, plan, request)
        run.janitor.begun(
            scratch_files=[run.folder.scratch_file(c.disk.key) for c in plan.choices],
            limit_bytes=self._scratch_limit_bytes,
        )
        artifacts, artifact_notes = collect_artifacts(domain, self._connection)
        disks = [self._open_disk(run, plan, choice, request) for choice in plan.choices]
        view = LiveView(
            vm=replace(run.vm, disks=tuple(disk.disk for disk in disks)),
            instant=instant,
            disks=disks,
            artifacts=artifacts,
            notes=(*notes, *instant.notes, *artifact_notes),
        )
        return LiveCapture(run, view)

    def _take_instant(
        self, domain: libvirt.virDomain, run: OpenRun, plan: _Plan, request: CaptureRequest
    ) -> Instant:
        checkpoint = None
        if plan.checkpoint:
            disks = [(c.disk.key, c.disk.key in plan.tracked) for c in plan.choices]
            disks += [(key, False) for key in plan.other_keys]
            checkpoint = checkpoint_xml(
                name=plan.checkpoint,
                repository_id=request.repository_id,
                run_id=request.run_id,
                disks=disks,
            )
        run.owed = replace(run.owed, checkpoint=plan.checkpoint)
        run.janitor.beginning(plan.checkpoint)
        return take_instant(
            domain,
            platform=self._platform,
            vm_name=run.vm.name,
            job=job_xml(run.folder, plan.job_disks, plan.other_keys),
            checkpoint=checkpoint,
            freeze=plan.freeze,
            janitor=run.janitor,
            clock=self._clock,
            cancel=request.cancel,
        )

    def _open_disk(
        self, run: OpenRun, plan: _Plan, choice: Choice, request: CaptureRequest
    ) -> LiveDisk:
        changes: Changes = ChangesKnown(extents=())
        if not choice.parent:
            changes = ChangesUnknown(reason=choice.reason)
        token = None
        if choice.disk.key in plan.tracked:
            token = make_token(
                checkpoint=plan.checkpoint,
                repository_id=request.repository_id,
                vm_id=run.vm.id,
                facts=choice.facts,
            )
        disk = LiveDisk(
            run=run,
            disk=choice.disk,
            job_disk=JobDisk(key=choice.disk.key, incremental_from=choice.parent),
            changes=changes,
            token=token,
        )
        disk.load()
        return disk


def _has_headroom(disk: Disk, notes: list[str]) -> bool:
    """Whether QEMU will have room to store one more bitmap when it ends. An image whose storage is
    full at that moment can come out unusable."""
    path = Path(disk.path)
    if not path.is_file():
        return True
    bitmap_bytes = ceil_div(disk.size_bytes, _BITMAP_GRANULARITY_BYTES * 8)
    free = free_bytes(path.parent)
    if free >= bitmap_bytes + BITMAP_HEADROOM_BYTES:
        return True
    notes.append(
        f"changes of {disk.key} are not recorded: its storage has only {format_bytes(free)} free"
    )
    return False
