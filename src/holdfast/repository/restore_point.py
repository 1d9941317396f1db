"""A restore point as callers see it: the manifest, and what became known since its commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from holdfast.core.errors import HoldfastError
from holdfast.repository.errors import DiskNotFound, ObjectDamaged, ObjectMissing
from holdfast.repository.format.listing import ListedPoint, listed
from holdfast.repository.format.point import DiskRecord, Manifest
from holdfast.repository.manifests import Manifests
from holdfast.repository.marks import Holds, Marks, Suspects
from holdfast.repository.reading import side_by_side
from holdfast.repository.store.store import ObjectStore

OnDamage = Callable[[HoldfastError], None]
_Read = TypeVar("_Read", Manifest, ListedPoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoint:
    """A committed point and what is known about it since."""

    manifest: Manifest
    suspect: str = ""
    """Why its content is in doubt; empty when it is not."""
    held: str = ""
    """Why it must not be deleted; empty when it may."""

    @property
    def id(self) -> str:
        return self.manifest.id

    def listed(self) -> ListedPoint:
        """What a list shows of it."""
        point = listed(self.manifest)
        point.suspect = self.suspect or None
        point.held = self.held or None
        return point

    def disk(self, key: str) -> DiskRecord:
        """Raises DiskNotFound."""
        for disk in self.manifest.disks:
            if disk.key == key:
                return disk
        known = ", ".join(disk.key for disk in self.manifest.disks)
        raise DiskNotFound(point=self.id, disk=key, known=known or "no disk")


def known_point(manifest: Manifest, suspects: Suspects, holds: Holds) -> RestorePoint:
    """The point with what all marks and holds say of it."""
    name = manifest.id
    return RestorePoint(manifest=manifest, suspect=suspects.doubt(name), held=holds.reason(name))


def all_points(
    manifests: Manifests,
    marks: Marks,
    store: ObjectStore,
    on_damage: OnDamage | None,
    *,
    from_store: bool,
) -> list[RestorePoint]:
    """See `Repository.points`."""
    everything, (suspects, holds) = side_by_side(
        store,
        lambda: manifests.all(from_store=from_store),
        lambda: side_by_side(store, marks.suspects, marks.holds),
    )
    found = [known_point(manifest, suspects, holds) for manifest in _sound(everything, on_damage)]
    return sorted(found, key=lambda point: (point.manifest.captured_at, point.id))


def listed_points(
    manifests: Manifests, marks: Marks, store: ObjectStore, on_damage: OnDamage | None
) -> list[ListedPoint]:
    """See `Repository.listed_points`."""
    everything, (suspects, holds) = side_by_side(
        store,
        manifests.listed,
        lambda: side_by_side(store, marks.suspects, marks.holds),
    )
    found = list(_sound(everything, on_damage))
    for point in found:
        point.suspect = suspects.doubt(point.id) or None
        point.held = holds.reason(point.id) or None
    return sorted(found, key=lambda point: (point.captured_at, point.id))


def _sound(
    everything: Iterable[_Read | ObjectDamaged | ObjectMissing], on_damage: OnDamage | None
) -> Iterator[_Read]:
    for manifest in everything:
        if isinstance(manifest, ObjectMissing):
            continue  # deleted between listing and reading: legal
        if not isinstance(manifest, ObjectDamaged):
            yield manifest
        elif on_damage is not None:
            on_damage(manifest)
