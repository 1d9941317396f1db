"""Ranges of a disk that cannot be read any more, for a restore that was told to go on without
them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from holdfast.repository import DiskMap
from holdfast.repository.disk_map import FANOUT
from holdfast.repository.losses import DAMAGE

__all__ = ["DAMAGE", "Hole", "join_holes", "readable_chunks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Bytes that hold zeroes because what was there cannot be read."""

    offset: int
    length: int
    problem: str

    @property
    def end(self) -> int:
        return self.offset + self.length


def join_holes(holes: Iterable[Hole]) -> list[Hole]:
    """Sorted; neighbours of one cause joined."""
    joined: list[Hole] = []
    for hole in sorted(holes, key=lambda item: item.offset):
        last = joined[-1] if joined else None
        if last is not None and last.end == hole.offset and last.problem == hole.problem:
            joined[-1] = replace(last, length=last.length + hole.length)
        else:
            joined.append(hole)
    return joined


def readable_chunks(
    stored: DiskMap, chunk_bytes: int, size_bytes: int, holes: list[Hole]
) -> Iterator[tuple[int, bytes]]:
    """`(index, id)` of every chunk that is not zero, as far as the map can be read; what lies below
    a page that cannot goes into `holes`."""
    index = 0
    while index < stored.chunk_count:
        lost = _lost_page(stored, index)
        if lost is None:
            stop = (index // FANOUT + 1) * FANOUT
            yield from stored.data_chunks(index, stop)
        else:
            span, problem = lost
            stop = (index // span + 1) * span
            offset = index * chunk_bytes
            length = min(stop * chunk_bytes, size_bytes) - offset
            holes.append(Hole(offset=offset, length=length, problem=problem))
        index = stop


def _lost_page(stored: DiskMap, index: int) -> tuple[int, str] | None:
    """Chunks below the highest unreadable page on the way to a chunk, and why it is unreadable."""
    for level in range(stored.height, 0, -1):
        span = FANOUT**level
        try:
            stored.page(level, index // span)
        except DAMAGE as error:
            return span, error.message
    return None
