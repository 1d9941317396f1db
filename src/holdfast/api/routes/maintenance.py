"""Keeping repositories in order. Each of these queues a run, and says which."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from sqlalchemy import select

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.retention import preview_prune, scope_of
from holdfast.api.runs_shown import run_brief
from holdfast.api.schemas.repositories import (
    CheckBody,
    CopyBody,
    ImmutabilityBody,
    PruneBody,
    PrunePreview,
    RepairBody,
    VerifyBody,
)
from holdfast.api.schemas.runs import RunAccepted
from holdfast.api.unique_bytes import PointsSeen
from holdfast.catalog import repositories
from holdfast.catalog.audit import record
from holdfast.catalog.looks import immutability_of, record_immutability
from holdfast.catalog.models import RestorePoint
from holdfast.catalog.notices import announce
from holdfast.catalog.runs import RunRequest, add_run, exclusive_key_of
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission
from holdfast.policy.run_states import RunKind
from holdfast.repository.canary import require_locks

router = APIRouter(prefix="/repositories", tags=["maintenance"])
RepositoryId = Annotated[str, Path(max_length=100)]
_MAINTAIN = [requires(Permission.REPOSITORY_MAINTAIN, everywhere=True)]
_MANAGE = [requires(Permission.REPOSITORY_MANAGE, everywhere=True)]
_MEASURE_S = 5.0
_PRUNE = [requires(Permission.BACKUP_DELETE, everywhere=True)]


@router.post("/{repository_id}/check", status_code=202, dependencies=_MAINTAIN)
def check_repository(
    repository_id: RepositoryId, body: CheckBody, context: Context, caller: Caller
) -> RunAccepted:
    """Is every restore point complete? With `read_data` every stored byte is read."""
    return _submit(context, caller, RunKind.CHECK, repository_id, body.model_dump())


@router.post("/{repository_id}/verify", status_code=202, dependencies=_MAINTAIN)
def verify_repository(
    repository_id: RepositoryId, body: VerifyBody, context: Context, caller: Caller
) -> RunAccepted:
    """Read and prove what is stored: all of it, a sample, or what was not proven lately."""
    return _submit(context, caller, RunKind.VERIFY, repository_id, body.model_dump())


@router.post("/{repository_id}/compact", status_code=202, dependencies=_MAINTAIN)
def compact_repository(
    repository_id: RepositoryId, context: Context, caller: Caller
) -> RunAccepted:
    """Give the space of deleted points back; goes beside backups."""
    return _submit(context, caller, RunKind.COMPACT, repository_id, {})


@router.post("/{repository_id}/lock", status_code=202, dependencies=_MAINTAIN)
def lock_repository(repository_id: RepositoryId, context: Context, caller: Caller) -> RunAccepted:
    """Renew the locks of all that restore points of an immutable repository need, and try once more
    to break one. The service does this every day by itself."""
    return _submit(context, caller, RunKind.LOCK, repository_id, {})


@router.put("/{repository_id}/immutability", status_code=202, dependencies=_MANAGE)
def change_immutability(
    repository_id: RepositoryId, body: ImmutabilityBody, context: Context, caller: Caller
) -> RunAccepted:
    """Make a repository immutable, or change for how long. No lock that is set ends earlier. The
    run locks what is in the repository already."""
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
    opened = context.repositories.get(row)
    if body.days:
        require_locks(opened, body.mode)
    opened.locks.change(days=body.days, mode=body.mode)
    facts = immutability_of(opened)
    with context.database.writing() as session:
        record_immutability(repositories.find_repository(session, repository_id), facts)
        announce(session, "repository", repository_id, "changed", clock=context.clock)
        record(
            session,
            caller,
            "repository.immutability",
            clock=context.clock,
            object_kind="repository",
            object_id=repository_id,
            details=body.model_dump(),
        )
    return _submit(context, caller, RunKind.LOCK, repository_id, {})


@router.post("/{repository_id}/prune/preview", dependencies=_PRUNE)
def preview_prune_repository(
    repository_id: RepositoryId, body: PruneBody, context: Context
) -> PrunePreview:
    """What the rule would keep and delete, and why, and how much space would go."""
    scope = scope_of(body)
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
        session.expunge(row)
        runs: dict[str, str] = {}
        query = select(RestorePoint.id, RestorePoint.run_id).where(
            RestorePoint.repository_id == repository_id
        )
        for point_id, run_id in session.execute(query):
            runs[point_id] = run_id
    seen = PointsSeen(count=len(runs), newest_id=max(runs, default=""))
    unique = context.unique.of(row, seen, wait_s=_MEASURE_S)
    return preview_prune(context.repositories.get(row), scope, runs, unique)


@router.post("/{repository_id}/prune", status_code=202, dependencies=_PRUNE)
def prune_repository(
    repository_id: RepositoryId, body: PruneBody, context: Context, caller: Caller
) -> RunAccepted:
    """Delete by the rule what the preview showed: the points of `confirm_point_ids`, or as many as
    `confirm_points` says. If others would go by now, nothing is deleted."""
    if body.dry_run:
        problem = "dry_run is set: ask prune/preview for what would go, or send dry_run false"
        raise InvalidInput(what="prune", problem=problem)
    if body.confirm_points is None and body.confirm_point_ids is None:
        problem = "confirm_point_ids is missing: the points that the preview said would go"
        raise InvalidInput(what="prune", problem=problem)
    scope_of(body)
    given = {"vm_name", "confirm_points", "confirm_point_ids"}
    request = {
        "rule": body.rule.model_dump(exclude_none=True),
        "compact": body.compact,
        "time_zone": body.time_zone,
        **body.model_dump(include=given, exclude_none=True),
    }
    return _submit(context, caller, RunKind.PRUNE, repository_id, request)


@router.post("/{repository_id}/copy", status_code=202, dependencies=_MAINTAIN)
def copy_repository(
    repository_id: RepositoryId, body: CopyBody, context: Context, caller: Caller
) -> RunAccepted:
    """Copy restore points to another repository; only what is missing there moves."""
    if body.to_repository_id == repository_id:
        problem = "a repository cannot be copied to itself"
        raise InvalidInput(what="to_repository_id", problem=problem)
    with context.database.reading() as session:
        repositories.find_repository(session, body.to_repository_id)
        points: list[str] | None = None
        if body.backup_ids is not None:
            points = list(
                session.scalars(
                    select(RestorePoint.id).where(
                        RestorePoint.repository_id == repository_id,
                        RestorePoint.run_id.in_(body.backup_ids),
                    )
                )
            )
            if len(points) != len(set(body.backup_ids)):
                problem = "some of these backups have no restore point in this repository"
                raise InvalidInput(what="backup_ids", problem=problem)
    request = {"to_repository_id": body.to_repository_id, "point_ids": points}
    return _submit(context, caller, RunKind.COPY, repository_id, request)


@router.post("/{repository_id}/repair", status_code=202, dependencies=_MAINTAIN)
def repair_repository(
    repository_id: RepositoryId, body: RepairBody, context: Context, caller: Caller
) -> RunAccepted:
    """Save what can still be read of damaged packs, put right a damaged config, sentinel or
    manifest where it is proven what it was, and take what is lost from a copy of the same points.
    Nothing is dropped; what stays lost fails the run and is in its log."""
    if body.from_repository_id is not None:
        if body.from_repository_id == repository_id:
            problem = "a repository cannot be repaired from itself"
            raise InvalidInput(what="from_repository_id", problem=problem)
        with context.database.reading() as session:
            repositories.find_repository(session, body.from_repository_id)
    request = body.model_dump(exclude_none=True)
    return _submit(context, caller, RunKind.REPAIR, repository_id, request)


def _submit(
    context: Context, caller: Caller, kind: RunKind, repository_id: str, request: dict[str, Any]
) -> RunAccepted:
    with context.database.writing() as session:
        repositories.find_repository(session, repository_id)
        submitted = add_run(
            session,
            RunRequest(
                kind=kind,
                repository_id=repository_id,
                request=request,
                exclusive_key=exclusive_key_of(kind, None, repository_id, None),
                created_by=caller.name,
            ),
            context.clock,
        )
        accepted = RunAccepted(
            run_id=submitted.run.id,
            state=run_brief(submitted.run).state,
            existing=submitted.existing,
        )
        record(
            session,
            caller,
            f"repository.{kind.value}",
            clock=context.clock,
            object_kind="repository",
            object_id=repository_id,
            details={"run": submitted.run.id},
        )
    return accepted
