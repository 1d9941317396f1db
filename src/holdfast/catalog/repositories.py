"""Queries on repositories, their figures over time. Secrets are sealed by whoever writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, distinct, func, select
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.models import Repository, RestorePoint, StorageSample
from holdfast.core.clock import Clock

_KEEP_ALL = timedelta(days=2)


def list_repositories(session: Session) -> Sequence[Repository]:
    return session.scalars(
        select(Repository).order_by(func.lower(Repository.name), Repository.id)
    ).all()


def find_repository(session: Session, repository_id: str) -> Repository:
    """Raises NotInCatalogue."""
    repository = session.get(Repository, repository_id)
    if repository is None:
        raise NotInCatalogue(kind="repository", id=repository_id)
    return repository


def names_of_repositories(session: Session) -> Mapping[str, str]:
    names: dict[str, str] = {}
    for repository_id, name in session.execute(select(Repository.id, Repository.name)):
        names[repository_id] = name
    return names


def count_vms(session: Session) -> Mapping[str, int]:
    """VMs with a restore point, by repository."""
    counts: dict[str, int] = {}
    query = select(RestorePoint.repository_id, func.count(distinct(RestorePoint.vm_id))).group_by(
        RestorePoint.repository_id
    )
    for repository_id, count in session.execute(query):
        counts[repository_id] = count
    return counts


def record_storage(
    session: Session,
    repository: Repository,
    *,
    used_bytes: int,
    total_bytes: int | None,
    available_bytes: int | None,
    clock: Clock,
) -> None:
    """What was measured now, and as a sample of the trend."""
    now = clock.now()
    repository.used_bytes = used_bytes
    repository.total_bytes = total_bytes
    repository.available_bytes = available_bytes
    repository.measured_at = now
    repository.state, repository.state_message, repository.state_at = "online", "", now
    session.merge(
        StorageSample(
            repository_id=repository.id,
            at=now,
            used_bytes=used_bytes,
            logical_bytes=repository.logical_bytes or 0,
            available_bytes=available_bytes,
            backup_count=repository.backup_count or 0,
        )
    )
    _thin(session, repository.id, now)


def record_offline(repository: Repository, problem: str, clock: Clock) -> None:
    repository.state = "offline"
    repository.state_message, repository.state_at = problem, clock.now()


def storage_history(
    session: Session, repository_id: str, since: datetime
) -> Sequence[StorageSample]:
    """Oldest first."""
    return session.scalars(
        select(StorageSample)
        .where(StorageSample.repository_id == repository_id, StorageSample.at >= since)
        .order_by(StorageSample.at)
    ).all()


def _thin(session: Session, repository_id: str, now: datetime) -> None:
    """Of days that are over for two, only the last sample stays."""
    border = (now - _KEEP_ALL).replace(hour=0, minute=0, second=0, microsecond=0)
    old = session.scalars(
        select(StorageSample.at)
        .where(
            StorageSample.repository_id == repository_id,
            StorageSample.at < border,
            StorageSample.at >= border - timedelta(days=3),
        )
        .order_by(StorageSample.at)
    ).all()
    last_of_day = {moment.date(): moment for moment in old}
    superfluous = [moment for moment in old if last_of_day[moment.date()] != moment]
    if superfluous:
        session.execute(
            delete(StorageSample).where(
                StorageSample.repository_id == repository_id, StorageSample.at.in_(superfluous)
            )
        )
