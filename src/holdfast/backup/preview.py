"""What a backup would read, and why, before it is started. Touches neither the VM nor the
repository. Enter at `preview_backup`.

An estimate: the capture asks the hypervisor again, and what has changed by then is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.backup.run import BackupOptions, parent_disk, parent_records, parent_tokens
from holdfast.capture.plan import DiskPlan, plan_disk
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.hypervisors.driver import (
    ChangesUnknown,
    Disk,
    HypervisorDriver,
    PowerState,
    VirtualMachine,
)
from holdfast.repository import Repository, RestorePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPreview:
    plans: Sequence[DiskPlan]
    parent_id: str | None
    captured_as: str
    """`full` when every disk would be read without anything to compare with."""
    consistency: str
    """What to expect; empty when only the capture can tell."""
    notes: Sequence[str]

    @property
    def planned_bytes(self) -> int:
        return sum(plan.planned_bytes for plan in self.plans)


def preview_backup(
    *,
    driver: HypervisorDriver,
    vm: VirtualMachine,
    repository: Repository,
    options: BackupOptions,
) -> BackupPreview:
    """Raises the errors of driver and repository as they are, InvalidInput for a disk that the VM
    does not have or that cannot be captured."""
    disks, notes = _chosen(vm, options.disk_keys)
    parent = _last_point(repository, vm, notes)
    tokens, records = parent_tokens(parent), parent_records(parent)
    known = driver.preview(vm, tokens)
    unknown = ChangesUnknown(reason="the platform does not say what has changed")
    plans = [
        plan_disk(
            disk,
            known.get(disk.key, unknown),
            parent_disk(repository, parent, records.get(disk.key)),
            chunk_bytes=repository.chunk_bytes,
            full_requested=options.full,
        )
        for disk in disks
    ]
    full = parent is None or all(plan.mode.value == "full" for plan in plans)
    return BackupPreview(
        plans=plans,
        parent_id=None if parent is None else parent.id,
        captured_as="full" if full else "incremental",
        consistency="offline" if vm.power is PowerState.SHUT_OFF else "",
        notes=notes,
    )


def _chosen(vm: VirtualMachine, keys: Sequence[str] | None) -> tuple[list[Disk], list[str]]:
    """The disks, and a note for each that is left out."""
    if keys is not None:
        missing = sorted(set(keys) - {disk.key for disk in vm.disks if disk.included})
        if missing:
            problem = f"it has no disk {', '.join(missing)} that can be captured"
            raise InvalidInput(what=f"VM {vm.name}", problem=problem)
        return [disk for disk in vm.disks if disk.key in keys], []
    notes = [
        f"{disk.key} is left out: {disk.excluded_reason}" for disk in vm.disks if not disk.included
    ]
    return [disk for disk in vm.disks if disk.included], notes


def _last_point(
    repository: Repository, vm: VirtualMachine, notes: list[str]
) -> RestorePoint | None:
    def tell(error: HoldfastError) -> None:
        notes.append(f"a restore point is damaged and is passed over: {error.message}")

    mine = (
        point
        for point in repository.points(tell)
        if (point.manifest.vm.platform, point.manifest.vm.id) == (vm.platform, vm.id)
    )
    return max(mine, key=lambda point: (point.manifest.captured_at, point.id), default=None)
