"""Writing bundles, as a part of maintenance: points that no bundle repeats yet go into a new one,
together with what is left of bundles that are small, or mostly of deleted points.

New bundles are durable before those they replace go; a crash in between leaves both, and the next
run takes one of them away. Nothing depends on there being one writer: a second one at the same time
leaves points in two bundles, which is harmless. Enter at `bundle_points`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from holdfast.core.failpoints import failpoint
from holdfast.core.units import MIB
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.manifests import Manifests

FEW = 64
"""Points in no bundle that a list may read one by one: a second of 48 requests on a bucket."""
_FULL_POINTS, _FULL_BYTES = 4096, 8 * MIB
"""A bundle is closed at either: a run rewrites a megabyte or two at most for a few points."""


@dataclass(frozen=True, slots=True)
class _Plan:
    kept: frozenset[str]
    """Points in the bundles that stay."""
    replaced: tuple[str, ...]
    is_urgent: bool
    """Something is damaged, repeated twice, or mostly of points that are gone."""


def bundle_points(manifests: Manifests, *, confirm: Callable[[], None]) -> int:
    """The number of points that were put into new bundles. Does nothing while not more than
    `FEW` are in none. `confirm` raises when the caller may change nothing any more.

    Raises OutOfSpace and StoreUnavailable; the bundles of before are there then.
    """
    bundles = manifests.bundles
    before = bundles.read_all()
    # Listed after the bundles were read: what is in one and not here was deleted.
    present = frozenset(manifests.ids())
    plan = _plan(before, present)
    missing = present - plan.kept
    known = {
        point: content
        for key in plan.replaced
        for point, content in before[key].items()
        if point in missing
    }
    new = sorted(missing - known.keys())
    if len(new) <= FEW and not plan.is_urgent:
        return 0
    confirm()
    put = 0
    for bundle in _filled(_contents(manifests, known, new)):
        bundles.put(bundle)
        put += len(bundle)
    failpoint("bundles.between")
    # A crash before this line leaves points in two bundles.
    for key in plan.replaced:
        bundles.delete(key)
    return put


def _plan(before: Mapping[str, Mapping[str, bytes]], present: Set[str]) -> _Plan:
    kept: set[str] = set()
    replaced: list[str] = []
    is_urgent = False
    for key, contents in sorted(before.items(), key=lambda item: (-len(item[1]), item[0])):
        fresh = contents.keys() & present - kept
        is_worn = 2 * len(fresh) <= len(contents)
        is_full = (
            2 * len(contents) >= _FULL_POINTS or 2 * sum(map(len, contents.values())) >= _FULL_BYTES
        )
        if is_full and not is_worn:
            kept |= fresh
        else:
            replaced.append(key)
            is_urgent = is_urgent or is_worn
    return _Plan(kept=frozenset(kept), replaced=tuple(replaced), is_urgent=is_urgent)


def _contents(
    manifests: Manifests, known: Mapping[str, bytes], new: Collection[str]
) -> Iterator[tuple[str, bytes]]:
    """In the order of their ids, which is that of time: what is deleted by age lies together. One
    that cannot be read is left out."""
    yield from sorted(known.items())
    for point, content in zip(new, manifests.contents(new), strict=True):
        if not isinstance(content, ObjectDamaged | ObjectMissing):
            yield point, content


def _filled(contents: Iterable[tuple[str, bytes]]) -> Iterator[dict[str, bytes]]:
    bundle: dict[str, bytes] = {}
    size_bytes = 0
    for point, content in contents:
        if bundle and (len(bundle) >= _FULL_POINTS or size_bytes + len(content) > _FULL_BYTES):
            yield bundle
            bundle, size_bytes = {}, 0
        if len(content) <= _FULL_BYTES:
            bundle[point] = content
            size_bytes += len(content)
    if bundle:
        yield bundle
