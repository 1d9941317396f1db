"""Runs of every kind: look, cancel, try again; and maintenance of repositories, which are runs."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from holdfast.api.access import Caller, requires
from holdfast.api.access.requirement import NotAllowed
from holdfast.api.context import Context
from holdfast.api.paging import Page as PageQuery
from holdfast.api.runs_shown import run_brief, run_info
from holdfast.api.schemas.common import Page
from holdfast.api.schemas.runs import RunAccepted, RunBrief, RunInfo, RunKindName, RunStateName
from holdfast.catalog import inventory
from holdfast.catalog.audit import record
from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.models import Run
from holdfast.catalog.paging import read_page
from holdfast.catalog.runs import (
    add_run,
    is_in_state,
    request_again,
    request_cancel,
    transitions_of,
)
from holdfast.policy.access import Permission, VmScope
from holdfast.policy.run_states import RunKind

router = APIRouter(prefix="/runs", tags=["runs"])
RunId = Annotated[str, Path(max_length=100)]
_NEEDED: dict[RunKind, Permission] = {
    RunKind.BACKUP: Permission.BACKUP_RUN,
    RunKind.RESTORE_VM: Permission.RESTORE_RUN,
    RunKind.RESTORE_DISK: Permission.RESTORE_RUN,
    RunKind.DELETE_POINT: Permission.BACKUP_DELETE,
    RunKind.PRUNE: Permission.BACKUP_DELETE,
    RunKind.DISCOVER: Permission.INVENTORY_MANAGE,
}


@router.get("", dependencies=[requires(Permission.VIEW)])
def list_runs(
    context: Context,
    caller: Caller,
    page: PageQuery,
    kind: RunKindName | None = None,
    state: RunStateName | Literal["active"] | None = None,
    vm_id: str | None = None,
    repository_id: str | None = None,
) -> Page[RunBrief]:
    """Newest first. `active` are those that run or wait."""
    query = _visible(caller.scope(Permission.VIEW))
    if state == "active":
        query = query.where(Run.state.in_(inventory.ACTIVE))
    elif state is not None:
        query = query.where(is_in_state(state))
    for column, value in (
        (Run.kind, kind),
        (Run.vm_id, vm_id),
        (Run.repository_id, repository_id),
    ):
        if value is not None:
            query = query.where(column == value)
    with context.database.reading() as session:
        found = read_page(session, query, [Run.created_at.desc(), Run.id.desc()], page)
        items = [run_brief(run) for run in found.rows]
    return Page(items=items, total=found.total, next_cursor=found.next_cursor)


@router.get("/{run_id}", dependencies=[requires(Permission.VIEW)])
def get_run(run_id: RunId, context: Context, caller: Caller) -> RunInfo:
    with context.database.reading() as session:
        run = _find(session, caller.scope(Permission.VIEW), run_id)
        return run_info(session, run, transitions_of(session, run_id), context.clock.now())


@router.post("/{run_id}/cancel", status_code=202, dependencies=[requires(Permission.VIEW)])
def cancel_run(run_id: RunId, context: Context, caller: Caller) -> RunAccepted:
    """Stop it; nothing half-done stays. Needs the permission that starting it needs."""
    with context.database.writing() as session:
        _require_right(session, caller, run_id)
        run = request_cancel(session, run_id, f"by {caller.name}", context.clock)
        accepted = RunAccepted(run_id=run.id, state=run_brief(run).state)
        record(
            session,
            caller,
            "run.cancel",
            clock=context.clock,
            object_kind="run",
            object_id=run_id,
            details={"kind": run.kind},
        )
    return accepted


@router.post("/{run_id}/retry", status_code=202, dependencies=[requires(Permission.VIEW)])
def retry_run(run_id: RunId, context: Context, caller: Caller) -> RunAccepted:
    """The same once more, as a new run. Needs the permission that starting it needs."""
    with context.database.writing() as session:
        run = _require_right(session, caller, run_id)
        again = add_run(session, request_again(run, caller.name), context.clock)
        accepted = RunAccepted(
            run_id=again.run.id, state=run_brief(again.run).state, existing=again.existing
        )
        record(
            session,
            caller,
            "run.retry",
            clock=context.clock,
            object_kind="run",
            object_id=again.run.id,
            details={"of": run_id, "kind": run.kind},
        )
    return accepted


def _require_right(session: Session, caller: Caller, run_id: str) -> Run:
    """The run, if the caller may start one like it. Raises NotInCatalogue, NotAllowed."""
    run = _find(session, caller.scope(Permission.VIEW), run_id)
    needed = _NEEDED.get(RunKind(run.kind), Permission.REPOSITORY_MAINTAIN)
    scope = caller.scope(needed)
    if run.vm_id is None:
        if not scope.all_vms:
            raise NotAllowed(name=caller.name, permission=needed.value)
        return run
    query = _visible(scope).where(Run.id == run_id)
    if session.scalar(query) is None:
        raise NotAllowed(name=caller.name, permission=needed.value)
    return run


def _visible(scope: VmScope) -> Select[Run]:
    return select(Run).where(Run.deleted_at.is_(None), inventory.of_visible_vms(Run.vm_id, scope))


def _find(session: Session, scope: VmScope, run_id: str) -> Run:
    run = session.scalar(_visible(scope).where(Run.id == run_id))
    if run is None:
        raise NotInCatalogue(kind="run", id=run_id)
    return run
