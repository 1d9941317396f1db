"""Bundles: the manifests of many points in few objects, for lists.

They make no point visible and hide none: which points there are, the listing of `points/` says,
and who deletes or restores one reads its manifest. A bundle that is damaged, foreign or gone costs
time only. Knows nothing of when they are written. Enter at `Bundles`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from blake3 import blake3

from holdfast.repository.errors import ObjectDamaged, ObjectExists, ObjectLocked, ObjectMissing
from holdfast.repository.format.bundle import decode_bundle, encode_bundle
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.listing import ListedPoint
from holdfast.repository.format.point import Manifest, decode_manifests
from holdfast.repository.reading import each, is_distant
from holdfast.repository.store.store import ObjectStore, keys_below

FOLDER = "bundles/"
_KEY = re.compile(FOLDER + r"[0-9a-f]{64}")
_READERS = 8
"""Bundles read at once from a distant storage: one takes a megabyte or two."""
_LISTINGS = 3
_Read = TypeVar("_Read", Manifest, ListedPoint)


class Bundles:
    """Those of one repository. Thread-safe."""

    def __init__(self, store: ObjectStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._ahead: Mapping[str, bytes] | None = None

    def take(self, fetched: Mapping[str, bytes]) -> None:
        """What `fetch_bundles` found a moment ago, for the next `read_all`."""
        self._ahead = fetched

    def listed(self) -> list[str]:
        """Their keys, in no order. What lies there under another name is none."""
        return _listed(self._store)

    def read(self, key: str) -> dict[str, bytes]:
        """The contents of its manifests, by the ids of their points. Raises ObjectDamaged,
        ObjectMissing."""
        return self._opened(key, self._store.get(key))

    def read_all(self) -> dict[str, dict[str, bytes]]:
        """Every bundle there is by its key; nothing in one that cannot be read."""
        ahead, self._ahead = self._ahead, None
        fetched = fetch_bundles(self._store) if ahead is None else ahead
        found: dict[str, dict[str, bytes]] = {}
        for key, stored in fetched.items():
            found[key] = {}
            with suppress(ObjectDamaged):
                found[key] = self._opened(key, stored)
        return found

    def put(self, manifests: Mapping[str, bytes]) -> str:
        """A bundle of these; its key. Durable on return. Raises OutOfSpace, StoreUnavailable."""
        sealed = self._sealer.seal(Kind.BUNDLE, "", encode_bundle(manifests))
        key = f"{FOLDER}{blake3(sealed).hexdigest()}"
        with suppress(ObjectExists):  # named by the hash of its bytes: it is this one
            self._store.put_new(key, [sealed])
        return key

    def delete(self, key: str) -> None:
        """Gone on return, unless somebody locked it."""
        with suppress(ObjectMissing, ObjectLocked):
            self._store.delete(key)

    def _opened(self, key: str, stored: bytes) -> dict[str, bytes]:
        if blake3(stored).hexdigest() != key.removeprefix(FOLDER):
            raise ObjectDamaged(key=key, problem="its bytes do not hash to its name")
        return decode_bundle(self._sealer.open(Kind.BUNDLE, "", stored, key=key), key=key)


def fetch_bundles(store: ObjectStore) -> dict[str, bytes]:
    """Every bundle as it is stored, by its key: for who has no key yet. Raises StoreUnavailable."""
    found: dict[str, bytes] = {}
    tried: set[str] = set()

    def fetch(key: str) -> bytes | None:
        """Nothing of one that cannot be read, None when it is gone."""
        try:
            return store.get(key)
        except ObjectDamaged:
            return b""
        except ObjectMissing:
            return None

    for _ in range(_LISTINGS):
        keys = [key for key in _listed(store) if key not in tried]
        tried.update(keys)
        is_slow = is_distant(store) and len(keys) > 1
        fetched = list(each(fetch, keys, workers=_READERS, is_slow=is_slow))
        found |= {
            key: stored for key, stored in zip(keys, fetched, strict=True) if stored is not None
        }
        if None not in fetched:
            break
        # Others were put in place of those that went since the listing.
    return found


def _listed(store: ObjectStore) -> list[str]:
    return [key for key in keys_below(store, FOLDER) if _KEY.fullmatch(key)]


def decoded(
    contents: Mapping[str, bytes], decode: Callable[[Sequence[bytes]], Sequence[_Read | None]]
) -> dict[str, _Read]:
    """What a bundle repeats, by the ids of the points. One that is not what its row says is left
    out: its manifest tells."""
    manifests = decode(list(contents.values()))
    return {
        point: manifest
        for point, manifest in zip(contents, manifests, strict=True)
        if manifest is not None and manifest.id == point
    }


def repeated(bundles: Bundles, points: Collection[str]) -> dict[str, bytes]:
    """The contents of the manifests of these points, as far as a bundle repeats them: each proven
    to be that of its point by the bundle's name and seal. One that two bundles have differently
    is left out."""
    found: dict[str, bytes] = {}
    unclear: set[str] = set()
    for contents in bundles.read_all().values():
        wanted = {point: contents[point] for point in contents.keys() & points}
        for point in decoded(wanted, decode_manifests):
            if found.setdefault(point, wanted[point]) != wanted[point]:
                unclear.add(point)
    return {point: content for point, content in found.items() if point not in unclear}


def with_remedy(bundles: Bundles, problems: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with the manifests of points, by their ids, and what a bundle can do about
    it."""
    if not problems:
        return {}
    known = repeated(bundles, problems.keys())
    remedy = "; a bundle repeats it: `holdfast repair` puts it back"
    return {point: said + (remedy if point in known else "") for point, said in problems.items()}


def bundle_problems(bundles: Bundles, manifests: Iterable[Manifest]) -> Iterator[tuple[str, str]]:
    """`(key, problem)` of each bundle that cannot be read or says something else than these, which
    were read from the manifests themselves. No point is lost by that."""
    known = {manifest.id: manifest for manifest in manifests}
    for key in bundles.listed():
        try:
            repeated = decoded(bundles.read(key), decode_manifests)
        except ObjectMissing:
            continue  # replaced meanwhile
        except ObjectDamaged as error:
            yield key, f"{error.problem}; compact puts another in its place"
            continue
        wrong = sum(known.get(point, said) != said for point, said in repeated.items())
        if wrong:
            yield key, f"it says something else of {wrong} points than their manifests"
