"""Machine groups: VMs under a name, for the scope of roles and for what is planned over them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.paging import ShortPage, part_of
from holdfast.api.schemas.common import Page
from holdfast.api.schemas.vms import GroupBody, GroupInfo
from holdfast.catalog import groups, inventory
from holdfast.catalog.audit import record
from holdfast.catalog.models import MachineGroup
from holdfast.catalog.notices import announce
from holdfast.core.ids import uuid7
from holdfast.policy.access import Permission

router = APIRouter(prefix="/machine-groups", tags=["machine groups"])
GroupId = Annotated[str, Path(max_length=100)]
_MANAGE = [requires(Permission.INVENTORY_MANAGE, everywhere=True)]


@router.get("", dependencies=[requires(Permission.VIEW, everywhere=True)])
def list_groups(context: Context, page: ShortPage) -> Page[GroupInfo]:
    with context.database.reading() as session:
        rows = groups.list_groups(session)
        items = [_info(session, row) for row in rows]
    part = part_of(items, page)
    return Page(items=list(part.rows), total=part.total, next_cursor=part.next_cursor)


@router.post("", status_code=201, dependencies=_MANAGE)
def create_group(body: GroupBody, context: Context, caller: Caller) -> GroupInfo:
    with context.database.writing() as session:
        row = MachineGroup(
            id=str(uuid7(context.clock)),
            name=body.name,
            description=body.description,
            created_at=context.clock.now(),
        )
        session.add(row)
        return _saved(session, row, body, context, caller, "create")


@router.get("/{group_id}", dependencies=[requires(Permission.VIEW, everywhere=True)])
def get_group(group_id: GroupId, context: Context) -> GroupInfo:
    with context.database.reading() as session:
        return _info(session, groups.find_group(session, group_id))


@router.put("/{group_id}", dependencies=_MANAGE)
def replace_group(
    group_id: GroupId, body: GroupBody, context: Context, caller: Caller
) -> GroupInfo:
    with context.database.writing() as session:
        row = groups.find_group(session, group_id)
        row.name, row.description = body.name, body.description
        return _saved(session, row, body, context, caller, "update")


@router.delete("/{group_id}", status_code=204, dependencies=_MANAGE)
def delete_group(group_id: GroupId, context: Context, caller: Caller) -> None:
    """The VMs stay."""
    with context.database.writing() as session:
        row = groups.find_group(session, group_id)
        session.delete(row)
        announce(session, "machine_group", group_id, "removed", clock=context.clock)
        record(
            session,
            caller,
            "group.delete",
            clock=context.clock,
            object_kind="machine_group",
            object_id=group_id,
            details={"name": row.name},
        )


def _saved(
    session: Session,
    row: MachineGroup,
    body: GroupBody,
    context: Context,
    caller: Caller,
    action: str,
) -> GroupInfo:
    inventory.flush_unique(session, kind="machine group", name=body.name)
    groups.set_members(session, row, body.vm_ids)
    session.flush()
    info = _info(session, row)
    announce(session, "machine_group", row.id, "changed", clock=context.clock)
    record(
        session,
        caller,
        f"group.{action}",
        clock=context.clock,
        object_kind="machine_group",
        object_id=row.id,
        details={"name": body.name, "vms": len(body.vm_ids)},
    )
    return info


def _info(session: Session, row: MachineGroup) -> GroupInfo:
    return GroupInfo(
        id=row.id,
        name=row.name,
        description=row.description,
        vm_ids=groups.members_of(session, [row.id]).get(row.id, []),
        created_at=row.created_at,
    )
