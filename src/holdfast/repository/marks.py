"""What became known of restore points after their commit: doubt about their content, and holds.

Marks are objects that are only ever added. A *suspect* mark says that the content of some points
is in doubt. A *hold* says that some points must not be deleted. A *release* names the holds that
it ends, so that no clock decides which came last: a hold made while a release was made stands.

Both fail to the safe side: a suspect mark that cannot be read puts every point in doubt, a hold
that cannot be read holds every point until it is released by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from holdfast.core.clock import Clock, format_time
from holdfast.core.ids import uuid7
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.store.store import ObjectStore

_SUSPECTS, _HOLDS = "marks/", "holds/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """The suspect marks of a repository."""

    named: dict[str, str]
    """Reason by id of the points that a mark names."""
    unreadable: str
    """Why some mark could not be read; empty when all could. Puts every point in doubt."""

    def doubt(self, point_id: str) -> str:
        """Why the point is in doubt; empty when it is not."""
        return self.named.get(point_id, self.unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One hold object."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """The holds of a repository, less what was released."""

    named: Mapping[str, Sequence[Hold]]
    """By id of the points that a hold names."""
    unreadable: Sequence[Hold]
    """Each of them holds every point."""
    released: frozenset[tuple[str, str]]
    """`(hold, point)` pairs."""

    def on(self, point_id: str) -> list[Hold]:
        """The holds in force on a point."""
        holds = (*self.named.get(point_id, ()), *self.unreadable)
        return [hold for hold in holds if (hold.id, point_id) not in self.released]

    def reason(self, point_id: str) -> str:
        """Why the point is held; empty when it is not."""
        if not self.named and not self.unreadable:
            return ""
        return "; ".join(sorted({hold.reason for hold in self.on(point_id)}))


class Marks:
    """Reads and writes the marks of one repository. Thread-safe."""

    def __init__(self, store: ObjectStore, sealer: Sealer, clock: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock

    def suspects(self) -> Suspects:
        """Raises StoreUnavailable, ObjectMissing."""
        named: dict[str, str] = {}
        unreadable = ""
        for info in self._store.list(_SUSPECTS):
            try:
                document = self._read(Kind.MARK, info.key)
                points = _texts(document, "points", key=info.key)
            except ObjectDamaged as error:
                # Doubt must not be lost with the mark, and must not keep a point from restoring.
                unreadable = f"{error.message}; which points it doubts cannot be known"
                continue
            named.update(dict.fromkeys(points, str(document.get("reason", ""))))
        return Suspects(named=named, unreadable=unreadable)

    def holds(self) -> Holds:
        """Raises StoreUnavailable, ObjectMissing."""
        named: dict[str, list[Hold]] = {}
        unreadable: list[Hold] = []
        released: set[tuple[str, str]] = set()
        for info in self._store.list(_HOLDS):
            name = info.key.removeprefix(_HOLDS)
            try:
                document = self._read(Kind.HOLD, info.key)
                points = _texts(document, "points", key=info.key)
                ended = _texts(document, "releases", key=info.key)
            except ObjectDamaged as error:
                reason = f"{error.message}; which points it holds cannot be known"
                unreadable.append(Hold(id=name, reason=reason))
                continue
            if ended:
                released.update((hold, point) for hold in ended for point in points)
            else:
                hold = Hold(id=name, reason=str(document.get("reason", "")))
                for point in points:
                    named.setdefault(point, []).append(hold)
        return Holds(named=named, unreadable=unreadable, released=frozenset(released))

    def suspect(self, points: Sequence[str], reason: str) -> None:
        """Put points in doubt. Durable on return."""
        self._put(Kind.MARK, _SUSPECTS, {"points": list(points), "reason": reason})

    def hold(self, points: Sequence[str], reason: str) -> None:
        """Durable on return."""
        self._put(Kind.HOLD, _HOLDS, self._hold_document(points, reason, []))

    def release(self, points: Sequence[str], reason: str) -> list[str]:
        """End every hold that is in force on these points now; returns the points that had one.
        Durable on return."""
        holds = self.holds()
        held = [point for point in points if holds.on(point)]
        ended = sorted({hold.id for point in held for hold in holds.on(point)})
        if ended:
            self._put(Kind.HOLD, _HOLDS, self._hold_document(held, reason, ended))
        return held

    def _hold_document(
        self, points: Sequence[str], reason: str, releases: Sequence[str]
    ) -> dict[str, Any]:
        return {
            "points": list(points),
            "releases": list(releases),
            "reason": reason,
            "at": format_time(self._clock.now()),
        }

    def _put(self, kind: Kind, folder: str, document: dict[str, Any]) -> None:
        key = f"{folder}{uuid7(self._clock)}"
        self._store.put_new(key, [self._sealer.seal(kind, key, json.dumps(document).encode())])

    def _read(self, kind: Kind, key: str) -> dict[str, Any]:
        plain = self._sealer.open(kind, key, self._store.get(key), key=key)
        try:
            document: object = json.loads(plain)
        except (ValueError, RecursionError) as error:
            raise ObjectDamaged(key=key, problem="it is not JSON") from error
        if not isinstance(document, dict):
            raise ObjectDamaged(key=key, problem="its fields are not those of a mark")
        return cast(dict[str, Any], document)


def _texts(document: dict[str, Any], member: str, *, key: str) -> list[str]:
    """A member that must be an array of strings."""
    value: object = document.get(member)
    if not isinstance(value, list):
        raise ObjectDamaged(key=key, problem="its fields are not those of a mark")
    items = cast(list[object], value)
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) != len(items):
        raise ObjectDamaged(key=key, problem="its fields are not those of a mark")
    return texts
