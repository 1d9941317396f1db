"""Repositories: add, change, forget, test, measure."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Path, Query
from sqlalchemy import select

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.paging import ShortPage, part_of
from holdfast.api.repository_access import (
    checked_target,
    create_or_open,
    refresh,
    try_target,
)
from holdfast.api.schemas.repositories import (
    RepositoryCreate,
    RepositoryCreated,
    RepositoryInfo,
    RepositoryList,
    RepositoryTarget,
    RepositoryTest,
    RepositoryUpdate,
    Storage,
    StorageHistory,
    StoragePoint,
)
from holdfast.api.secrets import RepositorySecret, repository_secret, seal_repository_secret
from holdfast.catalog import inventory, repositories
from holdfast.catalog.audit import record
from holdfast.catalog.errors import StillUsed
from holdfast.catalog.models import Repository, Run
from holdfast.catalog.notices import announce
from holdfast.catalog.repository_secrets import WrongRepository
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission
from holdfast.repository import is_s3_url

router = APIRouter(prefix="/repositories", tags=["repositories"])
RepositoryId = Annotated[str, Path(max_length=100)]
_MANAGE = [requires(Permission.REPOSITORY_MANAGE, everywhere=True)]
_STALE = timedelta(minutes=10)


@router.get("", dependencies=[requires(Permission.VIEW)])
def list_repositories(context: Context, page: ShortPage) -> RepositoryList:
    """All repositories, by name, with the figures of their last measurement."""
    with context.database.reading() as session:
        counts = repositories.count_vms(session)
        rows = repositories.list_repositories(session)
        items = [_info(row, counts.get(row.id, 0)) for row in rows]
    part = part_of(items, page)
    return RepositoryList(
        repositories=list(part.rows), total=part.total, next_cursor=part.next_cursor
    )


@router.post("", status_code=201, dependencies=_MANAGE)
def create_repository(
    body: RepositoryCreate, context: Context, caller: Caller
) -> RepositoryCreated:
    """Make a repository, or add one that is there with all its backups. The recovery kit of a new
    one is in this answer and nowhere else."""
    target = checked_target(body)
    secret = RepositorySecret(
        passphrase=body.passphrase.get_secret_value(), s3_secret_key=target.s3_secret_key
    )
    with context.database.reading() as session:
        taken = session.scalar(
            select(Repository.name).where(
                (Repository.name == body.name) | (Repository.location == target.location)
            )
        )
    if taken is not None:
        raise InvalidInput(
            what="repository", problem=f"{taken} has this name or this location already"
        )
    opened, kit = create_or_open(
        target, body.mode, secret, context, immutable_days=body.immutable_days
    )
    with context.database.writing() as session:
        row = Repository(
            id=opened.id,
            name=body.name,
            kind="s3" if is_s3_url(target.location) else "local",
            location=target.location,
            settings=target.settings,
            chunk_bytes=opened.chunk_bytes,
            created_at=context.clock.now(),
            state="online",
            state_message="",
            state_at=context.clock.now(),
            last_check_result="",
        )
        row.sealed_secret = seal_repository_secret(context.sealing, row.id, secret)
        session.add(row)
        inventory.flush_unique(session, kind="repository", name=f"{body.name} ({opened.id})")
        announce(session, "repository", row.id, "created", clock=context.clock)
        record(
            session,
            caller,
            f"repository.{body.mode}",
            clock=context.clock,
            object_kind="repository",
            object_id=row.id,
            details={"name": row.name, "location": row.location},
        )
    imported = refresh(context, opened.id)
    with context.database.reading() as session:
        counts = repositories.count_vms(session)
        info = _info(repositories.find_repository(session, opened.id), counts.get(opened.id, 0))
    return RepositoryCreated(**info.model_dump(), recovery_kit=kit, imported_backups=imported)


@router.post("/test", dependencies=_MANAGE)
def test_repository(body: RepositoryTarget, context: Context) -> RepositoryTest:
    """What is at a location, and whether a repository could be made there."""
    return try_target(checked_target(body), context)


@router.get("/{repository_id}", dependencies=[requires(Permission.VIEW)])
def get_repository(repository_id: RepositoryId, context: Context) -> RepositoryInfo:
    with context.database.reading() as session:
        counts = repositories.count_vms(session)
        row = repositories.find_repository(session, repository_id)
        return _info(row, counts.get(row.id, 0))


@router.patch("/{repository_id}", dependencies=_MANAGE)
def update_repository(
    repository_id: RepositoryId, body: RepositoryUpdate, context: Context, caller: Caller
) -> RepositoryInfo:
    """Rename it, say where it is now, or change its stored secrets. Another location or endpoint
    needs the secrets again, and must hold the same repository."""
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
        name, old = body.name or row.name, row
    moved = body.location is not None or body.s3 is not None
    passphrase = body.passphrase.get_secret_value() if body.passphrase else None
    if moved and passphrase is None:
        raise InvalidInput(what="repository", problem="another place needs the passphrase again")
    location, settings, sealed = old.location, dict(old.settings), old.sealed_secret
    if moved or passphrase is not None:
        target = (
            checked_target(RepositoryTarget(location=body.location or old.location, s3=body.s3))
            if moved
            else None
        )
        secret_key = target.s3_secret_key if target else _kept_key(context, old)
        secret = RepositorySecret(passphrase=passphrase or "", s3_secret_key=secret_key)
        if target is not None:
            location, settings = target.location, target.settings
            opened, _ = create_or_open(target, "open", secret, context)
            if opened.id != repository_id:
                raise WrongRepository(location=location, found=opened.id)
        sealed = seal_repository_secret(context.sealing, repository_id, secret)
    context.repositories.drop(repository_id)
    with context.database.writing() as session:
        row = repositories.find_repository(session, repository_id)
        row.name, row.location, row.settings, row.sealed_secret = name, location, settings, sealed
        inventory.flush_unique(session, kind="repository", name=name)
        announce(session, "repository", repository_id, "changed", clock=context.clock)
        record(
            session,
            caller,
            "repository.update",
            clock=context.clock,
            object_kind="repository",
            object_id=repository_id,
            details={"fields": sorted(body.model_fields_set)},
        )
    with context.database.reading() as session:
        counts = repositories.count_vms(session)
        return _info(
            repositories.find_repository(session, repository_id), counts.get(repository_id, 0)
        )


@router.delete("/{repository_id}", status_code=204, dependencies=_MANAGE)
def forget_repository(repository_id: RepositoryId, context: Context, caller: Caller) -> None:
    """Forget it here. Nothing in it is touched; it can be added again with all its backups."""
    with context.database.writing() as session:
        row = repositories.find_repository(session, repository_id)
        busy = session.scalar(
            select(Run.id).where(
                Run.repository_id == repository_id, Run.state.in_(inventory.ACTIVE)
            )
        )
        if busy is not None:
            raise StillUsed(kind="repository", name=row.name, problem="a run works on it")
        details = {"name": row.name, "location": row.location}
        session.delete(row)
        announce(session, "repository", repository_id, "removed", clock=context.clock)
        record(
            session,
            caller,
            "repository.forget",
            clock=context.clock,
            object_kind="repository",
            object_id=repository_id,
            details=details,
        )
    context.repositories.drop(repository_id)


@router.post(
    "/{repository_id}/refresh",
    dependencies=[requires(Permission.REPOSITORY_MAINTAIN, everywhere=True)],
)
def refresh_repository(repository_id: RepositoryId, context: Context) -> RepositoryInfo:
    """Read its points and measure it now."""
    refresh(context, repository_id)
    return get_repository(repository_id, context)


@router.get("/{repository_id}/storage", dependencies=[requires(Permission.VIEW)])
def get_storage(
    repository_id: RepositoryId,
    context: Context,
    fresh: Annotated[bool, Query(description="Measure now, whenever it was measured.")] = False,
) -> Storage:
    """Its figures, measured anew when they are older than ten minutes."""
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
        measured = row.measured_at
    if fresh or measured is None or context.clock.now() - measured > _STALE:
        refresh(context, repository_id)
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
        return _storage(row)


@router.get("/{repository_id}/storage/history", dependencies=[requires(Permission.VIEW)])
def get_storage_history(
    repository_id: RepositoryId,
    context: Context,
    days: Annotated[int, Query(ge=1, le=3650)] = 90,
) -> StorageHistory:
    """What was measured over time, oldest first."""
    since = context.clock.now() - timedelta(days=days)
    with context.database.reading() as session:
        repositories.find_repository(session, repository_id)
        samples = repositories.storage_history(session, repository_id, since)
        return StorageHistory(
            repository_id=repository_id,
            samples=[StoragePoint.model_validate(sample) for sample in samples],
        )


def _kept_key(context: Context, row: Repository) -> str:
    return repository_secret(context.sealing, row).s3_secret_key


def _storage(row: Repository) -> Storage:
    used, logical = row.used_bytes or 0, row.logical_bytes or 0
    total, available = row.total_bytes, row.available_bytes
    share = None
    if total and available is not None:
        share = round(100 * (total - available) / total, 1)
    return Storage(
        repository_id=row.id,
        total_bytes=total,
        used_bytes=used,
        available_bytes=available,
        used_percent=share,
        backup_count=row.backup_count or 0,
        logical_bytes=logical,
        dedup_ratio=_ratio(row),
        last_check_at=row.last_check_at,
        measured_at=row.measured_at or row.created_at,
    )


def _ratio(row: Repository) -> float | None:
    if not row.used_bytes or row.logical_bytes is None:
        return None
    return round(row.logical_bytes / row.used_bytes, 2)


def _info(row: Repository, vm_count: int) -> RepositoryInfo:
    return RepositoryInfo(
        id=row.id,
        name=row.name,
        type=cast("Literal['local', 's3']", row.kind),
        location=row.location,
        endpoint=str(row.settings.get("endpoint") or ""),
        region=str(row.settings.get("region") or ""),
        chunk_bytes=row.chunk_bytes,
        state=cast("Literal['unknown', 'online', 'offline']", row.state),
        state_message=row.state_message,
        state_at=row.state_at,
        total_bytes=row.total_bytes,
        available_bytes=row.available_bytes,
        used_bytes=row.used_bytes,
        logical_bytes=row.logical_bytes,
        dedup_ratio=_ratio(row),
        backup_count=row.backup_count or 0,
        vm_count=vm_count,
        measured_at=row.measured_at,
        last_check_at=row.last_check_at,
        last_check_result=row.last_check_result,
        created_at=row.created_at,
    )
