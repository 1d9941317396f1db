"""Objects that somebody deleted or overwrote in a bucket that keeps locked versions. They are
there, below a delete marker or another version, and no listing shows them.

Holdfast itself hides nothing there, so what is hidden is an attack or a mishap. Enter at
`hidden_objects`; `unhide` brings them back and needs no passphrase, for the key slots may be among
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.repository.errors import ObjectLocked, ObjectsHidden
from holdfast.repository.locking import is_permanent
from holdfast.repository.reading import side_by_side
from holdfast.repository.repository import Repository
from holdfast.repository.store.opening import locking_bucket
from holdfast.repository.store.store import ObjectStore


@dataclass(slots=True, kw_only=True)
class UnhideReport:
    restored: list[str] = field(default_factory=list[str])
    lost: list[str] = field(default_factory=list[str])
    """Hidden, and no version of them is locked: any may be the right one. They are left alone."""


def hidden_objects(store: ObjectStore) -> Sequence[str]:
    """Keys of objects that belong to the repository and that no reader sees. Empty for a store
    that keeps no versions. Raises StoreUnavailable."""
    bucket = locking_bucket(store)
    return [] if bucket is None else sorted(filter(is_permanent, bucket.hidden()))


def require_nothing_hidden(repository: Repository) -> bool:
    """Before anything is judged to be not needed. Whether anything can be locked. Raises
    ObjectsHidden."""
    locks = repository.locks
    locks.forget()
    rule, has_ever_been = side_by_side(
        repository.store, lambda: locks.rule, lambda: locks.has_ever_been
    )
    if rule is None and not has_ever_been:
        return False
    hidden = hidden_objects(repository.store)
    if hidden:
        raise ObjectsHidden(location=repository.location, count=len(hidden))
    return has_ever_been


def unhide(store: ObjectStore) -> UnhideReport:
    """Bring back every hidden object that is locked. Broken off, it may be run again."""
    report = UnhideReport()
    bucket = locking_bucket(store)
    if bucket is None:
        return report
    for name, versions in sorted(bucket.hidden().items()):
        if is_permanent(name):
            (report.restored if bucket.unhide(name, versions) else report.lost).append(name)
    return report


def remove_hidden(store: ObjectStore) -> int:
    """Delete what lies hidden of objects that are replaced all the time, and markers over nothing;
    how many versions. Locked ones stay until a later run."""
    bucket = locking_bucket(store)
    if bucket is None:
        return 0
    removed = 0
    for version in list(bucket.versions("")):
        if (version.is_latest and not version.is_marker) or is_permanent(version.name):
            continue
        try:
            bucket.delete_version(version)
        except ObjectLocked:
            continue
        removed += 1
    return removed
