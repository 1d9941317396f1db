"""From a location and its options to a store, and from a store to what another process of ours
needs to open it too. The only place that knows every kind of store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from holdfast.core.errors import InvalidInput
from holdfast.repository.errors import NotARepository
from holdfast.repository.store.cached import CachedStore
from holdfast.repository.store.local import LocalStore
from holdfast.repository.store.s3_access import S3Access, S3Location, is_s3_url
from holdfast.repository.store.store import ObjectStore

if TYPE_CHECKING:
    from holdfast.repository.store.s3 import S3Store
    from holdfast.repository.store.s3_lock import LockingBucket


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What a location alone does not say. A folder needs none of it."""

    s3: S3Access | None = None
    """Needed for `s3://` locations."""
    cache_root: Path | None = None
    """Where objects of a distant repository that never change are kept; None keeps none."""


def open_store(location: str, options: StoreOptions | None = None) -> ObjectStore:
    """The store behind a folder's path or an `s3://` URL. Raises NotARepository when there is no
    such folder, InvalidInput for what cannot be a location."""
    options = options or StoreOptions()
    if is_s3_url(location):
        return _cached(_s3_store(location, options), options.cache_root)
    path = _folder(location)
    if not path.is_dir():
        raise NotARepository(location=str(path))
    return LocalStore(path)


def new_store(location: str, options: StoreOptions | None = None) -> ObjectStore:
    """A store at a place where there may be none yet, fit to hold a repository.

    Raises InvalidInput, StoreUnavailable and for a bucket BucketUnfit.
    """
    options = options or StoreOptions()
    if is_s3_url(location):
        bucket = _s3_store(location, options)
        bucket.prepare()
        return bucket
    folder = LocalStore(_folder(location))
    folder.prepare()
    return folder


def store_document(store: ObjectStore) -> dict[str, object]:
    """A JSON document for `shared_store` in another process of ours. It may hold credentials in
    clear: only through a pipe."""
    if isinstance(store, CachedStore):
        return {**store_document(store.inner), "cache_root": str(store.cache_root)}
    document: dict[str, object] = {"location": store.location}
    if is_s3_url(store.location):
        document["s3"] = asdict(cast("S3Store", store).access)
    return document


def shared_store(document: Mapping[str, object]) -> ObjectStore:
    """The store of a `store_document`. Raises what `open_store` raises."""
    s3, cache_root = document.get("s3"), document.get("cache_root")
    options = StoreOptions(
        s3=S3Access(**cast("dict[str, Any]", s3)) if s3 else None,
        cache_root=Path(str(cache_root)) if cache_root else None,
    )
    return open_store(str(document["location"]), options)


def locking_bucket(store: ObjectStore, *, if_versioned: bool = False) -> LockingBucket | None:
    """Versions and locks of the objects of a store; None where there are none. `if_versioned` looks
    first, at less expense, whether the bucket keeps versions. Raises StoreUnavailable."""
    inner = store.inner if isinstance(store, CachedStore) else store
    if not is_s3_url(inner.location):
        return None
    from holdfast.repository.store.s3 import S3Store  # imported already by whoever made the store

    if not isinstance(inner, S3Store):
        return None  # one to read only, with which nothing is judged or written
    if if_versioned and not inner.keeps_versions("config"):
        return None
    return inner.locking if inner.locking.keeps_locks() else None


def _folder(location: str) -> Path:
    if "://" in location:
        problem = "a repository is a folder's path or s3://bucket/prefix"
        raise InvalidInput(what=location, problem=problem)
    return Path(location).expanduser().absolute()


def _s3_store(location: str, options: StoreOptions) -> S3Store:
    from holdfast.repository.store.s3 import S3Store  # a tenth of a second that folders do not need

    if options.s3 is None:
        raise InvalidInput(what=location, problem="no S3 credentials are set")
    return S3Store(S3Location.parse(location), options.s3)


def _cached(store: ObjectStore, cache_root: Path | None) -> ObjectStore:
    return CachedStore(store, cache_root) if cache_root else store
