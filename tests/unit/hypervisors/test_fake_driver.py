"""The fake hypervisor tells the truth unless told to lie, and every lie differs from the truth."""

from __future__ import annotations

import random

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.extents import total_length
from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.driver import CaptureRequest, ChangesKnown, ChangesUnknown, ChangeToken
from tests.support.fake_driver import FakeDriver, FakeVm
from tests.support.fake_lies import MALFORMED, SILENT, LieKind
from tests.support.sparse_bytes import SparseBytes

GRANULE = 64 * KIB


def run(driver: FakeDriver, vm: FakeVm, run_id: str, tokens: dict[str, ChangeToken]):
    request = CaptureRequest(
        run_id=run_id, repository_id="r", parent_tokens=tokens, cancel=CancelToken()
    )
    with driver.capture(vm.describe(), request) as capture:
        capture.promote()
    return capture, {disk.disk.key: disk.token for disk in capture.disks if disk.token}


@pytest.fixture
def changed() -> tuple[FakeDriver, FakeVm, dict[str, ChangeToken]]:
    """A VM captured once; since then every fourth granule of `a` and one of `b` were written."""
    driver = FakeDriver()
    vm = driver.add_vm("web", {"a": 4 * MIB, "b": 4 * MIB})
    vm.disks["a"].write(0, b"x" * MIB)
    _, tokens = run(driver, vm, "1", {})
    for granule in range(0, 64, 4):
        vm.disks["a"].write(granule * GRANULE + 5, b"changed")
    vm.disks["b"].write(GRANULE, b"changed")
    return driver, vm, tokens


def listed(changes: object) -> list[tuple[int, int]]:
    assert isinstance(changes, ChangesKnown)
    return [(extent.offset, extent.length) for extent in changes.extents]


def test_truth(changed: tuple[FakeDriver, FakeVm, dict[str, ChangeToken]]) -> None:
    driver, vm, tokens = changed
    capture, _ = run(driver, vm, "2", tokens)
    assert listed(capture.disks[0].changes) == [(g * GRANULE, GRANULE) for g in range(0, 64, 4)]
    assert listed(capture.disks[1].changes) == [(GRANULE, GRANULE)]
    assert set(vm.checkpoints) == {"holdfast-2"}


@pytest.mark.parametrize("kind", [kind for kind in LieKind if kind is not LieKind.STALE_TOKEN])
def test_each_lie_differs_from_the_truth(
    kind: LieKind, changed: tuple[FakeDriver, FakeVm, dict[str, ChangeToken]]
) -> None:
    driver, vm, tokens = changed
    truth = listed(driver.preview(vm.describe(), tokens)["a"])
    vm.lie(kind)
    lie = listed(driver.preview(vm.describe(), tokens)["a"])
    assert lie != truth
    if kind in SILENT:
        covered = {offset for offset, _ in lie}
        assert not {offset for offset, _ in truth} <= covered
        assert lie == sorted(lie)
    if kind in MALFORMED:
        ends = [0, *(offset + length for offset, length in lie)]
        starts = [offset for offset, _ in lie] + [4 * MIB]
        gapped = all(end <= start for end, start in zip(ends, starts, strict=True))
        assert not gapped or any(length == 0 for _, length in lie)


def test_stale_token_is_refused_unless_lying(
    changed: tuple[FakeDriver, FakeVm, dict[str, ChangeToken]],
) -> None:
    driver, vm, tokens = changed
    vm.disks["a"].resize(5 * MIB)
    told = driver.preview(vm.describe(), tokens)["a"]
    assert told == ChangesUnknown(reason="the disk was resized")
    vm.lie(LieKind.STALE_TOKEN)
    assert listed(driver.preview(vm.describe(), tokens)["a"]) == []


def test_a_killed_capture_leaves_a_checkpoint_that_the_next_one_removes() -> None:
    driver = FakeDriver()
    vm = driver.add_vm("web", {"a": MIB})
    _, tokens = run(driver, vm, "1", {})
    request = CaptureRequest(
        run_id="2", repository_id="r", parent_tokens=tokens, cancel=CancelToken()
    )
    driver.capture(vm.describe(), request)
    vm.kill_capture()
    assert set(vm.checkpoints) == {"holdfast-1", "holdfast-2"}
    _, _ = run(driver, vm, "3", tokens)
    assert set(vm.checkpoints) == {"holdfast-3"}


def test_sparse_bytes_is_a_bytearray() -> None:
    chance = random.Random(7)
    size = 3 * GRANULE + 511
    sparse, plain = SparseBytes(size, page_bytes=GRANULE), bytearray(size)
    for _ in range(300):
        offset = chance.randrange(size)
        length = chance.randrange(min(size - offset, 2 * GRANULE) + 1)
        if chance.random() < 0.5:
            data = chance.randbytes(length)
            sparse.write(offset, data)
            plain[offset : offset + length] = data
        else:
            sparse.trim(offset, length)
            plain[offset : offset + length] = bytes(length)
        extents = list(sparse.allocated(0, size))
        assert total_length(extents) == size
        assert all(not any(plain[e.offset : e.end]) for e in extents if e.zero)
    assert sparse.read() == plain
