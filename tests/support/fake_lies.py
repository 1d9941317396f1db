"""The ways a hypervisor's list of changed blocks has been wrong in the field, one function each.

Harmless ones (`HARMLESS`) must be taken as they are or put right; malformed ones (`MALFORMED`)
can be refused at sight; the rest look like a good list and only an audit finds them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import Enum

from holdfast.core.extents import Extent


class LieKind(Enum):
    MISS_BLOCK = "miss_block"
    """The middle changed granule is not listed."""
    MISS_SOME = "miss_some"
    """One granule in eight is not listed, chosen by a fixed seed."""
    SHIFT_GRANULE = "shift_granule"
    """Every extent is one granule too far."""
    STALE_TOKEN = "stale_token"  # noqa: S105
    """A token of an earlier epoch of the disk is accepted, and nothing is said to have changed."""
    TRUNCATED_LIST = "truncated_list"
    """The second half of the list is missing."""
    EMPTY_LIST = "empty_list"
    """Nothing changed, it says."""
    SHORTENED = "shortened"
    """Every extent ends one granule early."""
    OTHER_DISK = "other_disk"
    """The list of the VM's other disk."""
    EXTRA_EXTENTS = "extra_extents"
    """Every second unchanged granule is listed as well."""
    EVERYTHING = "everything"
    """The whole disk is listed."""
    OVERLAPPING = "overlapping"
    UNSORTED = "unsorted"
    BEYOND_END = "beyond_end"
    NEGATIVE_OFFSET = "negative_offset"
    ZERO_LENGTH = "zero_length"


HARMLESS = frozenset({LieKind.EXTRA_EXTENTS, LieKind.EVERYTHING})
MALFORMED = frozenset(
    {
        LieKind.OVERLAPPING,
        LieKind.UNSORTED,
        LieKind.BEYOND_END,
        LieKind.NEGATIVE_OFFSET,
        LieKind.ZERO_LENGTH,
    }
)
SILENT = frozenset(LieKind) - HARMLESS - MALFORMED
"""Well-formed lists that leave out changes: the dangerous ones."""

_Granules = list[int]


def _miss_some(granules: _Granules, _count: int) -> _Granules:
    chance = random.Random(1)
    return [granule for granule in granules if chance.randrange(8)]


_GRANULE_LIES: dict[LieKind, Callable[[_Granules, int], _Granules]] = {
    LieKind.MISS_BLOCK: lambda have, _: have[: len(have) // 2] + have[len(have) // 2 + 1 :],
    LieKind.MISS_SOME: _miss_some,
    LieKind.SHIFT_GRANULE: lambda have, count: [g + 1 for g in have if g + 1 < count],
    LieKind.TRUNCATED_LIST: lambda have, _: have[: len(have) // 2],
    LieKind.EMPTY_LIST: lambda _have, _: [],
    LieKind.SHORTENED: lambda have, _: [g for g in have if g + 1 in set(have)],
    LieKind.EXTRA_EXTENTS: lambda have, count: sorted({*have, *range(0, count, 2)}),
    LieKind.EVERYTHING: lambda _have, count: list(range(count)),
}


def lie_about_granules(kind: LieKind, granules: Sequence[int], count: int) -> list[int]:
    """The granules the hypervisor would list, of a disk of `count`."""
    change = _GRANULE_LIES.get(kind)
    return change(list(granules), count) if change else list(granules)


def lie_about_extents(kind: LieKind, extents: Sequence[Extent], size_bytes: int) -> list[Extent]:
    """The list the hypervisor would hand over, malformed as `kind` says."""
    have = list(extents) or [Extent(offset=0, length=min(size_bytes, 512))]
    first, last = have[0], have[-1]
    if kind is LieKind.OVERLAPPING:
        return [first, *have]
    if kind is LieKind.UNSORTED:
        tail = Extent(offset=max(last.end - 1, 0), length=1)
        return [tail, *have[:-1], Extent(offset=last.offset, length=max(last.length - 1, 0))]
    if kind is LieKind.BEYOND_END:
        return [*have, Extent(offset=size_bytes, length=4096)]
    if kind is LieKind.NEGATIVE_OFFSET:
        return [Extent(offset=-512, length=512), *have]
    if kind is LieKind.ZERO_LENGTH:
        return [Extent(offset=first.offset, length=0), *have]
    return list(extents)
