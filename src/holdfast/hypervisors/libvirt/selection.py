"""Which disks of a VM a capture takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.driver import Disk, VirtualMachine
from holdfast.hypervisors.errors import CaptureFailed


def select_disks(vm: VirtualMachine, keys: Sequence[str] | None) -> Sequence[Disk]:
    """The requested disks, or every included one. Raises InvalidInput for a key that does not
    exist, CaptureFailed when a disk cannot be captured or none is left."""
    if keys is None:
        disks = [disk for disk in vm.disks if disk.included]
    else:
        by_key = {disk.key: disk for disk in vm.disks}
        unknown = [key for key in keys if key not in by_key]
        if unknown:
            raise InvalidInput(what=f"disk {unknown[0]!r}", problem=f"{vm.name} has no such disk")
        disks = [by_key[key] for key in dict.fromkeys(keys)]
    for disk in disks:
        if not disk.included:
            raise CaptureFailed(name=vm.name, problem=f"{disk.key}: {disk.excluded_reason}")
    if not disks:
        why = "; ".join(f"{disk.key}: {disk.excluded_reason}" for disk in vm.disks)
        problem = f"none of its disks can be captured: {why}" if why else "it has no disks"
        raise CaptureFailed(name=vm.name, problem=problem)
    return disks
