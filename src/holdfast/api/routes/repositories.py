"""Repositories: add, change, forget, test, measure."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy import select

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.paging import ShortPage, part_of
from holdfast.api.repositories_shown import (
    DAMAGED_HINT,
    damaged_infos,
    repository_infos,
    storage_info,
)
from holdfast.api.repository_access import (
    checked_target,
    create_or_open,
    refresh,
    try_target,
)
from holdfast.api.schemas.repositories import (
    DamagedPoints,
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
from holdfast.catalog.points import damaged_points
from holdfast.catalog.repository_secrets import WrongRepository
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission
from holdfast.repository import is_s3_url
from holdfast.repository.format.immutability import Immutability

router = APIRouter(prefix="/repositories", tags=["repositories"])
RepositoryId = Annotated[str, Path(max_length=100)]
_MANAGE = [requires(Permission.REPOSITORY_MANAGE, everywhere=True)]
_STALE = timedelta(minutes=10)


@router.get("", dependencies=[requires(Permission.VIEW)])
def list_repositories(context: Context, page: ShortPage) -> RepositoryList:
    """All repositories, by name, with the figures of their last measurement."""
    with context.database.reading() as session:
        items = repository_infos(session, repositories.list_repositories(session))
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
    days = body.immutable_days
    rule = Immutability(days=days, mode=body.immutable_mode) if days else None
    opened, kit = create_or_open(target, body.mode, secret, context, rule=rule)
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
            damaged_points=[],
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
        [info] = repository_infos(session, [repositories.find_repository(session, opened.id)])
    return RepositoryCreated(**info.model_dump(), recovery_kit=kit, imported_backups=imported)


@router.post("/test", dependencies=_MANAGE)
def test_repository(body: RepositoryTarget, context: Context) -> RepositoryTest:
    """What is at a location, and whether a repository could be made there."""
    return try_target(checked_target(body), context)


@router.get("/{repository_id}", dependencies=[requires(Permission.VIEW)])
def get_repository(repository_id: RepositoryId, context: Context) -> RepositoryInfo:
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
        [info] = repository_infos(session, [row])
        return info


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
    return get_repository(repository_id, context)


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


@router.get("/{repository_id}/damaged", dependencies=[requires(Permission.VIEW)])
def list_damaged_points(
    repository_id: RepositoryId, context: Context, caller: Caller
) -> DamagedPoints:
    """Restore points that cannot be read, by the last look at the repository: of VMs that the
    caller sees, and, for who sees all, also those of which nothing is known but their id."""
    scope = caller.scope(Permission.VIEW)
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
        points = damaged_infos(row, damaged_points(session, repository_id, scope))
        if not scope.all_vms:
            points = [point for point in points if point.vm_id is not None]
    return DamagedPoints(
        repository_id=repository_id, points=points, total=len(points), hint=DAMAGED_HINT
    )


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
        return storage_info(row)


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
