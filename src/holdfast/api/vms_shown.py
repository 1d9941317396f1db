"""VMs as the API shows them: a page of rows and what belongs to them in a handful of queries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.api.platform_access import is_remote
from holdfast.api.runs_shown import run_brief
from holdfast.api.schemas.platforms import DiscoveredDisk, DiscoveredNic
from holdfast.api.schemas.vms import VmDetail, VmInfo
from holdfast.catalog import inventory
from holdfast.catalog.models import Platform, Repository, Run, VirtualMachine

Power = Literal["running", "paused", "shut_off", "unknown"]


def vm_infos(
    session: Session, rows: Sequence[VirtualMachine], stale_before: datetime
) -> list[VmInfo]:
    ids = [row.id for row in rows]
    tags, groups = inventory.tags_of(session, ids), inventory.groups_of(session, ids)
    active = inventory.active_backups_of(session, ids)
    platforms = {
        platform.id: platform
        for platform in session.scalars(
            select(Platform).where(Platform.id.in_({row.platform_id or "" for row in rows}))
        )
    }
    infos: list[VmInfo] = []
    for row in rows:
        platform = platforms.get(row.platform_id or "")
        reason = why_no_backup(row, platform)
        run = active.get(row.id)
        infos.append(
            VmInfo(
                id=row.id,
                name=row.name,
                platform_id=row.platform_id,
                platform_name=platform.name if platform else row.platform_identity,
                platform_kind=platform.kind if platform else row.platform_identity.split(":")[0],
                platform_vm_id=row.platform_vm_id,
                power=cast("Power", row.power),
                firmware=row.firmware,
                vcpus=row.vcpus,
                memory_bytes=row.memory_bytes,
                size_bytes=row.size_bytes,
                disk_count=len(row.disks),
                present=row.present,
                managed=row.managed,
                tags=tags.get(row.id, []),
                group_ids=groups.get(row.id, []),
                has_backups=row.point_count > 0,
                point_count=row.point_count,
                stored_bytes=row.stored_bytes,
                last_backup_at=row.last_backup_at,
                last_run_id=row.last_run_id,
                last_run_state=row.last_run_state,
                protection=inventory.protection_of(row, stale_before),
                active_run=run_brief(run) if run else None,
                can_back_up=not reason,
                cannot_back_up_reason=reason,
            )
        )
    return infos


def vm_detail(session: Session, row: VirtualMachine, stale_before: datetime) -> VmDetail:
    [info] = vm_infos(session, [row], stale_before)
    return VmDetail(
        **info.model_dump(),
        disks=[DiscoveredDisk.model_validate(disk) for disk in row.disks],
        networks=[DiscoveredNic.model_validate(nic) for nic in row.networks],
        added_at=row.added_at,
        seen_at=row.seen_at,
        default_repository_id=_default_repository(session, row),
    )


def why_no_backup(row: VirtualMachine, platform: Platform | None) -> str:
    """In words, for a disabled button and a refused request; empty when it can be backed up."""
    if not row.managed or platform is None:
        return "it is known by its backups only: add it from its platform first"
    if not row.present:
        return "its platform does not list it any more"
    if is_remote(platform):
        return "the disks of a remote platform can only be read on that host"
    if row.disks and not any(disk["included"] for disk in row.disks):
        return "none of its disks can be captured"
    return ""


def _default_repository(session: Session, row: VirtualMachine) -> str | None:
    last = session.scalar(
        select(Run.repository_id)
        .join(Repository, Repository.id == Run.repository_id)
        .where(Run.vm_id == row.id, Run.kind == "backup")
        .order_by(Run.created_at.desc())
        .limit(1)
    )
    if last is not None:
        return last
    known = session.scalars(select(Repository.id).limit(2)).all()
    return known[0] if len(known) == 1 else None
