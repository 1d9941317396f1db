"""Put right the objects that every reader needs and that are there once only: `config`, the
sentinel, and the manifests of points.

What replaces a damaged one is proven first, and the damaged one is kept under another name. Enter
at `mend_header`, which is for who cannot open the repository, and `mend_manifests`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import Clock, SystemClock, format_time
from holdfast.core.failpoints import failpoint
from holdfast.core.ids import is_uuid
from holdfast.core.progress import ProgressSink
from holdfast.repository.bundles import repeated
from holdfast.repository.copy import copy_points
from holdfast.repository.errors import (
    HeaderUnproven,
    LeaseHeld,
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
    ObjectsHidden,
    PointAmbiguous,
    PointNotFound,
)
from holdfast.repository.format.config import encode_config
from holdfast.repository.format.envelope import Kind
from holdfast.repository.format.keys import Credential
from holdfast.repository.header import CONFIG_KEY, Header, Part, find_header
from holdfast.repository.leases import MAINTENANCE, Lease
from holdfast.repository.locking import points_locked_until
from holdfast.repository.maintenance import with_room
from holdfast.repository.presence import SENTINEL_CONTENT, SENTINEL_KEY
from holdfast.repository.repository import Repository
from holdfast.repository.restore_point import RestorePoint
from holdfast.repository.session import point_key
from holdfast.repository.set_aside import put_in_place
from holdfast.repository.store.opening import locking_bucket
from holdfast.repository.store.store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    key: str
    problem: str
    """What was wrong with it."""
    taken_from: str
    """Where what it is now comes from, in words."""
    was_missing: bool = False
    """Else what was there is kept below `damaged/`."""


@dataclass(slots=True, kw_only=True)
class MendReport:
    mended: list[Mended] = field(default_factory=list[Mended])
    left: dict[str, str] = field(default_factory=dict[str, str])
    """Damaged objects that stay so, by key, and why."""


# -- config and sentinel ----------------------------------------------------------------------


def mend_header(
    store: ObjectStore,
    credential: Credential,
    *,
    without_proof: bool = False,
    clock: Clock | None = None,
) -> list[Mended]:
    """Makes a repository that cannot be opened one that can, and changes nothing of one that can.

    `without_proof`: somebody who knows that all of the storage is there, and that no newer program
    wrote to it, says so. Raises HeaderUnproven without that where it matters, ObjectLocked while
    the damaged object is immutable, LeaseHeld, OutOfSpace, StoreUnavailable and what `find_header`
    raises, and ObjectsHidden when somebody deleted or overwrote what is locked; then the object is
    as it was.
    """
    header = find_header(store, credential)
    mended = _header_mended(header)
    if not mended:
        return []
    _require_proof(header, store.location, without_proof=without_proof)
    _require_nothing_hidden(store)
    repository = Repository(store, header.config, header.master, clock or SystemClock())
    whole = {
        CONFIG_KEY: encode_config(header.config, header.master),
        SENTINEL_KEY: repository.sealer.seal(Kind.SENTINEL, SENTINEL_KEY, SENTINEL_CONTENT),
    }
    parts = {CONFIG_KEY: header.config_part, SENTINEL_KEY: header.sentinel_part}
    what = "the mending of the repository"
    lease = Lease(store, repository.sealer, repository.clock, MAINTENANCE, what)
    with with_room(store, lease.acquire):
        for item in mended:
            lease.confirm()
            put = partial(_put, repository.locking, item.key, parts[item.key], whole[item.key])
            with_room(store, put)
            failpoint("mending.between_objects")
            # A crash here leaves one of two that were damaged, for the next run.
    return mended


def _header_mended(header: Header) -> list[Mended]:
    found: list[Mended] = []
    if header.config_part.problem:
        source = "its keyed hash" if header.is_proven else "key slot, sentinel and points"
        found.append(_mended(CONFIG_KEY, header.config_part, source))
    if header.sentinel_part.problem:
        found.append(_mended(SENTINEL_KEY, header.sentinel_part, "the master key"))
    return found


def _mended(key: str, part: Part, source: str) -> Mended:
    return Mended(key=key, problem=part.problem, taken_from=source, was_missing=part.stored is None)


def _require_proof(header: Header, location: str, *, without_proof: bool) -> None:
    """Raises HeaderUnproven."""

    def refuse(key: str, problem: str) -> None:
        raise HeaderUnproven(key=key, location=location, problem=problem)

    if header.sentinel_part.stored is None and not without_proof:
        refuse(SENTINEL_KEY, "it is what tells whether all of the storage is here, and is missing")
    if header.is_proven:
        return
    if header.sentinel_content not in {None, SENTINEL_CONTENT}:
        refuse(CONFIG_KEY, "by the sentinel, a newer version of Holdfast made this repository")
    if header.sentinel_content is None and not without_proof:
        refuse(CONFIG_KEY, "neither its keyed hash nor the sentinel is left to prove what it said")
    if not header.has_chunk_bytes:
        refuse(CONFIG_KEY, "no manifest can be read, and so nothing tells the size of chunks")


def _require_nothing_hidden(store: ObjectStore) -> None:
    """An object that seems to be missing or damaged may lie whole below a marker or another
    version, and points that seem not to be there as well. Raises ObjectsHidden."""
    bucket = locking_bucket(store)
    if bucket is not None:
        hidden = [bucket.hidden(prefix) for prefix in (CONFIG_KEY, SENTINEL_KEY, "points/")]
        if count := sum(map(len, hidden)):
            raise ObjectsHidden(location=store.location, count=count)


def _put(store: ObjectStore, key: str, part: Part, whole: bytes) -> None:
    if part.stored is None:
        store.put_new(key, [whole])
    else:
        put_in_place(store, key, part.stored, whole)


# -- manifests --------------------------------------------------------------------------------


def mend_manifests(
    repository: Repository,
    source: Repository | None,
    *,
    confirm: Callable[[], None],
    cancel: CancelToken,
    progress: ProgressSink,
) -> MendReport:
    """Puts back each damaged manifest that a bundle repeats, or that the same point in `source`
    makes up for. Call within a maintenance session, so that no compact takes a point for gone;
    `confirm` raises LeaseLost once it is none any more.

    Raises OutOfSpace, StoreUnavailable, LeaseLost, Cancelled.
    """
    report = MendReport()
    # Anybody may have put objects of other names there: they are no points.
    damaged = repository.manifests.damaged([*filter(is_uuid, repository.point_ids())])
    locked = points_locked_until(repository.store, repository.locks, damaged)
    for point_id, until in locked.items():
        report.left[point_key(point_id)] = (
            f"it is immutable until {format_time(until)}; `holdfast repair` can put it back then"
        )
    open_ = {point: stored for point, stored in damaged.items() if point not in locked}
    confirm()
    _from_bundles(repository, open_, report)
    if source is not None and open_:
        confirm()
        if source.id == repository.id:
            _from_the_same(repository, source, open_, report)
        else:
            _from_another(repository, source, open_, report, cancel, progress)
    for point_id in open_:
        report.left.setdefault(point_key(point_id), "nothing that is left repeats it")
    return report


def _from_bundles(repository: Repository, damaged: dict[str, bytes], report: MendReport) -> None:
    """Takes what it has put back out of `damaged`."""
    if not damaged:
        return
    for point_id, content in repeated(repository.manifests.bundles, damaged).items():
        key = point_key(point_id)
        sealed = repository.sealer.seal(Kind.POINT, key, content)
        _put_manifest(repository, point_id, damaged, sealed, report, "a bundle")


def _from_the_same(
    repository: Repository, source: Repository, damaged: dict[str, bytes], report: MendReport
) -> None:
    """From a plain copy of the repository."""
    for point_id in [*damaged]:
        with suppress(ObjectMissing, ObjectDamaged):
            stored = source.store.get(point_key(point_id))
            if repository.manifests.is_genuine(point_id, stored):
                where = "the other repository"
                _put_manifest(repository, point_id, damaged, stored, report, where)


def _from_another(
    repository: Repository,
    source: Repository,
    damaged: dict[str, bytes],
    report: MendReport,
    cancel: CancelToken,
    progress: ProgressSink,
) -> None:
    for point in _same_points(source, damaged):
        key = point_key(point.id)
        try:
            copied = copy_points(
                source,
                repository,
                [point],
                cancel=cancel,
                progress=progress,
                in_place_of={point.id: damaged[point.id]},
            )
        except (LeaseHeld, ObjectLocked, ObjectExists) as error:
            report.left[key] = f"it cannot be replaced now: {error.message}"
            continue
        if problem := copied.failed.get(point.id):
            report.left[key] = f"it cannot be read in the other repository: {problem}"
        if point.id in copied.copied:
            _note(point.id, damaged, report, "the other repository")


def _same_points(source: Repository, point_ids: Iterable[str]) -> list[RestorePoint]:
    """Those of the points that can be read there."""
    found: list[RestorePoint] = []
    there = set(source.point_ids())
    for point_id in point_ids:
        if point_id in there:
            with suppress(PointAmbiguous, PointNotFound, ObjectMissing, ObjectDamaged):
                point = source.point(point_id)
                found += [point] if point.id == point_id else []
    return found


def _put_manifest(
    repository: Repository,
    point_id: str,
    damaged: dict[str, bytes],
    sealed: bytes,
    report: MendReport,
    source: str,
) -> None:
    key = point_key(point_id)
    put = partial(put_in_place, repository.locking, key, damaged[point_id], sealed)
    try:
        with_room(repository.store, put)
    except ObjectMissing:
        return  # deleted since: legal
    except (ObjectLocked, ObjectExists) as error:
        report.left[key] = f"it cannot be replaced now: {error.message}"
        return
    _note(point_id, damaged, report, source)


def _note(point_id: str, damaged: dict[str, bytes], report: MendReport, source: str) -> None:
    del damaged[point_id]
    problem = "its manifest was damaged"
    report.mended.append(Mended(key=point_key(point_id), problem=problem, taken_from=source))
