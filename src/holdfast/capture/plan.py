"""Which bytes of a disk to read, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from holdfast.core.extents import total_length
from holdfast.core.units import ceil_div, format_bytes
from holdfast.hypervisors.driver import Changes, ChangesKnown, ChangesUnknown, Disk


class CaptureMode(Enum):
    CHANGED = "changed"
    """Read what the hypervisor says has changed since the parent point."""
    COMPARE = "compare"
    """Read everything, store what differs from the parent point."""
    FULL = "full"
    """Read everything; there is nothing to compare with, or it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentDisk:
    """The same disk at the last committed point."""

    point_id: str
    size_bytes: int
    suspect: str = ""
    """Why its content is in doubt; empty when it is not."""
    damage: str = ""
    """What is damaged of its stored data, in words; empty when nothing is known to be."""
    map_damaged: bool = False
    """The damage is in the record of which chunks it has: there is nothing to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRange:
    """Chunks `start` to `stop` (exclusive) of a disk's grid."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """What will be read of one disk."""

    disk: Disk
    mode: CaptureMode
    reason: str
    ranges: Sequence[ChunkRange]
    chunk_bytes: int

    @property
    def chunk_count(self) -> int:
        return ceil_div(self.disk.size_bytes, self.chunk_bytes)

    @property
    def planned_bytes(self) -> int:
        """Bytes in the chosen chunks, an upper bound of what is read (holes are not)."""
        chunks = sum(item.stop - item.start for item in self.ranges)
        return min(chunks * self.chunk_bytes, self.disk.size_bytes)

    def describe(self) -> str:
        """One line for a person."""
        return (
            f"{self.disk.key}: {self.mode.value}, up to {format_bytes(self.planned_bytes)} of "
            f"{format_bytes(self.disk.size_bytes)}: {self.reason}"
        )


def plan_disk(
    disk: Disk,
    changes: Changes,
    parent: ParentDisk | None,
    *,
    chunk_bytes: int,
    full_requested: bool = False,
) -> DiskPlan:
    """Choose the mode. A lost or doubtful record of changes costs a read, never a new full."""
    changes = _well_formed(changes, disk.size_bytes)
    mode, reason = _choose(disk, changes, parent, full_requested=full_requested)
    if mode is CaptureMode.CHANGED and isinstance(changes, ChangesKnown):
        ranges = changed_ranges(changes, chunk_bytes)
    else:
        ranges = whole_disk(disk.size_bytes, chunk_bytes)
    return DiskPlan(disk=disk, mode=mode, reason=reason, ranges=ranges, chunk_bytes=chunk_bytes)


def _choose(
    disk: Disk, changes: Changes, parent: ParentDisk | None, *, full_requested: bool
) -> tuple[CaptureMode, str]:
    if parent is None:
        return CaptureMode.FULL, "this repository has no earlier point of this disk"
    if full_requested:
        return CaptureMode.FULL, "a full backup was asked for"
    if parent.damage or parent.suspect:
        return _choose_over_doubt(parent)
    if parent.size_bytes != disk.size_bytes:
        before, after = format_bytes(parent.size_bytes), format_bytes(disk.size_bytes)
        return CaptureMode.COMPARE, f"the disk was resized from {before} to {after}"
    if isinstance(changes, ChangesUnknown):
        return CaptureMode.COMPARE, changes.reason
    changed = format_bytes(total_length(changes.extents))
    return CaptureMode.CHANGED, f"{changed} changed since point {parent.point_id[:13]}"


def _choose_over_doubt(parent: ParentDisk) -> tuple[CaptureMode, str]:
    if not parent.damage:
        return CaptureMode.COMPARE, f"the last point is in doubt: {parent.suspect}"
    mode = CaptureMode.FULL if parent.map_damaged else CaptureMode.COMPARE
    return mode, f"{parent.damage}: reading everything to heal it"


def _well_formed(changes: Changes, size_bytes: int) -> Changes:
    """A list that breaks the driver contract in form is believed in nothing: its sender may have
    left out as well as garbled."""
    if isinstance(changes, ChangesUnknown):
        return changes
    position = 0
    for extent in changes.extents:
        if extent.length <= 0 or extent.offset < position or extent.end > size_bytes:
            where = f"{extent.length} bytes at byte {extent.offset}"
            return ChangesUnknown(reason=f"the list of changes is malformed ({where})")
        position = extent.end
    return changes


def whole_disk(size_bytes: int, chunk_bytes: int) -> tuple[ChunkRange, ...]:
    """The one range of all chunks; none for an empty disk."""
    count = ceil_div(size_bytes, chunk_bytes)
    return (ChunkRange(start=0, stop=count),) if count else ()


def changed_ranges(changes: ChangesKnown, chunk_bytes: int) -> tuple[ChunkRange, ...]:
    """The chunks that the changed extents touch, joined and sorted."""
    ranges: list[ChunkRange] = []
    for extent in sorted(changes.extents, key=lambda item: item.offset):
        if extent.length == 0:
            continue
        start, stop = extent.offset // chunk_bytes, ceil_div(extent.end, chunk_bytes)
        if ranges and start <= ranges[-1].stop:
            previous = ranges.pop()
            start, stop = previous.start, max(previous.stop, stop)
        ranges.append(ChunkRange(start=start, stop=stop))
    return tuple(ranges)
