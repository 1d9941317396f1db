"""Steps that the tests of this folder share: requests, reading a capture, what must be gone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import SystemClock
from holdfast.core.extents import Extent
from holdfast.core.ids import uuid7
from holdfast.core.units import MIB
from holdfast.hypervisors.driver import (
    Capture,
    CapturedDisk,
    CaptureRequest,
    Changes,
    ChangesKnown,
    ChangesUnknown,
    ChangeToken,
)
from holdfast.hypervisors.libvirt.driver import LibvirtDriver
from holdfast.hypervisors.libvirt.scratch import VM_LOCKS
from tests.support.guestless import GuestlessVm

REPOSITORY = "11111111-1111-7111-8111-111111111111"
OTHER_REPOSITORY = "22222222-2222-7222-8222-222222222222"


def new_id() -> str:
    return str(uuid7(SystemClock()))


def request(
    tokens: Mapping[str, ChangeToken] | None = None,
    *,
    repository_id: str = REPOSITORY,
    freeze: bool = True,
    run_id: str | None = None,
) -> CaptureRequest:
    return CaptureRequest(
        run_id=run_id or new_id(),
        repository_id=repository_id,
        parent_tokens=tokens or {},
        cancel=CancelToken(),
        freeze=freeze,
    )


def disk_of(capture: Capture, key: str) -> CapturedDisk:
    return next(disk for disk in capture.disks if disk.disk.key == key)


def read(disk: CapturedDisk, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of the disk at the instant."""
    buffer = bytearray(disk.disk.size_bytes - offset if length is None else length)
    reader = disk.open_reader()
    try:
        view = memoryview(buffer)
        for start in range(0, len(buffer), MIB):
            part = view[start : start + MIB]
            reader.pread_into(offset + start, part)
    finally:
        reader.close()
    return bytes(buffer)


def tokens_of(capture: Capture) -> dict[str, ChangeToken]:
    """What a point made of the capture would record."""
    return {disk.disk.key: disk.token for disk in capture.disks if disk.token is not None}


def back_up(
    driver: LibvirtDriver,
    vm: GuestlessVm,
    tokens: Mapping[str, ChangeToken] | None = None,
    *,
    repository_id: str = REPOSITORY,
) -> tuple[dict[str, Changes], dict[str, ChangeToken]]:
    """A capture that is committed: (changes, tokens) by disk."""
    with driver.capture(
        driver.find_vm(vm.uuid), request(tokens, repository_id=repository_id)
    ) as capture:
        changes = {disk.disk.key: disk.changes for disk in capture.disks}
        capture.check()
        capture.promote()
        return changes, tokens_of(capture)


def extents(changes: Changes) -> list[tuple[int, int]]:
    assert isinstance(changes, ChangesKnown), changes
    return [(extent.offset, extent.length) for extent in changes.extents]


def reason(changes: Changes) -> str:
    assert isinstance(changes, ChangesUnknown), changes
    return changes.reason


def covers(changes: Changes, offset: int, length: int) -> bool:
    """Whether the range is reported as changed."""
    assert isinstance(changes, ChangesKnown)
    return any(e.offset <= offset and offset + length <= e.end for e in changes.extents)


def zero_parts(parts: list[Extent]) -> int:
    return sum(part.length for part in parts if part.zero)


def assert_clean(vm: GuestlessVm, scratch: Path, checkpoints: set[str]) -> None:
    """No job, no scratch, and exactly those checkpoints."""
    assert not vm.domain.isActive() or not vm.has_job()
    assert vm.checkpoints() == checkpoints
    assert left_in(scratch) == []


def left_in(scratch: Path) -> list[str]:
    """What runs left below the scratch root."""
    return [path.name for path in scratch.glob("*") if path.name != VM_LOCKS]
