"""A look at a whole repository, and what the catalogue keeps of it: points, those that cannot be
read, until when they are locked, whether it may call itself immutable, how full it is.

`look_at` asks the storage and takes as long as that takes; `record_look` belongs into a writing
session afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.catalog import repositories
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.catalog.models import RestorePoint
from holdfast.catalog.points import Refreshed, refresh_points
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError
from holdfast.repository import Repository, is_s3_url
from holdfast.repository import RestorePoint as StoredPoint
from holdfast.repository.canary import described, last_verdict
from holdfast.repository.errors import ObjectDamaged, ObjectsHidden
from holdfast.repository.locking import points_locked_until


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFigures:
    used_bytes: int
    """Of the repository's objects."""
    total_bytes: int | None
    """Of the file system it is on; None for a bucket, which has no size."""
    available_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmutabilityFacts:
    days: int = 0
    """Of the rule; 0 without one."""
    mode: str = ""
    is_immutable: bool = False
    message: str = ""
    tested_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    points: Sequence[StoredPoint]
    damaged: Mapping[str, str]
    """Why points cannot be read, by their ids."""
    damage: Sequence[HoldfastError]
    asked: Collection[str]
    """Points whose locks were looked at."""
    locked: Mapping[str, datetime]
    """Those of them that nobody can delete now, and until when."""
    immutability: ImmutabilityFacts
    storage: StorageFigures


def known_locks(session: Session, repository_id: str, now: datetime) -> set[str]:
    """Points that are locked by what is on record here. A lock is never shortened, so that they
    need not be asked about until it ends."""
    return set(
        session.scalars(
            select(RestorePoint.id).where(
                RestorePoint.repository_id == repository_id, RestorePoint.locked_until > now
            )
        )
    )


def look_at(repository: Repository, *, known: Collection[str] = ()) -> Look:
    """`known`: points whose locks are on record. Raises what reading a repository raises."""
    damage: list[HoldfastError] = []
    # A bundle would hide damage to a manifest; of a folder all are read in a moment.
    points = repository.points(damage.append, from_store=not repository.is_distant)
    damaged = {
        error.key.removeprefix("points/"): error.problem
        for error in damage
        if isinstance(error, ObjectDamaged)
    }
    asked = {*(point.id for point in points), *damaged} - set(known)
    return Look(
        points=points,
        damaged=damaged,
        damage=damage,
        asked=asked,
        locked=points_locked_until(repository.store, repository.locks, asked),
        immutability=immutability_of(repository),
        storage=measure(repository),
    )


def record_look(session: Session, row: RepositoryRow, look: Look, clock: Clock) -> Refreshed:
    done = refresh_points(session, row, look.points, clock, damaged=look.damaged)
    record_locks(session, row.id, look.asked, look.locked)
    record_immutability(row, look.immutability)
    record_storage(session, row, look.storage, clock)
    return done


def record_storage(
    session: Session, row: RepositoryRow, figures: StorageFigures, clock: Clock
) -> None:
    repositories.record_storage(
        session,
        row,
        used_bytes=figures.used_bytes,
        total_bytes=figures.total_bytes,
        available_bytes=figures.available_bytes,
        clock=clock,
    )


def record_locks(
    session: Session, repository_id: str, asked: Iterable[str], locked: Mapping[str, datetime]
) -> None:
    for point_id in asked:
        row = session.get(RestorePoint, (repository_id, point_id))
        if row is not None and row.locked_until != locked.get(point_id):
            row.locked_until = locked.get(point_id)


def record_immutability(row: RepositoryRow, facts: ImmutabilityFacts) -> None:
    row.immutable_days, row.immutable_mode = facts.days, facts.mode
    row.is_immutable, row.immutable_message = facts.is_immutable, facts.message
    row.immutable_tested_at = facts.tested_at


def immutability_of(repository: Repository) -> ImmutabilityFacts:
    """By the rule in force and the last attack on a canary."""
    repository.locks.forget()
    try:
        rule = repository.locks.rule
    except (ObjectsHidden, ObjectDamaged) as error:
        return ImmutabilityFacts(message=f"Not known to be immutable: {error.message}.")
    if rule is None:
        return ImmutabilityFacts()
    verdict = last_verdict(repository)
    return ImmutabilityFacts(
        days=rule.days,
        mode=rule.mode,
        is_immutable=verdict is not None and verdict.is_immutable,
        message=described(rule, verdict),
        tested_at=verdict.tested_at if verdict else None,
    )


def measure(repository: Repository) -> StorageFigures:
    """By the sizes of its objects."""
    used = sum(info.size_bytes for info in repository.store.list(""))
    total, available = disk_space(repository.location)
    return StorageFigures(used_bytes=used, total_bytes=total, available_bytes=available)


def disk_space(location: str) -> tuple[int | None, int | None]:
    """Size and free space of the file system; None for a bucket, and where nothing is."""
    if is_s3_url(location):
        return None, None
    candidates = (Path(location), *Path(location).parents)
    folder = next((path for path in candidates if path.is_dir()), None)
    if folder is None:
        return None, None
    status = os.statvfs(folder)
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
