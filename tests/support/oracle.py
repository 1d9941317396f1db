"""The soundness oracle: whether a repository still keeps its promises after any fault.

Every fault test ends in `assert_repository_sound`. It uses nothing but the public read path, the
one a restore uses, and trusts nothing that the faulty process said except what it acknowledged.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from holdfast.core.errors import HoldfastError
from holdfast.core.units import ceil_div
from holdfast.repository import (
    Credential,
    DiskRecord,
    LocalStore,
    Repository,
    RestorePoint,
)
from holdfast.repository.format.envelope import Sealer
from holdfast.repository.leases import read_lease
from holdfast.repository.store.store import ObjectStore
from tests.support.sparse_bytes import SparseBytes

TEMPORARY_PREFIX = ".tmp-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The content of a disk by size and BLAKE3, for tests that cannot keep the bytes."""

    size_bytes: int
    blake3_hex: str

    @classmethod
    def of(cls, content: bytes) -> Digest:
        return cls(size_bytes=len(content), blake3_hex=blake3(content).hexdigest())


DiskContent = bytes | Digest | SparseBytes
Acknowledged = Mapping[str, Mapping[str, DiskContent]]
"""By point id, then by disk key: what the caller was told is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soundness:
    """What the oracle saw, for tests that count."""

    points: tuple[str, ...]
    unacknowledged: tuple[str, ...]
    """Complete points that nobody was told of: a crash between commit and answer."""


def assert_repository_sound(
    store: ObjectStore,
    credential: Credential,
    acknowledged: Acknowledged,
    *,
    next_backup: Callable[[Repository], str] | None = None,
    no_writer: bool = False,
) -> Soundness:
    """Open the repository anew and check it as a whole.

    - every acknowledged point lists and each of its disks reads back to the recorded content;
    - every other visible point is complete: each chunk of it can be read and verified;
    - the index objects name every chunk of every point, so that nothing had to be recovered from
      the packs (`Repository` would do so silently);
    - `next_backup` (runs a backup, returns its point's id) succeeds without help, when given;
    - with `no_writer` nobody holds a lease any more, and in a folder no temporary file outlives
      `remove_leftovers`.
    An error of any kind on the way, typed or not, is a failure: nobody asked for damage here.
    """
    try:
        repository = Repository.open(store, credential)
        points = {point.id: point for point in repository.points()}
        known_chunks = len(repository.load_index())
        for point_id, disks in acknowledged.items():
            _assert_point(repository, points.get(point_id), point_id, disks)
        others = sorted(set(points) - set(acknowledged))
        for point_id in others:
            read_point(repository, points[point_id])
        recovered = len(repository.load_index()) - known_chunks
        assert not recovered, f"{recovered} chunks are in no index object"
        if next_backup is not None:
            _assert_next_backup(store, credential, repository, next_backup)
        if no_writer:
            assert_no_leases(repository)
            assert_no_leftovers(store)
    except HoldfastError as error:
        raise AssertionError(f"the repository is not sound: {error.code}: {error}") from error
    return Soundness(points=tuple(sorted(points)), unacknowledged=tuple(others))


def read_point(repository: Repository, point: RestorePoint) -> None:
    """Read every chunk of every disk and artifact; raises when one is missing or damaged."""
    for disk in point.manifest.disks:
        for _ in disk_chunks(repository, disk):
            pass
    for artifact in point.manifest.artifacts:
        repository.read_artifact(artifact)


def disk_chunks(repository: Repository, disk: DiskRecord) -> Iterator[tuple[int, bytes]]:
    """`(offset, bytes)` of every chunk that is not zero, each of the exact length."""
    step = repository.chunk_bytes
    for index, chunk_id in repository.disk_map(disk).data_chunks():
        data = repository.chunks.read(chunk_id)
        expected = min(step, disk.size_bytes - index * step)
        assert len(data) == expected, f"chunk {index} of {disk.key} has {len(data)} bytes"
        yield index * step, data


def read_disk(repository: Repository, disk: DiskRecord) -> bytes:
    """The whole content of a small disk."""
    content = bytearray(disk.size_bytes)
    for offset, data in disk_chunks(repository, disk):
        content[offset : offset + len(data)] = data
    return bytes(content)


def assert_disk(repository: Repository, disk: DiskRecord, expected: DiskContent) -> None:
    """The disk reads back to exactly `expected`."""
    if isinstance(expected, SparseBytes):
        _assert_sparse(repository, disk, expected)
    elif isinstance(expected, Digest):
        assert disk.size_bytes == expected.size_bytes, f"{disk.key} has another size"
        digest = _hash_disk(repository, disk)
        assert digest == expected.blake3_hex, f"{disk.key} has another content"
    else:
        assert disk.size_bytes == len(expected), f"{disk.key} has another size"
        content = read_disk(repository, disk)
        assert content == expected, f"{disk.key} differs {_first_difference(content, expected)}"


def assert_no_leases(repository: Repository) -> None:
    """The newest generation of every lease says that it was given up, or its holder is dead."""
    sealer: Sealer = vars(repository)["_sealer"]  # what a lease says is shown to no caller
    newest: dict[str, str] = {}
    for info in repository.store.list("leases/"):
        resource = info.key.rpartition("/")[0]
        newest[resource] = max(info.key, newest.get(resource, ""))
    for resource, key in newest.items():
        record = read_lease(repository.store, sealer, key)
        gone = record.released or record.process_is_dead()
        assert gone, f"{resource} is still held by process {record.pid}"


def assert_no_leftovers(store: ObjectStore) -> None:
    """After `remove_leftovers` a folder holds objects only."""
    if not isinstance(store, LocalStore):
        return
    store.remove_leftovers(older_than_s=-1)
    left = sorted(path.name for path in Path(store.location).rglob(f"{TEMPORARY_PREFIX}*"))
    assert not left, f"temporary files outlive their removal: {left[:5]}"


def _assert_point(
    repository: Repository,
    point: RestorePoint | None,
    point_id: str,
    disks: Mapping[str, DiskContent],
) -> None:
    assert point is not None, f"point {point_id} was acknowledged and is gone"
    records = {disk.key: disk for disk in point.manifest.disks}
    assert set(records) == set(disks), f"point {point_id} has disks {sorted(records)}"
    for key, expected in disks.items():
        assert_disk(repository, records[key], expected)
    for artifact in point.manifest.artifacts:
        repository.read_artifact(artifact)


def _assert_next_backup(
    store: ObjectStore,
    credential: Credential,
    repository: Repository,
    next_backup: Callable[[Repository], str],
) -> None:
    point_id = next_backup(repository)
    reopened = Repository.open(store, credential)
    point = reopened.point(point_id)
    reopened.load_index()
    read_point(reopened, point)


def _assert_sparse(repository: Repository, disk: DiskRecord, expected: SparseBytes) -> None:
    assert disk.size_bytes == expected.size_bytes, f"{disk.key} has another size"
    step = repository.chunk_bytes
    stored: set[int] = set()
    for offset, data in disk_chunks(repository, disk):
        stored.add(offset // step)
        assert data == expected.read(offset, len(data)), f"{disk.key} differs at {offset}"
    for extent in expected.allocated(0, expected.size_bytes):
        chunks = range(extent.offset // step, ceil_div(extent.end, step))
        for index in () if extent.zero else (index for index in chunks if index not in stored):
            length = min(step, expected.size_bytes - index * step)
            content = expected.read(index * step, length)
            assert not any(content), f"chunk {index} of {disk.key} was lost"


def _hash_disk(repository: Repository, disk: DiskRecord) -> str:
    hasher, position = blake3(), 0
    zeros = bytes(repository.chunk_bytes)
    for offset, data in [*disk_chunks(repository, disk), (disk.size_bytes, b"")]:
        while position < offset:
            gap = min(offset - position, len(zeros))
            hasher.update(zeros[:gap])
            position += gap
        hasher.update(data)
        position += len(data)
    return hasher.hexdigest()


def _first_difference(content: bytes, expected: bytes) -> str:
    stream, other = io.BytesIO(content), io.BytesIO(expected)
    offset = 0
    while (ours := stream.read(512)) == other.read(512) and ours:
        offset += len(ours)
    return f"first in the sector at byte {offset}"
