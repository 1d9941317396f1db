"""The contract between Holdfast and a hypervisor: inventory, and one consistent look at a VM.

A driver must not know the repository. It is handed the change token that the parent restore point
recorded, says what changed since then (or why it cannot say), and lends readers of one instant.
`tests/conformance/test_driver.py` is mandatory for every driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from holdfast.core.cancellation import CancelToken
from holdfast.core.extents import Extent


class PowerState(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    SHUT_OFF = "shut_off"
    UNKNOWN = "unknown"


class Consistency(Enum):
    """What the guest had done to its disks at the instant of the capture. Never overstated."""

    OFFLINE = "offline"
    """The VM was shut off: nothing was in flight."""
    FILESYSTEM = "filesystem"
    """The guest agent confirmed the freeze and it held until the instant was taken."""
    CRASH = "crash"
    """As after a power cut at that instant; all disks at the same instant."""


class Firmware(Enum):
    BIOS = "bios"
    UEFI = "uefi"
    NONE = "none"
    """Not a machine that boots: a plain set of disk images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk of a VM as the inventory shows it."""

    key: str
    """Stable name of the disk within its VM: survives reordering, hot-plug and reboot. libvirt:
    the target device (`vda`); images: the file name. Printable ASCII without `/`."""
    size_bytes: int
    """Exact size as the guest sees it."""
    format: str
    """`raw`, `qcow2`, `vmdk`; as configured, never probed."""
    path: str
    """Where the image is on the host; shown to people."""
    included: bool = True
    """False when the disk cannot or should not be captured; `excluded_reason` says why."""
    excluded_reason: str = ""
    tracks_changes: bool = False
    """True when the hypervisor can record changed blocks of this disk between captures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInterface:
    mac: str
    network: str
    """Name of the network or bridge it is attached to."""
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualMachine:
    """A VM in the inventory."""

    id: str
    """Stable within the platform: the UUID for libvirt, the absolute path for images."""
    name: str
    platform: str
    """The platform's identity as recorded in restore points, such as `libvirt:qemu:///system`."""
    power: PowerState
    firmware: Firmware
    disks: Sequence[Disk]
    networks: Sequence[NetworkInterface] = ()
    vcpus: int = 0
    memory_bytes: int = 0

    def disk(self, key: str) -> Disk:
        """The disk with that key. Raises KeyError."""
        for disk in self.disks:
            if disk.key == key:
                return disk
        raise KeyError(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Something needed to give the VM back that is not a disk: its definition, NVRAM, vTPM."""

    name: str
    """`domain.xml`, `nvram`, `tpm.tar`."""
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeToken:
    """Names an instant of one disk that a driver can later report changes since.

    Opaque outside its driver: recorded in the restore point as it is and handed back. Belongs to
    exactly one committed point of one repository.
    """

    kind: str
    """`libvirt-checkpoint`; a driver refuses tokens of another kind (ChangesUnknown)."""
    values: Mapping[str, str]
    """What the driver needs to judge later whether the token is still true: names, and the epoch
    of the disk. JSON-able."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesKnown:
    """The blocks that may differ from the token's instant. May name too much, never too little
    (the capture audits that: see capture/audit.py)."""

    extents: Sequence[Extent]
    """Sorted, no overlap, within the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesUnknown:
    """The token cannot be trusted, or there is none; the disk has to be read."""

    reason: str
    """A clause for a person: `the checkpoint's bitmap was lost when QEMU was killed`."""


Changes = ChangesKnown | ChangesUnknown


class DiskReader(Protocol):
    """Bytes of one captured disk. One thread at a time; open one reader a thread."""

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the whole `buffer` from `offset`. The caller owns the buffer before and after.

        Raises SourceReadFailed (never returns short, never pads) when any byte cannot be read.
        """
        ...

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        """The range split into zero and to-be-read extents; sorted, gapless, covering exactly it.

        A driver that cannot tell yields one extent with `zero=False`.
        """
        ...

    def close(self) -> None: ...


class CapturedDisk(Protocol):
    """One disk at the capture's instant."""

    @property
    def disk(self) -> Disk:
        """As captured: `size_bytes` is the size at the instant."""
        ...

    @property
    def changes(self) -> Changes:
        """Relative to the token handed in for this disk."""
        ...

    @property
    def token(self) -> ChangeToken | None:
        """Names this instant for a later capture; None when the disk cannot be tracked. Only
        valid after `Capture.promote`."""
        ...

    def open_reader(self) -> DiskReader:
        """A new independent reader. Thread-safe. Raises SourceUnavailable."""
        ...


class Capture(Protocol):
    """One instant of a VM, held open while its bytes are read. A context manager.

    On leaving, in every outcome, the hypervisor is left as it was found: no job, no scratch file,
    guest thawed; and unless `promote` was called, no checkpoint of this capture. The same holds
    within 60 s when the process is killed. Only objects that carry our tag are ever removed.
    """

    @property
    def instant(self) -> datetime: ...

    @property
    def consistency(self) -> Consistency: ...

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know about this capture: why it was not frozen, for example."""
        ...

    @property
    def vm(self) -> VirtualMachine:
        """The VM as it was at the instant; `disks` are those of `disks`."""
        ...

    @property
    def artifacts(self) -> Sequence[Artifact]: ...

    @property
    def disks(self) -> Sequence[CapturedDisk]: ...

    def check(self) -> None:
        """Raise CaptureLost if the instant can no longer be read in full (VM shut down, QEMU died,
        scratch space ran out, image replaced). Called before the commit; must not lie."""
        ...

    def promote(self) -> None:
        """The restore point is committed: keep what this capture's tokens name, drop what older
        tokens of the same repository named. Never raises for leftovers; they are removed by the
        next capture."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """What a capture needs to know."""

    run_id: str
    """UUIDv7; everything created on the hypervisor carries it."""
    repository_id: str
    """Owner of the tokens: captures for one repository never touch those of another."""
    parent_tokens: Mapping[str, ChangeToken]
    """By disk key, from the last committed point of this VM in this repository; may lack disks."""
    cancel: CancelToken
    disk_keys: Sequence[str] | None = None
    """Only these disks; None for every included disk."""
    freeze: bool = True
    """Ask the guest agent to freeze file systems for the instant, when there is an agent."""


class HypervisorDriver(Protocol):
    """A connection to one platform. Thread-safe for inventory; captures are independent."""

    @property
    def platform(self) -> str: ...

    def list_vms(self) -> Sequence[VirtualMachine]:
        """Every VM, sorted by name. Raises PlatformUnreachable."""
        ...

    def find_vm(self, name_or_id: str) -> VirtualMachine:
        """Raises VmNotFound, or VmAmbiguous when several carry the name."""
        ...

    def preview(
        self, vm: VirtualMachine, parent_tokens: Mapping[str, ChangeToken]
    ) -> Mapping[str, Changes]:
        """What `capture` would say of each disk now, without touching the VM. An estimate: sizes
        of known changes may grow until the capture."""
        ...

    def capture(self, vm: VirtualMachine, request: CaptureRequest) -> Capture:
        """Take one instant of all requested disks.

        First removes what a killed earlier capture of the same VM and repository left behind.
        Raises VmBusy (another job runs), CaptureFailed, PlatformUnreachable, Cancelled; whatever
        it raises, it leaves nothing behind.
        """
        ...
