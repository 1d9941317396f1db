"""Which stored chunks some restore point needs. Fails closed: anything that cannot be read or found
ends it with an error, never with "not needed"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import ProgressSink
from holdfast.repository.errors import ObjectMissing, StoreUnavailable
from holdfast.repository.format.point import Manifest
from holdfast.repository.marking import Marked, Marking
from holdfast.repository.reading import side_by_side
from holdfast.repository.repository import Repository


def mark(
    repository: Repository,
    *,
    avoid: Iterable[bytes],
    cancel: CancelToken,
    progress: ProgressSink,
) -> Marked:
    """Go through every point. A chunk that lies in several packs is marked in one of them, if it
    can be one outside `avoid` (packs that are to go).

    Raises ChunkMissing, ObjectDamaged, ObjectMissing, StoreUnavailable: then nothing is known.
    """
    began = repository.store.now()
    manifests = _stable_points(repository)
    marked = marking_of(repository, frozenset(avoid), cancel, progress).run(manifests)
    _require_all_points(repository, {manifest.id for manifest in manifests}, began)
    return marked


def bytes_of_only(
    repository: Repository,
    points: Collection[str],
    *,
    cancel: CancelToken,
    progress: ProgressSink,
) -> int:
    """Stored bytes of the chunks that these points need and no other.

    When it returns, no point lacks a chunk. Raises what `mark` raises.
    """
    manifests = _stable_points(repository)
    marking = marking_of(repository, frozenset(), cancel, progress)
    others = marking.run([manifest for manifest in manifests if manifest.id not in points])
    others_bytes = int(others.used_bytes().sum())
    everything = marking.run([manifest for manifest in manifests if manifest.id in points])
    return int(everything.used_bytes().sum()) - others_bytes


def _stable_points(repository: Repository) -> list[Manifest]:
    """All manifests, listed again until two listings agree, so that one that appears while they
    are read is not missed. Begun anew when a point was deleted meanwhile."""
    before: list[str] | None = None
    while True:
        names = repository.point_ids()
        if names == before:
            try:
                return _read_all(repository, names)
            except ObjectMissing:
                if names == repository.point_ids():
                    raise
                names = None
        before = names


def _read_all(repository: Repository, names: Sequence[str]) -> list[Manifest]:
    """From the storage itself, not from a cache. Raises ObjectDamaged, ObjectMissing."""
    manifests: list[Manifest] = []
    for found in repository.manifests.read_each(names):
        if not isinstance(found, Manifest):
            raise found
        manifests.append(found)
    return manifests


def _require_all_points(repository: Repository, known: Collection[str], began: datetime) -> None:
    """A storage that was away for the listings before, and is back, must not make points look
    deleted; one that is still away has no sentinel. Newer points are no matter: their writers'
    leases kept what they rely on. Raises StoreUnavailable, RepositoryIncomplete."""
    repository.require_sentinel()
    for info in repository.store.list("points/"):
        if info.modified < began and info.key.removeprefix("points/") not in known:
            problem = f"a listing left out {info.key}, which is there"
            raise StoreUnavailable(location=repository.location, problem=problem)


def marking_of(
    repository: Repository,
    avoid: frozenset[bytes],
    cancel: CancelToken,
    progress: ProgressSink,
    *,
    pass_over: bool = False,
) -> Marking:
    """Over everything in the store, packs that no index object names included."""
    (index, stored), damaged = side_by_side(
        repository.store, repository.complete_index, repository.proofs.damaged
    )
    return Marking(
        index.view(),
        stored,
        damaged,
        repository.chunks,
        avoid=avoid,
        cancel=cancel,
        progress=progress,
        pass_over=pass_over,
    )
