"""Is a copied point the same as the one it was made from? Both maps are walked side by side before
the copy is committed, and every chunk the copy names must be in the other repository.

The content of each chunk was hashed when it was stored. What is proven here is that no chunk went
to a wrong place, that none was left out, and that none is taken for stored that is not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from holdfast.core.units import ceil_div
from holdfast.repository.disk_map import FANOUT, DiskMap
from holdfast.repository.errors import CopyMismatch
from holdfast.repository.format.pack import ID_BYTES
from holdfast.repository.format.point import Manifest
from holdfast.repository.repository import Repository

_Ids = NDArray[np.uint8]


def check_copy(
    source: Repository, original: Manifest, target: Repository, copied: Manifest
) -> None:
    """Everything that `copied` names must be durable in `target`. Raises CopyMismatch."""
    view = target.load_index().view()
    usable = np.ones(len(view.packs), dtype=np.bool_)
    for disk, twin in zip(original.disks, copied.disks, strict=True):
        theirs: list[NDArray[np.uint64]] = []
        for page in _pages(target.disk_map(twin)):
            used = page[page.any(axis=1)]
            if bool((view.positions(used, usable) < 0).any()):
                raise CopyMismatch(point=original.id, problem=f"{disk.key} lacks a chunk")
            theirs.append(_short(page))
        if source.chunk_bytes == target.chunk_bytes:
            ours = [_short(page) for page in _pages(source.disk_map(disk))]
            problem = _difference(_joined(ours), _joined(theirs))
            if problem:
                raise CopyMismatch(point=original.id, problem=f"{disk.key}: {problem}")


def _difference(ours: NDArray[np.uint64], theirs: NDArray[np.uint64]) -> str:
    """Equal ids here must be equal ids there and the other way round; zeroes stay zeroes."""
    if bool(((ours == 0) != (theirs == 0)).any()):
        return "zeroes are not in the same places"
    pairs = np.unique(np.stack([ours, theirs], axis=1), axis=0)
    if len(pairs) != len(np.unique(ours)) or len(pairs) != len(np.unique(theirs)):
        return "a chunk is in another's place"
    return ""


def _pages(stored: DiskMap) -> Iterator[_Ids]:
    """Ids of the chunks, one leaf page after another; zeroes where nothing is stored."""
    for number in range(ceil_div(stored.chunk_count, FANOUT)):
        count = min(FANOUT, stored.chunk_count - number * FANOUT)
        page = stored.page(1, number) or bytes(count * ID_BYTES)
        yield np.frombuffer(page, dtype=np.uint8).reshape(-1, ID_BYTES)


def _short(page: _Ids) -> NDArray[np.uint64]:
    """The first eight bytes of each id tell chunks of one disk apart; 0 for zeroes. Memory: 8
    bytes a chunk."""
    return np.ascontiguousarray(page[:, :8]).view(np.uint64).reshape(-1)


def _joined(pages: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate(pages) if pages else np.empty(0, dtype=np.uint64)
