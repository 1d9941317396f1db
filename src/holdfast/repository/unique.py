"""What each restore point alone holds: the stored bytes that would be reclaimed if it were deleted
and no other. For people; nothing is ever deleted by it. Enter at `unique_bytes`.

Pages that points share are read once by the first and once more by the second that comes to them;
from then on everything below is known to be shared. Memory: four bytes a chunk of the repository,
and one small entry a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.repository.format.pack import ID_BYTES, ZERO_ID, ChunkType
from holdfast.repository.reading import each
from holdfast.repository.repository import Repository
from holdfast.repository.restore_point import RestorePoint

Owner = tuple[str, str]
"""Point and disk; the disk is empty for what belongs to none: the VM's definition, NVRAM."""
_NOBODY, _SEVERAL = -1, -2
_STORED_MASK = np.uint32((1 << 29) - 1)
_BATCH = 500_000


def unique_bytes(repository: Repository, *, cancel: CancelToken) -> Mapping[Owner, int]:
    """For every disk of every point. A chunk that two disks of one point need counts for the first.
    Raises Cancelled, ObjectDamaged for a manifest that cannot be read, and what reading raises."""
    damaged: list[HoldfastError] = []
    points = repository.points(damaged.append)
    if damaged:
        raise damaged[0]
    counting = _Counting(repository, cancel)
    for point in points:
        counting.add(point)
    return counting.result()


class _Counting:
    def __init__(self, repository: Repository, cancel: CancelToken) -> None:
        self._repository = repository
        self._cancel = cancel
        index, stored = repository.complete_index()
        self._view = index.view()
        hashes = [pack_hash for pack_hash, _ in self._view.packs]
        self._exists = np.array([name in stored for name in hashes], dtype=np.bool_)
        self._owner_of_row = np.full(len(self._view.rows), _NOBODY, dtype=np.int32)
        self._owner_of_page: dict[bytes, int] = {}
        self._owners: list[Owner] = []
        self._point_of_owner: list[int] = []
        self._point_count = 0

    def add(self, point: RestorePoint) -> None:
        number = self._point_count
        self._point_count += 1
        definition = self._new_owner((point.id, ""), number)
        chunks = b"".join(b"".join(item.chunks) for item in point.manifest.artifacts)
        self._claim(chunks, definition, number)
        for disk in point.manifest.disks:
            owner = self._new_owner((point.id, disk.key), number)
            if disk.root != ZERO_ID:
                self._walk(disk.root, disk.height, owner, number)

    def result(self) -> Mapping[Owner, int]:
        alone = self._owner_of_row >= 0
        stored = (self._view.rows["stored"] & _STORED_MASK)[alone].astype(np.float64)
        owners = self._owner_of_row[alone]
        sums = np.bincount(owners, stored, minlength=len(self._owners)).astype(np.int64)
        return dict(zip(self._owners, sums.tolist(), strict=True))

    def _new_owner(self, owner: Owner, point: int) -> int:
        self._owners.append(owner)
        self._point_of_owner.append(point)
        return len(self._owners) - 1

    def _walk(self, root: bytes, height: int, owner: int, point: int) -> None:
        pages = [root]
        held: list[bytes] = []
        for level in range(height, 0, -1):
            pages = [page for page in dict.fromkeys(pages) if self._enters(page, owner, point)]
            held.append(b"".join(pages))
            below: list[bytes] = []
            for content in each(self._read_page, pages):
                self._cancel.check()
                if level > 1:
                    below += _split(content)
                else:
                    held.append(content)
                    if sum(map(len, held)) > _BATCH * ID_BYTES:
                        self._claim(b"".join(held), owner, point)
                        held.clear()
            pages = below
        self._claim(b"".join(held), owner, point)

    def _enters(self, page: bytes, owner: int, point: int) -> bool:
        """Whether what is below has to be looked at on behalf of this owner."""
        if page == ZERO_ID:
            return False
        before = self._owner_of_page.get(page)
        if before is None:
            self._owner_of_page[page] = owner
            return True
        if before == _SEVERAL or self._point_of_owner[before] == point:
            return False
        self._owner_of_page[page] = _SEVERAL
        return True

    def _read_page(self, page: bytes) -> bytes:
        return self._repository.chunks.read(page, ChunkType.MAP)

    def _claim(self, ids: bytes, owner: int, point: int) -> None:
        """What nobody has becomes the owner's; what another point has, several have."""
        if not ids:
            return
        rows = np.frombuffer(ids, dtype=np.uint8).reshape(-1, ID_BYTES)
        rows = rows[rows.any(axis=1)]
        places = self._view.positions(rows, self._exists)
        places = places[places >= 0]
        before = self._owner_of_row[places]
        self._owner_of_row[places[before == _NOBODY]] = owner
        points = np.array([*self._point_of_owner, -1, -1], dtype=np.int32)
        others = (before >= 0) & (points[before] != point)
        self._owner_of_row[places[others]] = _SEVERAL


def _split(ids: bytes) -> Iterator[bytes]:
    return (ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES))
