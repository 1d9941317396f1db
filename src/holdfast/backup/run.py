"""Back up one VM: lease, instant, plan, bytes, check, commit, promote - in this order.

The order is what makes a killed run harmless: nothing is visible before the commit, and the
hypervisor's record of changes is advanced only after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast import __version__
from holdfast.backup.disk import DiskBackup, DiskOutcome
from holdfast.capture.plan import CaptureMode, DiskPlan, ParentDisk, plan_disk
from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import Clock, SystemClock
from holdfast.core.errors import HoldfastError
from holdfast.core.failpoints import failpoint
from holdfast.core.ids import uuid7
from holdfast.core.progress import DiskProgress, Progress, ProgressSink, SilentProgress
from holdfast.hypervisors.driver import (
    Capture,
    CaptureRequest,
    ChangeToken,
    HypervisorDriver,
    VirtualMachine,
)
from holdfast.repository import (
    BackupSession,
    DiskRecord,
    Manifest,
    Repository,
    RestorePoint,
    VmRecord,
    damage_to_heal,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOptions:
    full: bool = False
    """Read every byte, whatever the hypervisor knows of changes."""
    disk_keys: Sequence[str] | None = None
    freeze: bool = True
    workers: int | None = None
    tags: Sequence[str] = ()
    """Kept with the point, for retention by tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupResult:
    manifest: Manifest
    plans: Sequence[DiskPlan]
    duration_s: float
    suspects: Sequence[str] = field(default=())
    """Points that this run found to be in doubt."""
    adopted: bool = False
    """An earlier attempt of the same run had committed the point; nothing was captured now."""

    @property
    def read_bytes(self) -> int:
        return sum(disk.read_bytes for disk in self.manifest.disks)


def back_up_vm(
    *,
    driver: HypervisorDriver,
    vm: VirtualMachine,
    repository: Repository,
    cancel: CancelToken,
    options: BackupOptions | None = None,
    progress: ProgressSink | None = None,
    clock: Clock | None = None,
    run_id: str | None = None,
    on_plan: Callable[[Sequence[DiskPlan]], None] | None = None,
) -> BackupResult:
    """Returns after the point is durable. On any error nothing of the run is visible and the VM
    is as it was. Raises the errors of driver and repository as they are.

    `run_id` (a UUID) names a run that may have been attempted before: a point that an attempt
    committed before it was killed is taken for the result, so that a run makes one point at most.
    What is created on the hypervisor bears a name of its own for each attempt. `on_plan` hears
    what will be read before bytes move.
    """
    run = _Run(
        driver=driver,
        vm=vm,
        repository=repository,
        cancel=cancel,
        options=options or BackupOptions(),
        progress=progress or SilentProgress(),
        clock=clock or SystemClock(),
        run_id=run_id,
        on_plan=on_plan,
    )
    started_s = run.clock.monotonic_s()
    with repository.begin_backup(platform=vm.platform, vm_id=vm.id, vm_name=vm.name) as session:
        # Under the VM's lease: whoever held it before has committed or never will.
        history = run.history()
        earlier = run.committed_before(history)
        if earlier is not None:
            seconds = run.clock.monotonic_s() - started_s
            return BackupResult(manifest=earlier, plans=(), duration_s=seconds, adopted=True)
        manifest, plans, suspects = run.execute(session, history)
    return BackupResult(
        manifest=manifest,
        plans=plans,
        duration_s=run.clock.monotonic_s() - started_s,
        suspects=suspects,
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    driver: HypervisorDriver
    vm: VirtualMachine
    repository: Repository
    cancel: CancelToken
    options: BackupOptions
    progress: ProgressSink
    clock: Clock
    run_id: str | None = None
    on_plan: Callable[[Sequence[DiskPlan]], None] | None = None

    def committed_before(self, history: Sequence[RestorePoint]) -> Manifest | None:
        """What an earlier attempt of this run made."""
        if self.run_id is None:
            return None
        points = [point.manifest for point in history]
        return next((item for item in points if item.run_id == self.run_id), None)

    def execute(
        self, session: BackupSession, history: Sequence[RestorePoint]
    ) -> tuple[Manifest, Sequence[DiskPlan], Sequence[str]]:
        parent = history[-1] if history else None
        attempt_id = str(uuid7(self.clock))
        self.progress.update(Progress(phase="taking the instant"))
        request = CaptureRequest(
            run_id=attempt_id,
            repository_id=self.repository.id,
            parent_tokens=parent_tokens(parent),
            cancel=self.cancel,
            disk_keys=self.options.disk_keys,
            freeze=self.options.freeze,
        )
        with self.driver.capture(self.vm, request) as capture:
            failpoint("backup.after_snapshot")
            backups = self._plan(session, capture, parent)
            if self.on_plan is not None:
                self.on_plan([backup.plan for backup in backups])
            suspects = self._move_bytes(backups, history)
            manifest = self._manifest(session, capture, backups, parent, self.run_id or attempt_id)
            self.progress.update(Progress(phase="committing"))
            capture.check()
            self.cancel.check()
            session.commit(manifest)
            failpoint("backup.before_promote")
            # A crash here costs the next run a full read; the point itself is safe.
            capture.promote()
            failpoint("backup.after_promote")
        return manifest, [backup.plan for backup in backups], suspects

    def history(self) -> list[RestorePoint]:
        """This VM's points, oldest first."""
        return [
            point
            for point in self.repository.points(self._tell_damage)
            if (point.manifest.vm.platform, point.manifest.vm.id) == (self.vm.platform, self.vm.id)
        ]

    def _tell_damage(self, error: HoldfastError) -> None:
        """A point that cannot be read may have been this VM's last: the next older one serves."""
        self.progress.message(f"a restore point is damaged and was passed over: {error.message}")

    def _plan(
        self, session: BackupSession, capture: Capture, parent: RestorePoint | None
    ) -> list[DiskBackup]:
        self.repository.load_index()
        backups: list[DiskBackup] = []
        parents = parent_records(parent)
        for captured in capture.disks:
            record = parents.get(captured.disk.key)
            plan = plan_disk(
                captured.disk,
                captured.changes,
                parent_disk(self.repository, parent, record),
                chunk_bytes=session.chunk_bytes,
                full_requested=self.options.full,
            )
            self.progress.message(plan.describe())
            backups.append(
                DiskBackup(
                    captured=captured,
                    plan=plan,
                    parent=self.repository.disk_map(record) if record else None,
                    session=session,
                    cancel=self.cancel,
                    workers=self.options.workers,
                )
            )
        return backups

    def _move_bytes(
        self, backups: Sequence[DiskBackup], history: Sequence[RestorePoint]
    ) -> list[str]:
        """Read and store every disk; returns the points found to be in doubt on the way."""
        liars = self._read(backups, 0)
        if not liars:
            return []
        # A list that is wrong for one disk is not to be believed for another of the same VM.
        doubted = [backup for backup in backups if backup.plan.mode is CaptureMode.CHANGED]
        keys = ", ".join(backup.plan.disk.key for backup in liars)
        suspects = self._mark_suspect(doubted, history, keys)
        done = sum(backup.plan.planned_bytes for backup in backups)
        for backup in doubted:
            backup.distrust(f"a chunk of {keys} recorded as unchanged had changed")
            self.progress.message(backup.plan.describe())
        self._read(doubted, done)
        return suspects

    def _read(self, backups: Sequence[DiskBackup], done: int) -> list[DiskBackup]:
        """Those whose audit failed. `done`: planned bytes of this run that were read before."""
        total = done + sum(backup.plan.planned_bytes for backup in backups)
        liars: list[DiskBackup] = []
        for backup in backups:
            if not backup.run(_Reporter(self.progress, backup, done, total)):
                liars.append(backup)
            done += backup.plan.planned_bytes
        return liars

    def _mark_suspect(
        self, doubted: Sequence[DiskBackup], history: Sequence[RestorePoint], keys: str
    ) -> list[str]:
        """Doubt every point since each disk was last read in full."""
        doubtful: set[str] = set()
        for backup in doubted:
            for point in reversed(history):
                record = parent_records(point).get(backup.plan.disk.key)
                if record is None or record.proven:
                    break
                doubtful.add(point.id)
        if doubtful:
            reason = f"changes of {keys} had gone unrecorded: its content may be older than stated"
            self.repository.mark_suspect(sorted(doubtful), reason)
        return sorted(doubtful)

    def _manifest(
        self,
        session: BackupSession,
        capture: Capture,
        backups: Sequence[DiskBackup],
        parent: RestorePoint | None,
        run_id: str,
    ) -> Manifest:
        disks = [_disk_record(backup, backup.finish()) for backup in backups]
        artifacts = [session.store_artifact(item.name, item.data) for item in capture.artifacts]
        full = parent is None or all(disk.mode == "full" for disk in disks)
        return Manifest(
            id=str(uuid7(self.clock)),
            vm=_vm_record(capture.vm),
            run_id=run_id,
            captured_at=capture.instant,
            created_at=self.clock.now(),
            captured_as="full" if full else "incremental",
            parent_id=None if parent is None else parent.id,
            consistency=capture.consistency.value,
            chunk_bytes=session.chunk_bytes,
            disks=disks,
            artifacts=artifacts,
            notes=tuple(capture.notes),
            stored_bytes=session.stored_bytes,
            tags=tuple(self.options.tags),
        )


class _Reporter:
    """Turns one disk's counters into progress of the whole run."""

    def __init__(self, sink: ProgressSink, backup: DiskBackup, done: int, total: int) -> None:
        self._sink = sink
        self._backup = backup
        self._done = done
        self._total = total

    def __call__(self, outcome: DiskOutcome) -> None:
        plan = self._backup.plan
        done = min(outcome.done_bytes, plan.planned_bytes)
        self._sink.update(
            Progress(
                phase=f"reading {plan.disk.key}",
                done_bytes=self._done + done,
                total_bytes=self._total,
                read_bytes=outcome.read_bytes,
                stored_bytes=outcome.stored_bytes,
                disk=DiskProgress(
                    key=plan.disk.key,
                    size_bytes=plan.disk.size_bytes,
                    done_bytes=done,
                    total_bytes=plan.planned_bytes,
                    read_bytes=outcome.read_bytes,
                    stored_bytes=outcome.stored_bytes,
                ),
            )
        )


Report = Callable[[DiskOutcome], None]


def parent_tokens(parent: RestorePoint | None) -> dict[str, ChangeToken]:
    """Change tokens of the parent; none when its content is in doubt."""
    tokens: dict[str, ChangeToken] = {}
    for key, record in parent_records(parent).items():
        if record.token is not None and parent is not None and not parent.suspect:
            values = {str(name): str(value) for name, value in record.token["values"].items()}
            tokens[key] = ChangeToken(kind=str(record.token["kind"]), values=values)
    return tokens


def parent_records(parent: RestorePoint | None) -> Mapping[str, DiskRecord]:
    return {disk.key: disk for disk in parent.manifest.disks} if parent else {}


def parent_disk(
    repository: Repository, parent: RestorePoint | None, record: DiskRecord | None
) -> ParentDisk | None:
    """What planning has to know of the same disk at the last point."""
    if parent is None or record is None:
        return None
    pack, map_damaged = damage_to_heal(repository, record)
    return ParentDisk(
        point_id=parent.id,
        size_bytes=record.size_bytes,
        suspect=parent.suspect,
        damage=f"pack {pack[:16]} is damaged" if pack else "",
        map_damaged=map_damaged,
    )


def _disk_record(backup: DiskBackup, root: tuple[bytes, int]) -> DiskRecord:
    plan, outcome, token = backup.plan, backup.outcome, backup.captured.token
    return DiskRecord(
        key=plan.disk.key,
        size_bytes=plan.disk.size_bytes,
        format=plan.disk.format,
        root=root[0],
        height=root[1],
        mode=plan.mode.value,
        reason=plan.reason,
        read_bytes=outcome.read_bytes,
        changed_bytes=outcome.changed_bytes,
        stored_bytes=outcome.stored_bytes,
        proven=plan.mode.value != "changed",
        token=None if token is None else {"kind": token.kind, "values": dict(token.values)},
    )


def _vm_record(vm: VirtualMachine) -> VmRecord:
    details: dict[str, Any] = {
        "captured_by": f"holdfast {__version__}",
        "firmware": vm.firmware.value,
        "memory_bytes": vm.memory_bytes,
        "networks": [
            {"mac": nic.mac, "model": nic.model, "network": nic.network} for nic in vm.networks
        ],
        "power": vm.power.value,
        "vcpus": vm.vcpus,
    }
    return VmRecord(id=vm.id, name=vm.name, platform=vm.platform, details=details)
