"""Which stored chunks some restore point needs. Fails closed: anything that cannot be read or found
ends it with an error, never with "not needed"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import ProgressSink
from holdfast.repository.errors import ObjectMissing, StoreUnavailable
from holdfast.repository.format.point import Manifest
from holdfast.repository.manifests import Found
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
    began, names = side_by_side(repository.store, repository.store.now, repository.point_ids)
    manifests, marking = _stable_points(
        repository, names, lambda: marking_of(repository, frozenset(avoid), cancel, progress)
    )
    marked = marking.run(manifests)
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
    manifests, marking = _stable_points(
        repository,
        repository.point_ids(),
        lambda: marking_of(repository, frozenset(), cancel, progress),
    )
    others = marking.run([manifest for manifest in manifests if manifest.id not in points])
    others_bytes = int(others.used_bytes().sum())
    everything = marking.run([manifest for manifest in manifests if manifest.id in points])
    return int(everything.used_bytes().sum()) - others_bytes


def _stable_points(
    repository: Repository, names: Sequence[str], load: Callable[[], Marking]
) -> tuple[list[Manifest], Marking]:
    """All manifests, and what `load` returns, which reads the index. `names` are the points listed
    a moment ago. They are listed again until two listings agree, so that one that appears while
    they are read is not missed. Begun anew when a point was deleted meanwhile.

    On a distant storage the second listing, the manifests and the index are asked for together.
    Of the index no more is needed than that it is read after the first listing, which says the
    same as the second: what a point needs was in it before the point was there."""
    store = repository.store

    def read() -> list[Found]:
        return list(repository.manifests.read_each(names))

    while True:
        (again, found), marking = side_by_side(
            store, lambda: side_by_side(store, repository.point_ids, read), load
        )
        if again == names:
            missing = [item for item in found if isinstance(item, ObjectMissing)]
            again = repository.point_ids() if missing else again
            if again == names:
                return _manifests(found), marking
        names = again


def _manifests(found: Iterable[Found]) -> list[Manifest]:
    """Raises ObjectDamaged, ObjectMissing."""
    manifests: list[Manifest] = []
    for item in found:
        if not isinstance(item, Manifest):
            raise item
        manifests.append(item)
    return manifests


def _require_all_points(repository: Repository, known: Collection[str], began: datetime) -> None:
    """A storage that was away for the listings before, and is back, must not make points look
    deleted; one that is still away has no sentinel. Newer points are no matter: their writers'
    leases kept what they rely on. Raises StoreUnavailable, RepositoryIncomplete."""
    store = repository.store
    _, listed = side_by_side(
        store, repository.require_sentinel, lambda: list(store.list("points/"))
    )
    for info in listed:
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
