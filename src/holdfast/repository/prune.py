"""Delete restore points by rule. What lives is decided by `policy.retention`; here the decision is
carried out, and not a step further than it was right when looked at again.

Enter at `plan_prune`, show the plan, then `run_prune`. Only manifests go: compact reclaims their
space. Fails closed: a listing, a manifest, a map page or a chunk that is not as it should be ends
the plan with an error before anything is deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import format_time
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.failpoints import failpoint
from holdfast.core.progress import Progress, ProgressSink
from holdfast.policy.retention import Decision, PointFacts, RetentionRules, decide, implausible
from holdfast.repository.errors import (
    LastGoodPoint,
    ObjectLocked,
    ObjectMissing,
    PointHeld,
    PointNotFound,
    PruneTooLarge,
)
from holdfast.repository.locking import still_locked
from holdfast.repository.losses import find_losses
from holdfast.repository.maintenance import Maintenance, require_clocks_agree
from holdfast.repository.mark import bytes_of_only
from holdfast.repository.reading import side_by_side
from holdfast.repository.repository import Repository, RestorePoint
from holdfast.repository.session import point_key

DEFAULT_MAXIMUM_DELETE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPoint:
    """A point and what is to become of it."""

    point: RestorePoint
    decision: Decision
    credible: bool
    """False when its times are implausible."""
    locked_until: datetime | None = None
    """Until when the storage lets nobody delete it; None when it may go."""

    @property
    def vm(self) -> tuple[str, str]:
        return self.point.manifest.vm.platform, self.point.manifest.vm.id


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneScope:
    """What a plan was made from; made from it again, it may come out differently."""

    rules: RetentionRules
    time_zone: tzinfo
    """Where the days and weeks of the rules begin."""
    vm_name: str | None = None
    """Only the VMs whose newest point has this name; None for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    scope: PruneScope
    points: Sequence[PlannedPoint]
    """Every point looked at, oldest first."""
    freed_bytes: int
    """Stored bytes of the chunks that only the points to delete need. Compact gives back about
    this much: it deletes and rewrites whole packs."""

    @property
    def going(self) -> Sequence[PlannedPoint]:
        return [planned for planned in self.points if not planned.decision.keep]


@dataclass(slots=True, kw_only=True)
class PruneReport:
    deleted: list[str] = field(default_factory=list[str])
    spared: dict[str, str] = field(default_factory=dict[str, str])
    """Points that were to go and live, with the reason that has come up since."""


def plan_prune(
    repository: Repository, scope: PruneScope, *, cancel: CancelToken, progress: ProgressSink
) -> PrunePlan:
    """Changes nothing. Raises ClockSkew, InvalidInput for a VM that has no points, and what
    listing, reading and marking raise."""
    points = _decide(repository, scope, cancel, progress)
    going = frozenset(planned.point.id for planned in points if not planned.decision.keep)
    freed = 0
    if going:
        freed = bytes_of_only(repository, going, cancel=cancel, progress=progress)
    return PrunePlan(scope=scope, points=points, freed_bytes=freed)


def run_prune(
    repository: Repository,
    plan: PrunePlan,
    *,
    maximum_delete: int = DEFAULT_MAXIMUM_DELETE,
    cancel: CancelToken,
    progress: ProgressSink,
) -> PruneReport:
    """Delete what the plan says and the rules, asked again, still say.

    Raises PruneTooLarge and LeaseHeld before anything is deleted; LeaseLost, LastGoodPoint and the
    store's errors in the middle: then what was deleted is, and planning again goes on from there.
    """
    going = plan.going
    if len(going) > maximum_delete:
        raise PruneTooLarge(points=len(going), all_points=len(plan.points), maximum=maximum_delete)
    if not going:
        return PruneReport()
    with repository.begin_maintenance() as maintenance:
        fresh = {item.point.id: item for item in _decide(repository, plan.scope, cancel, progress)}
        return _Prune(repository, maintenance, fresh, cancel, progress).run(going)


class _Prune:
    def __init__(
        self,
        repository: Repository,
        maintenance: Maintenance,
        fresh: Mapping[str, PlannedPoint],
        cancel: CancelToken,
        progress: ProgressSink,
    ) -> None:
        self._repository = repository
        self._maintenance = maintenance
        self._fresh = fresh
        self._cancel = cancel
        self._progress = progress
        self._report = PruneReport()
        self._guardians = _guardians(list(fresh.values()))

    def run(self, going: Sequence[PlannedPoint]) -> PruneReport:
        for number, planned in enumerate(going):
            self._cancel.check()
            self._progress.update(
                Progress(phase="deleting points", done_bytes=number, total_bytes=len(going))
            )
            self._delete(planned.point)
        return self._report

    def _delete(self, point: RestorePoint) -> None:
        now = self._fresh.get(point.id)
        if now is None:
            return  # somebody else deleted it
        if now.decision.keep:
            self._report.spared[point.id] = "; ".join(now.decision.reasons)
            return
        repository = self._repository
        try:
            # All right before the deletion: a process that slept here may be one of two that prune.
            # None of them needs another's answer, and the point goes when all have given theirs.
            side_by_side(
                repository.store,
                lambda: side_by_side(
                    repository.store,
                    self._maintenance.confirm,
                    lambda: self._require_guardian(now),
                ),
                lambda: repository.require_free(point.id),
            )
            repository.delete_free_point(point.id)
        except PointHeld as error:
            self._report.spared[point.id] = f"held: {error.reason}"
            return
        except ObjectLocked as error:
            self._report.spared[point.id] = f"immutable until {error.until}"
            return
        except PointNotFound:
            return
        self._report.deleted.append(point.id)
        failpoint("prune.between_deletes")

    def _require_guardian(self, planned: PlannedPoint) -> None:
        """The point for whose sake this one may go must still be there."""
        try:
            self._repository.store.stat(point_key(self._guardians[planned.vm]))
        except ObjectMissing as error:
            name = planned.point.manifest.vm.name
            raise LastGoodPoint(point=planned.point.id, vm=name) from error


def _decide(
    repository: Repository, scope: PruneScope, cancel: CancelToken, progress: ProgressSink
) -> Sequence[PlannedPoint]:
    store = repository.store
    # Before the manifests are read: a point that appears in between is left out, and no point goes
    # for its sake yet.
    stored = {info.key: info.modified for info in store.list("points/")}
    damaged: list[HoldfastError] = []
    (now, has_locks), (bad_packs, read) = side_by_side(
        store,
        # After the listing, so that nothing was stored later than now.
        lambda: side_by_side(
            store,
            lambda: require_clocks_agree(store, repository.clock),
            lambda: repository.locks.has_ever_been,
        ),
        lambda: side_by_side(
            store,
            repository.proofs.damaged,
            lambda: repository.points(on_damage=damaged.append, from_store=True),
        ),
    )
    points = [point for point in read if point_key(point.id) in stored]
    if damaged:
        raise damaged[0]
    if scope.vm_name is not None:
        points = _of_vm(points, scope.vm_name)
    points = _with_damage(repository, points, bad_packs, cancel, progress)
    facts = [_facts(point, stored[point_key(point.id)]) for point in points]
    decisions = decide(facts, scope.rules, now, time_zone=scope.time_zone)
    trust = scope.rules.trust_old_times
    keys = [point_key(point.id) for point in points]
    locked = still_locked(store, keys, now) if has_locks else {}
    return [
        PlannedPoint(
            point=point,
            decision=_unless_locked(decision, locked.get(point_key(point.id))),
            credible=not implausible(fact, now, trust_old_times=trust),
            locked_until=locked.get(point_key(point.id)),
        )
        for point, fact, decision in zip(points, facts, decisions, strict=True)
    ]


def _with_damage(
    repository: Repository,
    points: Sequence[RestorePoint],
    damaged: Collection[bytes],
    cancel: CancelToken,
    progress: ProgressSink,
) -> Sequence[RestorePoint]:
    """Those that verify found `damaged` packs of are in doubt: no sound one goes for their sake."""
    if not damaged:
        return points
    losses = find_losses(repository, damaged, cancel=cancel, progress=progress)
    lost = {loss.point_id for loss in losses if not loss.is_readable}
    doubt = "verify found damage, and part of it cannot be read"
    return [
        replace(point, suspect=point.suspect or doubt) if point.id in lost else point
        for point in points
    ]


def _unless_locked(decision: Decision, until: datetime | None) -> Decision:
    if until is None or decision.keep:
        return decision
    return replace(decision, keep=True, reasons=(f"immutable until {format_time(until)}",))


def _of_vm(points: Sequence[RestorePoint], name: str) -> list[RestorePoint]:
    """All points of the VMs of that name, those from before it was renamed included."""
    latest = {_vm(point): point.manifest.vm.name for point in points}
    if name not in latest.values():
        raise InvalidInput(what=f"VM {name!r}", problem="there is no restore point of it")
    return [point for point in points if latest[_vm(point)] == name]


def _facts(point: RestorePoint, stored_at: datetime) -> PointFacts:
    manifest = point.manifest
    return PointFacts(
        id=manifest.id,
        platform=manifest.vm.platform,
        vm_id=manifest.vm.id,
        captured_at=manifest.captured_at,
        created_at=manifest.created_at,
        stored_at=stored_at,
        suspect=point.suspect,
        held=point.held,
        tags=tuple(manifest.tags),
    )


def _guardians(points: Sequence[PlannedPoint]) -> dict[tuple[str, str], str]:
    """For each VM the best point that lives: the newest credible one, sound if there is one."""
    found: dict[tuple[str, str], PlannedPoint] = {}
    for planned in points:  # oldest first
        best = found.get(planned.vm)
        better = best is None or bool(best.point.suspect) or not planned.point.suspect
        if planned.credible and planned.decision.keep and better:
            found[planned.vm] = planned
    return {vm: planned.point.id for vm, planned in found.items()}


def _vm(point: RestorePoint) -> tuple[str, str]:
    return point.manifest.vm.platform, point.manifest.vm.id
