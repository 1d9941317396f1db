"""Byte ranges of a disk and the arithmetic on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """`length` bytes from `offset` of a disk's contents as the guest sees them.

    `zero` is true when the range is known to read as zeroes (a hole, or unallocated), so that
    nobody needs to read it. False means only "must be read".
    """

    offset: int
    length: int
    zero: bool = False

    @property
    def end(self) -> int:
        return self.offset + self.length


def merge_extents(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Join neighbours of the same kind. Input sorted by offset and without overlap."""
    pending: Extent | None = None
    for extent in extents:
        if extent.length == 0:
            continue
        if pending and pending.end == extent.offset and pending.zero == extent.zero:
            pending = Extent(
                offset=pending.offset, length=pending.length + extent.length, zero=pending.zero
            )
            continue
        if pending:
            yield pending
        pending = extent
    if pending:
        yield pending


def clip_extents(extents: Iterable[Extent], size_bytes: int) -> Iterator[Extent]:
    """The parts of `extents` inside a disk of `size_bytes`."""
    for extent in extents:
        start = max(extent.offset, 0)
        end = min(extent.end, size_bytes)
        if start < end:
            yield Extent(offset=start, length=end - start, zero=extent.zero)


def total_length(extents: Iterable[Extent]) -> int:
    """Bytes covered, overlaps counted twice."""
    return sum(extent.length for extent in extents)
