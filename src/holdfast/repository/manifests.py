"""Reading the manifests of restore points: one, or all of them.

Knows nothing of what became known of a point since its commit. Enter at `Manifests`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from holdfast.repository.bundles import Bundles, decoded, fetch_bundles
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.listing import ListedPoint, decode_listed, decode_many_listed
from holdfast.repository.format.point import Manifest, decode_manifest, decode_manifests
from holdfast.repository.reading import gather, is_distant, side_by_side
from holdfast.repository.session import point_key
from holdfast.repository.store.cached import CachedStore
from holdfast.repository.store.store import ObjectInfo, ObjectStore, RelistingStore, keys_below

_FOLDER = "points/"
_Read = TypeVar("_Read", Manifest, ListedPoint)
_Found = _Read | ObjectDamaged | ObjectMissing
Found = _Found[Manifest]


@dataclass(frozen=True, slots=True)
class _Form(Generic[_Read]):
    """What manifests are read into."""

    one: Callable[[bytes, str], _Read]
    """Of the content and key. Raises ObjectDamaged."""
    many: Callable[[Sequence[bytes]], Sequence[_Read | None]]
    """None where `one` raises."""


_WHOLE = _Form(lambda plain, key: decode_manifest(plain, key=key), decode_manifests)
_LISTED = _Form(lambda plain, key: decode_listed(plain, key=key), decode_many_listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a list of points needs, as it is stored."""

    keys: Sequence[str] | None
    """Of all points; None where they are told sooner when some are known."""
    bundles: Mapping[str, bytes]


def fetch_for_list(store: ObjectStore) -> Fetched:
    """For who has no key yet. Raises StoreUnavailable."""
    keys = None if is_distant(store) else list(keys_below(store, _FOLDER))
    return Fetched(keys=keys, bundles=fetch_bundles(store))


class Manifests:
    """Reads the manifests of one repository. Thread-safe."""

    def __init__(self, store: ObjectStore, sealer: Sealer, repository_id: str) -> None:
        self._store = store
        self._sealer = sealer
        self._repository_id = repository_id
        self.bundles = Bundles(store, sealer)
        self._ahead: Sequence[str] | None = None

    def take(self, fetched: Fetched) -> None:
        """What `fetch_for_list` found a moment ago, for the next list."""
        self._ahead = fetched.keys
        self.bundles.take(fetched.bundles)

    def ids(self) -> list[str]:
        """Of every point there is, in no order."""
        return [key.removeprefix(_FOLDER) for key in keys_below(self._store, _FOLDER)]

    def read(self, point_id: str) -> Manifest:
        """From the storage itself. Raises ObjectMissing, ObjectDamaged."""
        return self._open(_WHOLE, point_key(point_id), self._store.get(point_key(point_id)))

    def read_each(self, point_ids: Iterable[str]) -> Iterator[Found]:
        """Each from the storage itself, in the order of the ids, or why it cannot be read."""
        keys = [point_key(point_id) for point_id in point_ids]
        for key, stored in zip(keys, gather(self._fetch, keys), strict=True):
            yield self._opened(_WHOLE, key, stored)

    def contents(
        self, point_ids: Collection[str]
    ) -> Iterator[bytes | ObjectDamaged | ObjectMissing]:
        """`read_each` of what a manifest is made of, once it is known to be one."""
        keys = [point_key(point_id) for point_id in point_ids]
        for key, stored in zip(keys, gather(self._fetch, keys), strict=True):
            try:
                if isinstance(stored, bytes):
                    self._open(_WHOLE, key, stored)
                    stored = self._unsealed(key, stored)
            except ObjectDamaged as error:
                stored = error
            yield stored

    def damaged(self, point_ids: Collection[str]) -> dict[str, bytes]:
        """Those of the points whose manifest is there and is not what was stored, with what it is
        now. One that was sealed here and says what this program does not understand is none."""
        keys = [point_key(point_id) for point_id in point_ids]
        found: dict[str, bytes] = {}
        for point_id, stored in zip(point_ids, gather(self._fetch, keys), strict=True):
            if isinstance(stored, bytes) and not self.is_genuine(point_id, stored):
                found[point_id] = stored
        return found

    def is_genuine(self, point_id: str, stored: bytes) -> bool:
        """Whether this was stored as the manifest of that point in this repository."""
        try:
            self._unsealed(point_key(point_id), stored)
        except ObjectDamaged:
            return False
        return True

    def all(self, *, from_store: bool) -> list[Found]:
        """Every manifest listed, or why it cannot be read, in no order. Unless `from_store`, what
        a bundle or a local copy repeats is taken from there: then damage to the manifest itself
        that came later is not seen."""
        return list(self.read_each(self.ids())) if from_store else self._all(_WHOLE)

    def listed(self) -> list[ListedPoint | ObjectDamaged | ObjectMissing]:
        """What a list shows of `all`, not `from_store`."""
        return self._all(_LISTED)

    def _all(self, form: _Form[_Read]) -> list[_Found[_Read]]:
        ahead, self._ahead = self._ahead, None
        bundles = self.bundles.read_all()
        if isinstance(self._store, CachedStore):
            return self._with_copies(form, self._store, bundles)
        keys, repeated = side_by_side(
            self._store,
            lambda: self._listed(_bundled(bundles)) if ahead is None else ahead,
            lambda: _decoded(form, bundles),
        )
        found, others = _divided(keys, repeated)
        fetched = gather(self._fetch, others)
        for key, stored in zip(others, fetched, strict=True):
            found.append(self._opened(form, key, stored))
        return found

    def _listed(self, known: Collection[str]) -> list[str]:
        """Keys, told sooner when most are among the `known` ones."""
        if known and isinstance(self._store, RelistingStore):
            return [info.key for info in self._store.list_known(_FOLDER, sorted(known))]
        return list(keys_below(self._store, _FOLDER))

    def _with_copies(
        self,
        form: _Form[_Read],
        store: CachedStore,
        bundles: Mapping[str, Mapping[str, bytes]],
    ) -> list[_Found[_Read]]:
        file = store.kept_objects(f"points-{self._repository_id}")
        kept = file.read()
        known = sorted({*_bundled(bundles), *(info.key for info in kept)})
        infos, repeated = side_by_side(
            store,
            lambda: {info.key: info for info in store.list_known(_FOLDER, known)},
            lambda: _decoded(form, bundles),
        )
        found, others = _divided(infos, repeated)
        sealed: dict[ObjectInfo, bytes] = {}
        absent: list[ObjectInfo] = []
        for key in others:
            info = infos[key]
            copy = kept.get(info)
            try:
                if copy is not None:
                    found.append(self._open(form, info.key, copy))
                    sealed[info] = copy
                    continue
            except ObjectDamaged:
                pass  # the copy, or what it was made of: the storage knows
            absent.append(info)
        fetched = gather(self._fetch, (info.key for info in absent))
        for info, stored in zip(absent, fetched, strict=True):
            manifest = self._opened(form, info.key, stored)
            found.append(manifest)
            if isinstance(stored, bytes) and not isinstance(manifest, ObjectDamaged):
                sealed[info] = stored
        file.write(sealed, kept)
        return found

    def _fetch(self, key: str) -> bytes | ObjectDamaged | ObjectMissing:
        try:
            return self._store.get(key)
        except (ObjectDamaged, ObjectMissing) as error:
            return error

    def _opened(
        self, form: _Form[_Read], key: str, stored: bytes | ObjectDamaged | ObjectMissing
    ) -> _Found[_Read]:
        """Of what `_fetch` gave."""
        if not isinstance(stored, bytes):
            return stored
        try:
            return self._open(form, key, stored)
        except ObjectDamaged as error:
            return error

    def _open(self, form: _Form[_Read], key: str, stored: bytes) -> _Read:
        manifest = form.one(self._unsealed(key, stored), key)
        if point_key(manifest.id) != key:
            raise ObjectDamaged(key=key, problem="it is the manifest of another point")
        return manifest

    def _unsealed(self, key: str, stored: bytes) -> bytes:
        return self._sealer.open(Kind.POINT, key, stored, key=key)


def _bundled(bundles: Mapping[str, Mapping[str, bytes]]) -> set[str]:
    """Keys of the points in bundles."""
    return {point_key(point) for contents in bundles.values() for point in contents}


def _decoded(form: _Form[_Read], bundles: Mapping[str, Mapping[str, bytes]]) -> dict[str, _Read]:
    """What the bundles repeat, by the object keys of the points."""
    return {
        point_key(point): manifest
        for contents in bundles.values()
        for point, manifest in decoded(contents, form.many).items()
    }


def _divided(
    keys: Iterable[str], repeated: Mapping[str, _Read]
) -> tuple[list[_Found[_Read]], list[str]]:
    """The manifests of those keys that are repeated somewhere, and the other keys."""
    found: list[_Found[_Read]] = []
    others: list[str] = []
    for key in keys:
        manifest = repeated.get(key)
        if manifest is None:
            others.append(key)
        else:
            found.append(manifest)
    return found, others
