"""A hypervisor in memory that keeps the driver contract, or breaks it when told to.

Enter at `FakeDriver`: `add_vm`, then `vm.disks[key].write(...)`, then use it as any driver. It
records what it was asked and what is left open, so that a test can look. Faults are set on a
`FakeDisk` (`read_error_at`, `false_holes`), lies about changes with `FakeVm.lie`, failures of the
capture as a whole on the `FakeVm`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.extents import Extent, clip_extents, merge_extents
from holdfast.core.units import KIB
from holdfast.hypervisors.driver import (
    Artifact,
    CaptureRequest,
    Changes,
    ChangesKnown,
    ChangesUnknown,
    ChangeToken,
    Consistency,
    Disk,
    Firmware,
    PowerState,
    VirtualMachine,
)
from holdfast.hypervisors.errors import (
    CaptureLost,
    SourceReadFailed,
    SourceUnavailable,
    VmAmbiguous,
    VmBusy,
    VmNotFound,
)
from tests.support.fake_lies import LieKind, lie_about_extents, lie_about_granules
from tests.support.sparse_bytes import SparseBytes

TOKEN_KIND = "fake-checkpoint"  # noqa: S105
PLATFORM = "fake:memory"


class FakeDisk:
    """A disk the test writes to as the guest would."""

    def __init__(self, key: str, size_bytes: int, *, granule_bytes: int) -> None:
        self.key = key
        self.granule_bytes = granule_bytes
        self.content = SparseBytes(size_bytes, page_bytes=granule_bytes)
        self.tracks_changes = True
        self.included = True
        self.epoch = 1
        """Changes whenever old tokens stop being true."""
        self.epoch_reason = ""
        self.dirty_since: dict[str, set[int]] = {}
        """Granules written since each checkpoint, by its name."""
        self.read_error_at: int | None = None
        self.false_holes = False
        """Report every range as zero, whatever is there."""

    @property
    def size_bytes(self) -> int:
        return self.content.size_bytes

    def write(self, offset: int, data: bytes) -> None:
        self.content.write(offset, data)
        self._mark(offset, len(data))

    def trim(self, offset: int, length: int) -> None:
        self.content.trim(offset, length)
        self._mark(offset, length)

    def resize(self, size_bytes: int) -> None:
        self.content.resize(size_bytes)
        self.forget_changes("the disk was resized")

    def revert(self, content: SparseBytes) -> None:
        """Go back to an earlier content (`disk.content.copy()`), as reverting a snapshot does."""
        self.content = content.copy()
        self.forget_changes("the disk was reverted to a snapshot")

    def forget_changes(self, reason: str = "the bitmap was lost") -> None:
        """Tokens handed out so far are no longer true."""
        self.epoch += 1
        self.epoch_reason = reason
        self.dirty_since.clear()

    def _mark(self, offset: int, length: int) -> None:
        if length == 0:
            return
        touched = range(offset // self.granule_bytes, -(-(offset + length) // self.granule_bytes))
        for granules in self.dirty_since.values():
            granules.update(touched)


class FakeVm:
    def __init__(self, name: str, vm_id: str) -> None:
        self.name = name
        self.id = vm_id
        self.power = PowerState.RUNNING
        self.disks: dict[str, FakeDisk] = {}
        self.artifacts: list[Artifact] = [Artifact(name="domain.xml", data=b"<domain/>")]
        self.consistency = Consistency.CRASH
        self.notes: list[str] = []
        self.checkpoints: dict[str, str] = {}
        """Repository id by name of checkpoint: what is left on the hypervisor."""
        self.active: FakeCapture | None = None
        self.lying: LieKind | None = None
        self.capture_error: HoldfastError | None = None
        """Raised by the next capture, once."""
        self.vanish_after_reads: int | None = None
        """The VM goes away when this many reads of a capture were served."""
        self.on_read: Callable[[str, int], None] | None = None
        """Called before each read with disk key and offset; may wait, write to disks or raise."""

    def add_disk(self, key: str, size_bytes: int, *, granule_bytes: int = 64 * KIB) -> FakeDisk:
        disk = FakeDisk(key, size_bytes, granule_bytes=granule_bytes)
        self.disks[key] = disk
        return disk

    def lie(self, kind: LieKind | None) -> None:
        """Lie about changed blocks from now on; None tells the truth again."""
        self.lying = kind

    def kill_capture(self) -> None:
        """What a killed worker leaves: the capture is gone, its checkpoint is not."""
        self.active = None

    def describe(self) -> VirtualMachine:
        return VirtualMachine(
            id=self.id,
            name=self.name,
            platform=PLATFORM,
            power=self.power,
            firmware=Firmware.BIOS,
            disks=[_describe(disk) for disk in self.disks.values()],
        )


class FakeDriver:
    """See the module. `captures` keeps every capture ever made."""

    def __init__(self) -> None:
        self.vms: dict[str, FakeVm] = {}
        self.captures: list[FakeCapture] = []
        self.open_readers = 0
        self.lock = threading.Lock()
        self._ids = itertools.count(1)

    @property
    def platform(self) -> str:
        return PLATFORM

    def add_vm(self, name: str, disks: Mapping[str, int] | None = None) -> FakeVm:
        """A running VM with disks of these sizes, all zero."""
        vm = FakeVm(name, f"00000000-0000-4000-8000-{next(self._ids):012x}")
        for key, size_bytes in (disks or {}).items():
            vm.add_disk(key, size_bytes)
        self.vms[vm.id] = vm
        return vm

    def list_vms(self) -> Sequence[VirtualMachine]:
        return sorted((vm.describe() for vm in self.vms.values()), key=lambda vm: vm.name)

    def find_vm(self, name_or_id: str) -> VirtualMachine:
        found = [vm for vm in self.vms.values() if name_or_id in (vm.id, vm.name)]
        if not found:
            known = ", ".join(vm.name for vm in self.list_vms())
            raise VmNotFound(name=name_or_id, platform=PLATFORM, known=known)
        if len(found) > 1:
            ids = ", ".join(vm.id for vm in found)
            raise VmAmbiguous(name=name_or_id, platform=PLATFORM, ids=ids)
        return found[0].describe()

    def preview(
        self, vm: VirtualMachine, parent_tokens: Mapping[str, ChangeToken]
    ) -> Mapping[str, Changes]:
        fake = self._vm(vm)
        return {
            key: changes_since(fake, disk, parent_tokens.get(key))
            for key, disk in fake.disks.items()
        }

    def capture(self, vm: VirtualMachine, request: CaptureRequest) -> FakeCapture:
        request.cancel.check()
        fake = self._vm(vm)
        with self.lock:
            if fake.active is not None:
                raise VmBusy(name=fake.name, problem="another backup of it runs")
            _remove_leftovers(fake, request)
            error, fake.capture_error = fake.capture_error, None
            if error is not None:
                raise error
            capture = FakeCapture(self, fake, request)
            fake.active = capture
            self.captures.append(capture)
        return capture

    def _vm(self, vm: VirtualMachine) -> FakeVm:
        if vm.id not in self.vms:
            raise VmNotFound(name=vm.name, platform=PLATFORM, known="")
        return self.vms[vm.id]


class FakeCapture:
    def __init__(self, driver: FakeDriver, vm: FakeVm, request: CaptureRequest) -> None:
        self.driver = driver
        self.request = request
        self.checkpoint = f"holdfast-{request.run_id}"
        self.reads = 0
        self.read_bytes = 0
        self.lost: str | None = None
        """Set to a reason: the instant is gone from now on."""
        self.promoted = False
        self._vm = vm
        chosen = _chosen(vm, request)
        self.instant = datetime.now(UTC)
        self.consistency = vm.consistency
        self.notes: Sequence[str] = tuple(vm.notes)
        self.artifacts: Sequence[Artifact] = tuple(vm.artifacts)
        self.disks: Sequence[FakeCapturedDisk] = [
            FakeCapturedDisk(self, vm, disk, request.parent_tokens.get(disk.key)) for disk in chosen
        ]
        whole = vm.describe()
        self.vm = VirtualMachine(
            id=whole.id,
            name=whole.name,
            platform=whole.platform,
            power=whole.power,
            firmware=whole.firmware,
            disks=[captured.disk for captured in self.disks],
        )
        for disk in chosen:
            if disk.tracks_changes:
                disk.dirty_since[self.checkpoint] = set()
                vm.checkpoints[self.checkpoint] = request.repository_id

    def check(self) -> None:
        if self.lost is None and self._vm.active is not self:
            self.lost = "the capture was ended"
        if self.lost is not None:
            raise CaptureLost(name=self._vm.name, problem=self.lost)

    def promote(self) -> None:
        self.promoted = True
        repository = self.request.repository_id
        older = [n for n, r in self._vm.checkpoints.items() if r == repository]
        _remove_checkpoints(self._vm, [name for name in older if name != self.checkpoint])

    def before_read(self, key: str, offset: int, length: int) -> None:
        """Faults that hit any read."""
        if self._vm.on_read is not None:
            self._vm.on_read(key, offset)
        with self.driver.lock:
            self.reads += 1
            self.read_bytes += length
            limit = self._vm.vanish_after_reads
            if limit is not None and self.reads > limit:
                self.lost = "the VM went away"
        if self.lost is not None:
            raise SourceReadFailed(source=key, offset=offset, problem=self.lost)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.promoted:
            _remove_checkpoints(self._vm, [self.checkpoint])
        self.lost = self.lost or "the capture has ended"
        if self._vm.active is self:
            self._vm.active = None


class FakeCapturedDisk:
    def __init__(
        self, capture: FakeCapture, vm: FakeVm, disk: FakeDisk, parent: ChangeToken | None
    ) -> None:
        self.disk = _describe(disk)
        self.changes = changes_since(vm, disk, parent)
        self.token = _token(capture, disk) if disk.tracks_changes else None
        self._capture = capture
        self._content = disk.content.copy()
        self._live = disk

    def open_reader(self) -> FakeReader:
        if self._capture.lost is not None:
            raise SourceUnavailable(source=self.disk.key, problem=self._capture.lost)
        return FakeReader(self._capture, self._live, self._content)


class FakeReader:
    def __init__(self, capture: FakeCapture, disk: FakeDisk, content: SparseBytes) -> None:
        self._capture = capture
        self._disk = disk
        self._content = content
        self._closed = False
        with capture.driver.lock:
            capture.driver.open_readers += 1

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        self._capture.before_read(self._disk.key, offset, len(buffer))
        bad = self._disk.read_error_at
        if bad is not None and offset <= bad < offset + len(buffer):
            raise SourceReadFailed(source=self._disk.key, offset=bad, problem="I/O error")
        self._require_inside(offset, len(buffer))
        self._content.read_into(offset, buffer)

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        self._require_inside(offset, length)
        if self._disk.false_holes:
            return merge_extents([Extent(offset=offset, length=length, zero=True)])
        return self._content.allocated(offset, length)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with self._capture.driver.lock:
                self._capture.driver.open_readers -= 1

    def _require_inside(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self._content.size_bytes:
            raise SourceReadFailed(
                source=self._disk.key, offset=offset, problem="beyond the end of the disk"
            )


def changes_since(vm: FakeVm, disk: FakeDisk, token: ChangeToken | None) -> Changes:
    """What the hypervisor says changed since the token, with the lie it was told to tell."""
    if token is None:
        return ChangesUnknown(reason="there is no checkpoint of the parent point")
    if token.kind != TOKEN_KIND:
        return ChangesUnknown(reason=f"the token is of another kind ({token.kind})")
    granules = disk.dirty_since.get(token.values["checkpoint"])
    if granules is None or token.values["epoch"] != str(disk.epoch):
        if vm.lying is LieKind.STALE_TOKEN:
            return ChangesKnown(extents=[])
        return ChangesUnknown(reason=disk.epoch_reason or "the checkpoint is gone")
    if vm.lying is LieKind.OTHER_DISK:
        others = [other for other in vm.disks.values() if other is not disk]
        listings = [other.dirty_since.get(token.values["checkpoint"]) for other in others]
        granules = next((listing for listing in listings if listing is not None), set[int]())
    listed = sorted(granules)
    if vm.lying is not None:
        count = -(-disk.size_bytes // disk.granule_bytes)
        listed = lie_about_granules(vm.lying, listed, count)
    size = disk.granule_bytes
    extents = merge_extents(Extent(offset=granule * size, length=size) for granule in listed)
    inside = list(clip_extents(extents, disk.size_bytes))
    if vm.lying is not None:
        inside = lie_about_extents(vm.lying, inside, disk.size_bytes)
    return ChangesKnown(extents=inside)


def _describe(disk: FakeDisk) -> Disk:
    return Disk(
        key=disk.key,
        size_bytes=disk.size_bytes,
        format="raw",
        path=f"memory:{disk.key}",
        included=disk.included,
        excluded_reason="" if disk.included else "excluded by the test",
        tracks_changes=disk.tracks_changes,
    )


def _token(capture: FakeCapture, disk: FakeDisk) -> ChangeToken:
    values = {"checkpoint": capture.checkpoint, "epoch": str(disk.epoch), "disk": disk.key}
    return ChangeToken(kind=TOKEN_KIND, values=values)


def _chosen(vm: FakeVm, request: CaptureRequest) -> list[FakeDisk]:
    if request.disk_keys is None:
        return [disk for disk in vm.disks.values() if disk.included]
    unknown = [key for key in request.disk_keys if key not in vm.disks]
    if unknown:
        raise InvalidInput(what="disks", problem=f"{vm.name} has no disk {', '.join(unknown)}")
    return [vm.disks[key] for key in request.disk_keys]


def _remove_leftovers(vm: FakeVm, request: CaptureRequest) -> None:
    """Drop checkpoints of this repository that no committed point's token names."""
    wanted = {token.values.get("checkpoint") for token in request.parent_tokens.values()}
    ours = [n for n, r in vm.checkpoints.items() if r == request.repository_id]
    _remove_checkpoints(vm, [name for name in ours if name not in wanted])


def _remove_checkpoints(vm: FakeVm, names: Sequence[str]) -> None:
    for name in names:
        vm.checkpoints.pop(name, None)
        for disk in vm.disks.values():
            disk.dirty_since.pop(name, None)
