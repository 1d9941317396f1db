"""What surrounds taking an instant of a VM, whether it runs or is shut off."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from holdfast.core.errors import ToolFailed
from holdfast.hypervisors.driver import VirtualMachine
from holdfast.hypervisors.errors import CaptureFailed
from holdfast.hypervisors.libvirt.connection import LibvirtConnection
from holdfast.hypervisors.libvirt.errors import LibvirtFault
from holdfast.hypervisors.libvirt.scratch import vm_lock


@contextmanager
def taking(
    connection: LibvirtConnection, vm: VirtualMachine, *, scratch_root: Path, files: str
) -> Generator[None]:
    """No other capture of the VM begins meanwhile. `files` says whose files an error of the system
    is about. Raises CaptureFailed for what libvirt, QEMU's tools and the system refuse and for a
    VM of another host, VmBusy at once while another capture begins."""
    if not connection.address.is_local:
        raise CaptureFailed(
            name=vm.name,
            problem=f"the disks of VMs of {connection.platform} can only be read on that host",
        )
    try:
        with vm_lock(scratch_root, vm.id, vm.name):
            yield
    except (LibvirtFault, ToolFailed) as error:
        raise CaptureFailed(name=vm.name, problem=error.message) from error
    except OSError as error:
        raise CaptureFailed(name=vm.name, problem=f"{files}: {error}") from error
