"""Virtual machines: the list, one of them, its timeline of restore points."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Path, Query
from sqlalchemy import select

from holdfast.api.access import Caller, requires
from holdfast.api.backups_shown import locked_now
from holdfast.api.context import Context
from holdfast.api.paging import Page as PageQuery
from holdfast.api.runs_shown import run_brief
from holdfast.api.runtime_settings import runtime_settings
from holdfast.api.schemas.common import Page
from holdfast.api.schemas.vms import Timeline, TimelinePoint, VmDetail, VmInfo, VmUpdate
from holdfast.api.vms_shown import vm_detail, vm_infos
from holdfast.catalog import inventory, repositories
from holdfast.catalog.audit import record
from holdfast.catalog.models import Run
from holdfast.catalog.notices import announce
from holdfast.catalog.points import points_of_vm
from holdfast.policy.access import Permission

router = APIRouter(prefix="/vms", tags=["vms"])
VmId = Annotated[str, Path(max_length=100)]
Sort = Literal["name", "last_backup_at", "size_bytes", "stored_bytes", "added_at"]
_FAILURES = 50


@router.get("", dependencies=[requires(Permission.VIEW)])
def list_vms(
    context: Context,
    caller: Caller,
    page: PageQuery,
    q: Annotated[str, Query(max_length=200, description="Part of the name.")] = "",
    platform_id: str | None = None,
    power: Literal["running", "paused", "shut_off", "unknown"] | None = None,
    tag: str | None = None,
    group_id: str | None = None,
    protection: Literal["protected", "stale", "unprotected", "failing"] | None = None,
    managed: Annotated[
        bool, Query(description="False: also VMs that are known by their backups only.")
    ] = True,
    sort: Sort = "name",
    order: Literal["asc", "desc"] = "asc",
) -> Page[VmInfo]:
    """VMs, filtered and sorted, a page at a time."""
    with context.database.reading() as session:
        stale_before = runtime_settings(session).stale_before(context.clock.now())
        found = inventory.list_vms(
            session,
            caller.scope(Permission.VIEW),
            inventory.VmFilter(
                text=q,
                platform_id=platform_id,
                power=power,
                tag=tag,
                group_id=group_id,
                protection=protection,
                stale_before=stale_before,
                managed_only=managed,
            ),
            page,
            sort=sort,
            descending=order == "desc",
        )
        items = vm_infos(session, found.rows, stale_before)
    return Page(items=items, total=found.total, next_cursor=found.next_cursor)


@router.get("/{vm_id}", dependencies=[requires(Permission.VIEW)])
def get_vm(vm_id: VmId, context: Context, caller: Caller) -> VmDetail:
    with context.database.reading() as session:
        row = inventory.find_vm(session, caller.scope(Permission.VIEW), vm_id)
        stale_before = runtime_settings(session).stale_before(context.clock.now())
        return vm_detail(session, row, stale_before)


@router.patch("/{vm_id}", dependencies=[requires(Permission.INVENTORY_MANAGE, everywhere=True)])
def update_vm(vm_id: VmId, body: VmUpdate, context: Context, caller: Caller) -> VmDetail:
    """Set its tags."""
    with context.database.writing() as session:
        row = inventory.find_vm(session, caller.scope(Permission.INVENTORY_MANAGE), vm_id)
        inventory.set_tags(session, row, body.tags)
        session.flush()
        stale_before = runtime_settings(session).stale_before(context.clock.now())
        detail = vm_detail(session, row, stale_before)
        announce(session, "vm", vm_id, "changed", clock=context.clock, vm_id=vm_id)
        record(
            session,
            caller,
            "vm.update",
            clock=context.clock,
            object_kind="vm",
            object_id=vm_id,
            details={"tags": sorted(body.tags)},
        )
    return detail


@router.delete(
    "/{vm_id}",
    status_code=204,
    dependencies=[requires(Permission.INVENTORY_MANAGE, everywhere=True)],
)
def remove_vm(vm_id: VmId, context: Context, caller: Caller) -> None:
    """Take it out of management. Its backups stay, and stay listed."""
    with context.database.writing() as session:
        row = inventory.find_vm(session, caller.scope(Permission.INVENTORY_MANAGE), vm_id)
        row.managed = False
        inventory.set_tags(session, row, [])
        announce(session, "vm", vm_id, "removed", clock=context.clock, vm_id=vm_id)
        record(
            session,
            caller,
            "vm.remove",
            clock=context.clock,
            object_kind="vm",
            object_id=vm_id,
            details={"name": row.name},
        )


@router.get("/{vm_id}/timeline", dependencies=[requires(Permission.VIEW)])
def get_timeline(vm_id: VmId, context: Context, caller: Caller) -> Timeline:
    """Its restore points in all repositories, oldest first, and the backups that failed."""
    with context.database.reading() as session:
        inventory.find_vm(session, caller.scope(Permission.VIEW), vm_id)
        names = repositories.names_of_repositories(session)
        points = points_of_vm(session, vm_id)
        failures = session.scalars(
            select(Run)
            .where(Run.vm_id == vm_id, Run.kind == "backup", Run.state == "failed")
            .order_by(Run.created_at.desc())
            .limit(_FAILURES)
        ).all()
        return Timeline(
            vm_id=vm_id,
            points=[
                TimelinePoint(
                    backup_id=point.run_id,
                    point_id=point.id,
                    repository_id=point.repository_id,
                    repository_name=names.get(point.repository_id, ""),
                    captured_at=point.captured_at,
                    captured_as=cast("Literal['full', 'incremental']", point.captured_as),
                    consistency=point.consistency,
                    size_bytes=point.size_bytes,
                    stored_bytes=point.stored_bytes,
                    held=point.held,
                    suspect=point.suspect,
                    damaged=point.damaged,
                    immutable_until=locked_now(point, context.clock.now()),
                )
                for point in points
            ],
            total=len(points),
            failures=[run_brief(run) for run in failures],
        )
