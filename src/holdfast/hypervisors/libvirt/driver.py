"""The libvirt driver: implements `hypervisors.driver.HypervisorDriver`. Enter at
`LibvirtDriver.connect`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import libvirt

from holdfast.core.clock import Clock, SystemClock
from holdfast.core.extents import Extent
from holdfast.core.units import TIB
from holdfast.hypervisors.driver import (
    Capture,
    CaptureRequest,
    Changes,
    ChangesKnown,
    ChangesUnknown,
    ChangeToken,
    VirtualMachine,
)
from holdfast.hypervisors.libvirt.address import LibvirtAddress
from holdfast.hypervisors.libvirt.connection import LibvirtConnection, is_active
from holdfast.hypervisors.libvirt.errors import LibvirtObjectMissing
from holdfast.hypervisors.libvirt.inventory import Inventory
from holdfast.hypervisors.libvirt.live_take import Choice, LiveTaker, choose
from holdfast.hypervisors.libvirt.offline import OfflineTaker

DEFAULT_SCRATCH_ROOT = Path("/var/lib/holdfast/scratch")
_NO_LIMIT_BYTES = 1024 * TIB


class LibvirtDriver:
    """VMs of one libvirt daemon. Thread-safe."""

    def __init__(
        self,
        connection: LibvirtConnection,
        *,
        scratch_root: Path,
        scratch_limit_bytes: int,
        clock: Clock,
    ) -> None:
        self.connection = connection
        self._inventory = Inventory(connection)
        self._offline = OfflineTaker(connection, scratch_root=scratch_root, clock=clock)
        self._live = LiveTaker(
            connection,
            scratch_root=scratch_root,
            scratch_limit_bytes=scratch_limit_bytes,
            clock=clock,
        )

    @classmethod
    def connect(
        cls,
        address: LibvirtAddress | str,
        *,
        scratch_root: Path = DEFAULT_SCRATCH_ROOT,
        scratch_limit_bytes: int | None = None,
        clock: Clock | None = None,
    ) -> LibvirtDriver:
        """Connect to a daemon.

        `scratch_root` must be on this host, with room for what the guest overwrites while a
        backup reads; `scratch_limit_bytes` is the most one capture may use of it (None: what is
        free when it starts). Raises PlatformUnreachable, InvalidInput.
        """
        if isinstance(address, str):
            address = LibvirtAddress.parse(address)
        return cls(
            LibvirtConnection.open(address),
            scratch_root=scratch_root,
            scratch_limit_bytes=scratch_limit_bytes or _NO_LIMIT_BYTES,
            clock=clock or SystemClock(),
        )

    @property
    def platform(self) -> str:
        return self.connection.platform

    def list_vms(self) -> Sequence[VirtualMachine]:
        return self._inventory.list_vms()

    def find_vm(self, name_or_id: str) -> VirtualMachine:
        return self._inventory.find_vm(name_or_id)

    def preview(
        self, vm: VirtualMachine, parent_tokens: Mapping[str, ChangeToken]
    ) -> Mapping[str, Changes]:
        domain = self._domain(vm)
        vm = self._inventory.describe(domain)
        if not is_active(domain, self.platform):
            return self._offline.preview(vm, parent_tokens)
        choices = choose(domain, self.platform, vm, parent_tokens, None)
        return {key: _estimate(choice) for key, choice in choices.items()}

    def capture(self, vm: VirtualMachine, request: CaptureRequest) -> Capture:
        if is_active(self._domain(vm), self.platform):
            return self._live.take(vm, request)
        return self._offline.take(vm, request)

    def _domain(self, vm: VirtualMachine) -> libvirt.virDomain:
        try:
            return self.connection.domain(vm.id)
        except LibvirtObjectMissing as error:
            raise self._inventory.not_found(vm.name) from error

    def close(self) -> None:
        """Drop the connection. Open captures keep theirs."""
        self.connection.close()


def _estimate(choice: Choice) -> Changes:
    """What a capture would find. QEMU tells how much a bitmap marks, not where, unless a job
    exports it: the extent has the right length and no meaningful place."""
    if not choice.parent:
        return ChangesUnknown(reason=choice.reason)
    bitmap = (choice.facts.bitmaps or {})[choice.parent]
    length = min(bitmap.estimate_bytes, choice.disk.size_bytes)
    return ChangesKnown(extents=(Extent(offset=0, length=length),) if length else ())
