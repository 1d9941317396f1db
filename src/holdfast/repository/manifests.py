"""Reading the manifests of restore points: one, or all of them.

Knows nothing of what became known of a point since its commit. Enter at `Manifests`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.point import Manifest, decode_manifest
from holdfast.repository.reading import gather
from holdfast.repository.session import point_key
from holdfast.repository.store.cached import CachedStore
from holdfast.repository.store.store import ObjectInfo, ObjectStore

_FOLDER = "points/"
Found = Manifest | ObjectDamaged | ObjectMissing


class Manifests:
    """Reads the manifests of one repository. Thread-safe."""

    def __init__(self, store: ObjectStore, sealer: Sealer, repository_id: str) -> None:
        self._store = store
        self._sealer = sealer
        self._repository_id = repository_id

    def read(self, point_id: str) -> Manifest:
        """From the storage itself. Raises ObjectMissing, ObjectDamaged."""
        return self._open(point_key(point_id), self._store.get(point_key(point_id)))

    def read_each(self, point_ids: Iterable[str]) -> Iterator[Found]:
        """Each from the storage itself, in the order of the ids, or why it cannot be read."""
        keys = [point_key(point_id) for point_id in point_ids]
        for key, stored in zip(keys, gather(self._fetch, keys), strict=True):
            yield self._opened(key, stored)

    def all(self, *, from_store: bool) -> list[Found]:
        """Every manifest listed, or why it cannot be read, in no order. Unless `from_store`, a
        local copy does for one that has the size and time that the copy had: then damage that
        came later is not seen."""
        if from_store or not isinstance(self._store, CachedStore):
            listed = list(self._store.list(_FOLDER))
            return list(self.read_each(info.key.removeprefix(_FOLDER) for info in listed))
        return self._with_copies(self._store)

    def _with_copies(self, store: CachedStore) -> list[Found]:
        file = store.kept_objects(f"points-{self._repository_id}")
        kept = file.read()
        listed = list(store.list_known(_FOLDER, [info.key for info in kept]))
        found: list[Found] = []
        sealed: dict[ObjectInfo, bytes] = {}
        absent: list[ObjectInfo] = []
        for info in listed:
            copy = kept.get(info)
            try:
                if copy is not None:
                    found.append(self._open(info.key, copy))
                    sealed[info] = copy
                    continue
            except ObjectDamaged:
                pass  # the copy, or what it was made of: the storage knows
            absent.append(info)
        fetched = gather(self._fetch, (info.key for info in absent))
        for info, stored in zip(absent, fetched, strict=True):
            manifest = self._opened(info.key, stored)
            found.append(manifest)
            if isinstance(manifest, Manifest) and isinstance(stored, bytes):
                sealed[info] = stored
        file.write(sealed, kept)
        return found

    def _fetch(self, key: str) -> bytes | ObjectDamaged | ObjectMissing:
        try:
            return self._store.get(key)
        except (ObjectDamaged, ObjectMissing) as error:
            return error

    def _opened(self, key: str, stored: bytes | ObjectDamaged | ObjectMissing) -> Found:
        """Of what `_fetch` gave."""
        if not isinstance(stored, bytes):
            return stored
        try:
            return self._open(key, stored)
        except ObjectDamaged as error:
            return error

    def _open(self, key: str, stored: bytes) -> Manifest:
        plain = self._sealer.open(Kind.POINT, key, stored, key=key)
        manifest = decode_manifest(plain, key=key)
        if point_key(manifest.id) != key:
            raise ObjectDamaged(key=key, problem="it is the manifest of another point")
        return manifest
