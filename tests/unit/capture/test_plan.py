"""Every reason to choose a mode, and the arithmetic of the chosen ranges."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.capture.plan import (
    CaptureMode,
    ChunkRange,
    DiskPlan,
    ParentDisk,
    changed_ranges,
    plan_disk,
    whole_disk,
)
from holdfast.core.extents import Extent
from holdfast.core.units import KIB
from holdfast.hypervisors.driver import Changes, ChangesKnown, ChangesUnknown, Disk

CHUNK = 64 * KIB
SIZE = 100 * CHUNK + 512


def _disk(size_bytes: int = SIZE) -> Disk:
    return Disk(key="vda", size_bytes=size_bytes, format="raw", path="memory:vda")


def _known(*pairs: tuple[int, int]) -> ChangesKnown:
    return ChangesKnown(extents=[Extent(offset=offset, length=length) for offset, length in pairs])


def _plan(
    changes: Changes, parent: ParentDisk | None, *, size_bytes: int = SIZE, full: bool = False
) -> DiskPlan:
    return plan_disk(_disk(size_bytes), changes, parent, chunk_bytes=CHUNK, full_requested=full)


PARENT = ParentDisk(point_id="0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000", size_bytes=SIZE)
EVERYTHING = whole_disk(SIZE, CHUNK)


def test_no_parent_is_full() -> None:
    plan = _plan(_known((0, 512)), None)
    assert (plan.mode, plan.ranges) == (CaptureMode.FULL, EVERYTHING)
    assert plan.reason == "this repository has no earlier point of this disk"


def test_a_full_that_was_asked_for_reads_everything() -> None:
    plan = _plan(_known((0, 512)), PARENT, full=True)
    assert (plan.mode, plan.ranges) == (CaptureMode.FULL, EVERYTHING)
    assert plan.reason == "a full backup was asked for"


def test_a_suspect_parent_is_compared() -> None:
    parent = ParentDisk(point_id=PARENT.point_id, size_bytes=SIZE, suspect="it lied")
    plan = _plan(_known((0, 512)), parent)
    assert (plan.mode, plan.ranges) == (CaptureMode.COMPARE, EVERYTHING)
    assert "in doubt: it lied" in plan.reason


@pytest.mark.parametrize("before", [0, 512, SIZE - 1, SIZE + 1])
def test_a_resized_disk_is_compared(before: int) -> None:
    plan = _plan(_known((0, 512)), ParentDisk(point_id=PARENT.point_id, size_bytes=before))
    assert (plan.mode, plan.ranges) == (CaptureMode.COMPARE, EVERYTHING)
    assert "resized" in plan.reason


def test_unknown_changes_are_compared_with_the_drivers_reason() -> None:
    plan = _plan(ChangesUnknown(reason="the bitmap was lost"), PARENT)
    assert (plan.mode, plan.reason) == (CaptureMode.COMPARE, "the bitmap was lost")
    assert plan.ranges == EVERYTHING


def test_known_changes_are_believed() -> None:
    plan = _plan(_known((CHUNK - 1, 2), (50 * CHUNK, 1), (SIZE - 1, 1)), PARENT)
    assert plan.mode is CaptureMode.CHANGED
    assert [(item.start, item.stop) for item in plan.ranges] == [(0, 2), (50, 51), (100, 101)]
    assert plan.planned_bytes == 4 * CHUNK
    assert "since point 0190aaaa-bbbb" in plan.describe()


def test_no_changes_read_nothing() -> None:
    plan = _plan(_known(), PARENT)
    assert (plan.mode, plan.ranges, plan.planned_bytes) == (CaptureMode.CHANGED, (), 0)


@pytest.mark.parametrize(
    "pairs",
    [
        [(-512, 512)],
        [(SIZE, 4096)],
        [(SIZE - 512, 513)],
        [(0, 1024), (512, 1024)],
        [(4096, 512), (0, 512)],
        [(0, 0)],
        [(512, -512)],
    ],
)
def test_a_malformed_list_of_changes_is_not_believed(pairs: list[tuple[int, int]]) -> None:
    plan = _plan(_known(*pairs), PARENT)
    assert (plan.mode, plan.ranges) == (CaptureMode.COMPARE, EVERYTHING)
    assert "malformed" in plan.reason


def test_an_empty_disk_has_nothing_to_read() -> None:
    plan = _plan(ChangesUnknown(reason="no bitmap"), None, size_bytes=0)
    assert (plan.ranges, plan.chunk_count, plan.planned_bytes) == ((), 0, 0)


def test_planned_bytes_never_exceed_the_disk() -> None:
    plan = _plan(ChangesUnknown(reason=""), None, size_bytes=CHUNK + 1)
    assert (plan.chunk_count, plan.planned_bytes) == (2, CHUNK + 1)


@st.composite
def _extents(draw: st.DrawFn) -> list[tuple[int, int]]:
    cuts = sorted(draw(st.sets(st.integers(0, 10_000), max_size=20)))
    return [(start, stop - start) for start, stop in zip(cuts[::2], cuts[1::2], strict=False)]


@given(_extents(), st.sampled_from([1, 7, 512]))
def test_changed_ranges_are_the_touched_chunks(
    pairs: list[tuple[int, int]], chunk_bytes: int
) -> None:
    touched = {
        byte // chunk_bytes for offset, length in pairs for byte in range(offset, offset + length)
    }
    ranges = changed_ranges(_known(*pairs), chunk_bytes)
    listed = [index for item in ranges for index in range(item.start, item.stop)]
    assert listed == sorted(touched)
    for before, after in pairwise(ranges):
        assert before.stop < after.start, "neighbours are joined"


def test_whole_disk_covers_the_odd_last_chunk() -> None:
    assert whole_disk(1, CHUNK) == (ChunkRange(start=0, stop=1),)
    assert whole_disk(CHUNK + 1, CHUNK) == (ChunkRange(start=0, stop=2),)
    assert whole_disk(0, CHUNK) == ()
