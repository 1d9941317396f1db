"""Figures over everything, for the dashboard's first page: a few indexed queries each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from holdfast.catalog.inventory import ACTIVE, in_scope, of_visible_vms, protection_is
from holdfast.catalog.models import Platform, Repository, Run, StorageSample, VirtualMachine
from holdfast.policy.access import VmScope
from holdfast.policy.run_states import RunKind, RunState

_BACKUP = RunKind.BACKUP.value


@dataclass(slots=True)
class Day:
    """What became of the backups that ended on a day."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    read_bytes: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageDay:
    day: date
    used_bytes: int
    logical_bytes: int


def activity(
    session: Session, scope: VmScope, zone: tzinfo, now: datetime, days: int
) -> dict[date, Day]:
    """Every day of the span, also those on which nothing happened, oldest first."""
    today = now.astimezone(zone).date()
    dates = [today - timedelta(days=days - 1 - number) for number in range(days)]
    found = {day: Day() for day in dates}
    for number, state, count, read, stored in session.execute(_ended(scope, zone, dates)):
        day = found[dates[number]]
        if state == RunState.COMPLETED.value:
            day.completed, day.read_bytes, day.stored_bytes = count, int(read), int(stored)
        elif state == RunState.FAILED.value:
            day.failed = count
        else:
            day.cancelled += count
    return found


def _ended(scope: VmScope, zone: tzinfo, dates: Sequence[date]) -> Select[int, str, int, int, int]:
    """Backups that ended, by the number of their day in `dates` and by state. Counted in the
    database: in a fortnight there may be a hundred thousand."""
    begins = [
        datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        for day in (*dates, dates[-1] + timedelta(days=1))
    ]
    number = case(
        *((Run.completed_at < end, number) for number, end in enumerate(begins[1:-1])),
        else_=len(dates) - 1,
    ).label("number")
    return (
        select(
            number, Run.state, func.count(), func.sum(Run.read_bytes), func.sum(Run.stored_bytes)
        )
        .where(
            Run.completed_at >= begins[0],
            Run.completed_at < begins[-1],
            Run.kind == _BACKUP,
            of_visible_vms(Run.vm_id, scope),
        )
        .group_by(number, Run.state)
    )


def storage_days(session: Session, zone: tzinfo, since: datetime) -> list[StorageDay]:
    """All repositories together: of each day the last sample of each, carried forward over days
    on which one was not measured."""
    rows = session.execute(
        select(
            StorageSample.repository_id,
            StorageSample.at,
            StorageSample.used_bytes,
            StorageSample.logical_bytes,
        )
        .where(StorageSample.at >= since)
        .order_by(StorageSample.at)
    )
    latest: dict[str, tuple[int, int]] = {}
    days: dict[date, StorageDay] = {}
    for repository_id, at, used, logical in rows:
        latest[repository_id] = (used, logical)
        day = at.astimezone(zone).date()
        days[day] = StorageDay(
            day=day,
            used_bytes=sum(item[0] for item in latest.values()),
            logical_bytes=sum(item[1] for item in latest.values()),
        )
    return list(days.values())


def count_active(session: Session, scope: VmScope) -> dict[str, int]:
    """Runs of all kinds by state, `pending` and `running`."""
    rows = session.execute(
        select(Run.state, func.count())
        .where(Run.state.in_(ACTIVE), of_visible_vms(Run.vm_id, scope))
        .group_by(Run.state)
    )
    return {state: count for state, count in rows}  # noqa: C416 - rows are no pairs to the checker


def recent_runs(session: Session, scope: VmScope, states: Sequence[str], limit: int) -> list[Run]:
    """Newest first."""
    return list(
        session.scalars(
            select(Run)
            .where(
                Run.state.in_(states),
                Run.deleted_at.is_(None),
                of_visible_vms(Run.vm_id, scope),
            )
            .order_by(Run.created_at.desc())
            .limit(limit)
        )
    )


def worst_protected(
    session: Session, scope: VmScope, stale_before: datetime, limit: int
) -> list[VirtualMachine]:
    """VMs that need a look: those whose backup failed, then those without one, then old ones."""
    found: list[VirtualMachine] = []
    for state in ("failing", "unprotected", "stale"):
        if len(found) >= limit:
            break
        found += session.scalars(
            select(VirtualMachine)
            .where(
                in_scope(scope),
                VirtualMachine.managed.is_(True),
                protection_is(state, stale_before),
            )
            .order_by(VirtualMachine.last_backup_at, VirtualMachine.name)
            .limit(limit - len(found))
        )
    return found


def totals(session: Session) -> tuple[int | None, int | None]:
    """Used and logical bytes of all repositories that were measured; None when none was."""
    used, logical = session.execute(
        select(func.sum(Repository.used_bytes), func.sum(Repository.logical_bytes)).where(
            Repository.used_bytes.is_not(None)
        )
    ).one()
    return (None if used is None else int(used), None if logical is None else int(logical))


def count_troubled(session: Session) -> tuple[int, int]:
    """Repositories that are offline, platforms that cannot be reached."""
    offline = session.scalar(
        select(func.count()).select_from(Repository).where(Repository.state == "offline")
    )
    unreachable = session.scalar(
        select(func.count()).select_from(Platform).where(Platform.state == "unreachable")
    )
    return offline or 0, unreachable or 0
