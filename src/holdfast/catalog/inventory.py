"""Queries on platforms, VMs and their tags; groups are in `groups`. Enter at `list_vms`,
`add_vms`, `find_vm`.

Every query on VMs takes the scope of whoever asks; a VM outside it does not exist for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, delete, exists, false, func, or_, select, true
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NameTaken, NotInCatalogue, VmNameAmbiguous
from holdfast.catalog.models import (
    MachineGroupMember,
    Platform,
    Run,
    VirtualMachine,
    VmTag,
)
from holdfast.catalog.paging import PageOf, PageRequest, read_page
from holdfast.core.clock import Clock
from holdfast.core.ids import uuid7
from holdfast.hypervisors import driver as hypervisor
from holdfast.policy.access import VmScope
from holdfast.policy.run_states import ACTIVE_STATES, RunKind

Protection = Literal["protected", "stale", "unprotected", "failing"]
VmSort = Literal["name", "last_backup_at", "size_bytes", "stored_bytes", "added_at"]
_AT_ONCE = 500
ACTIVE = tuple(state.value for state in ACTIVE_STATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class VmFilter:
    text: str = ""
    """Part of the name, whatever the case."""
    platform_id: str | None = None
    power: str | None = None
    tag: str | None = None
    group_id: str | None = None
    protection: str | None = None
    """`protected`, `stale`, `unprotected` or `failing`; needs `stale_before`."""
    stale_before: datetime | None = None
    managed_only: bool = True


def in_scope(scope: VmScope) -> ColumnElement[bool]:
    """The VMs that the scope contains, as a condition on `VirtualMachine`."""
    if scope.all_vms:
        return true()
    conditions: list[ColumnElement[bool]] = []
    if scope.tags:
        conditions.append(
            exists().where(VmTag.vm_id == VirtualMachine.id, VmTag.tag.in_(sorted(scope.tags)))
        )
    if scope.groups:
        conditions.append(
            exists().where(
                MachineGroupMember.vm_id == VirtualMachine.id,
                MachineGroupMember.group_id.in_(sorted(scope.groups)),
            )
        )
    return or_(*conditions) if conditions else false()


def of_visible_vms(column: Any, scope: VmScope) -> ColumnElement[bool]:
    """For tables with a `vm_id`: rows of VMs in the scope. Rows without a VM are seen by those
    only who see all."""
    if scope.all_vms:
        return true()
    return column.in_(select(VirtualMachine.id).where(in_scope(scope)))


def protection_is(state: str, stale_before: datetime) -> ColumnElement[bool]:
    """The same rule as `protection_of`, in SQL."""
    failing = VirtualMachine.last_run_state == "failed"
    if state == "failing":
        return failing
    if state == "unprotected":
        return and_(~failing, VirtualMachine.last_backup_at.is_(None))
    if state == "stale":
        return and_(~failing, VirtualMachine.last_backup_at < stale_before)
    return and_(~failing, VirtualMachine.last_backup_at >= stale_before)


def protection_of(vm: VirtualMachine, stale_before: datetime) -> Protection:
    if vm.last_run_state == "failed":
        return "failing"
    if vm.last_backup_at is None:
        return "unprotected"
    return "protected" if vm.last_backup_at >= stale_before else "stale"


def list_vms(
    session: Session,
    scope: VmScope,
    wanted: VmFilter,
    page: PageRequest,
    *,
    sort: VmSort = "name",
    descending: bool = False,
) -> PageOf[VirtualMachine]:
    column = getattr(VirtualMachine, sort)
    # What has no value comes last in both directions.
    order = [column.is_(None), column.desc() if descending else column, VirtualMachine.id]
    if sort == "name":
        order = [func.lower(column).desc() if descending else func.lower(column), VirtualMachine.id]
    return read_page(session, _vm_query(scope, wanted), order, page)


def count_protection(
    session: Session, scope: VmScope, stale_before: datetime
) -> dict[Protection, int]:
    """How many managed VMs are in each state."""
    states: tuple[Protection, ...] = ("protected", "stale", "unprotected", "failing")
    found: dict[Protection, int] = {}
    for state in states:
        query = (
            select(func.count())
            .select_from(VirtualMachine)
            .where(
                in_scope(scope),
                VirtualMachine.managed.is_(True),
                protection_is(state, stale_before),
            )
        )
        found[state] = session.scalar(query) or 0
    return found


def find_vm(session: Session, scope: VmScope, vm_id: str) -> VirtualMachine:
    """Raises NotInCatalogue."""
    vm = session.scalar(select(VirtualMachine).where(VirtualMachine.id == vm_id, in_scope(scope)))
    if vm is None:
        raise NotInCatalogue(kind="VM", id=vm_id)
    return vm


def find_vm_by_name(session: Session, scope: VmScope, name: str) -> VirtualMachine:
    """A managed VM before one that is known by its backups only. Raises NotInCatalogue,
    VmNameAmbiguous."""
    found = session.scalars(
        select(VirtualMachine).where(VirtualMachine.name == name, in_scope(scope)).limit(50)
    ).all()
    managed = [vm for vm in found if vm.managed]
    candidates = managed or list(found)
    if not candidates:
        raise NotInCatalogue(kind="VM", id=name)
    if len(candidates) > 1:
        raise VmNameAmbiguous(name=name, count=len(candidates))
    return candidates[0]


def tags_of(session: Session, vm_ids: Collection[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for part in in_parts(vm_ids):
        rows = session.execute(
            select(VmTag.vm_id, VmTag.tag).where(VmTag.vm_id.in_(part)).order_by(VmTag.tag)
        )
        for vm_id, tag in rows:
            found[vm_id].append(tag)
    return found


def groups_of(session: Session, vm_ids: Collection[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for part in in_parts(vm_ids):
        rows = session.execute(
            select(MachineGroupMember.vm_id, MachineGroupMember.group_id)
            .where(MachineGroupMember.vm_id.in_(part))
            .order_by(MachineGroupMember.group_id)
        )
        for vm_id, group_id in rows:
            found[vm_id].append(group_id)
    return found


def active_backups_of(session: Session, vm_ids: Collection[str]) -> Mapping[str, Run]:
    """The run that is waiting or running for each VM, if there is one; a backup before others."""
    found: dict[str, Run] = {}
    for part in in_parts(vm_ids):
        runs = session.scalars(
            select(Run).where(Run.state.in_(ACTIVE), Run.vm_id.in_(part)).order_by(Run.created_at)
        )
        for run in runs:
            known = found.get(run.vm_id or "")
            if known is None or run.kind == RunKind.BACKUP.value:
                found[run.vm_id or ""] = run
    return found


def set_tags(session: Session, vm: VirtualMachine, tags: Iterable[str]) -> None:
    session.execute(delete(VmTag).where(VmTag.vm_id == vm.id))
    session.add_all(VmTag(vm_id=vm.id, tag=tag) for tag in sorted(set(tags)))


def known_vm_ids(
    session: Session, platform_identity: str, platform_vm_ids: Collection[str]
) -> Mapping[str, str]:
    """Ids here of those that were added already, by their id on the platform."""
    found: dict[str, str] = {}
    for part in in_parts(platform_vm_ids):
        rows = session.execute(
            select(VirtualMachine.platform_vm_id, VirtualMachine.id).where(
                VirtualMachine.platform_identity == platform_identity,
                VirtualMachine.platform_vm_id.in_(part),
                VirtualMachine.managed.is_(True),
            )
        )
        for platform_vm_id, vm_id in rows:
            found[platform_vm_id] = vm_id
    return found


def add_vm(
    session: Session, platform: Platform, seen: hypervisor.VirtualMachine, clock: Clock
) -> tuple[VirtualMachine, bool]:
    """The VM's row, and whether it is newly managed. One that was known by its backups, or that
    was removed, becomes the same row again."""
    vm = session.scalar(
        select(VirtualMachine).where(
            VirtualMachine.platform_identity == seen.platform,
            VirtualMachine.platform_vm_id == seen.id,
        )
    )
    newly = vm is None or not vm.managed
    if vm is None:
        vm = VirtualMachine(
            id=str(uuid7(clock)),
            platform_identity=seen.platform,
            platform_vm_id=seen.id,
            added_at=clock.now(),
            point_count=0,
            stored_bytes=0,
            last_run_state="",
        )
        session.add(vm)
    elif newly:
        vm.added_at = clock.now()
    vm.platform_id = platform.id
    vm.managed = True
    take_over(vm, seen, clock)
    session.flush()
    return vm, newly


def take_over(vm: VirtualMachine, seen: hypervisor.VirtualMachine, clock: Clock) -> None:
    """What the platform says of the VM now."""
    vm.name = seen.name
    vm.power = seen.power.value
    vm.firmware = seen.firmware.value
    vm.vcpus = seen.vcpus
    vm.memory_bytes = seen.memory_bytes
    vm.size_bytes = sum(disk.size_bytes for disk in seen.disks if disk.included)
    vm.disks = [disk_document(disk) for disk in seen.disks]
    vm.networks = [
        {"mac": nic.mac, "network": nic.network, "model": nic.model} for nic in seen.networks
    ]
    vm.present = True
    vm.seen_at = clock.now()


def disk_document(disk: hypervisor.Disk) -> dict[str, Any]:
    return {
        "key": disk.key,
        "size_bytes": disk.size_bytes,
        "format": disk.format,
        "path": disk.path,
        "included": disk.included,
        "excluded_reason": disk.excluded_reason,
        "tracks_changes": disk.tracks_changes,
    }


def renew_platform(
    session: Session,
    platform: Platform,
    seen: Sequence[hypervisor.VirtualMachine],
    clock: Clock,
) -> None:
    """Bring the managed VMs of a platform up to what it lists; those it lacks are not present."""
    by_key = {(vm.platform, vm.id): vm for vm in seen}
    rows = session.scalars(
        select(VirtualMachine).where(
            VirtualMachine.platform_id == platform.id, VirtualMachine.managed.is_(True)
        )
    )
    for vm in rows:
        found = by_key.get((vm.platform_identity, vm.platform_vm_id))
        if found is None:
            vm.present = False
        else:
            take_over(vm, found, clock)
    platform.state, platform.state_message, platform.state_at = "connected", "", clock.now()


# -- platforms --------------------------------------------------------------------------------


def list_platforms(session: Session) -> Sequence[Platform]:
    return session.scalars(select(Platform).order_by(func.lower(Platform.name), Platform.id)).all()


def find_platform(session: Session, platform_id: str) -> Platform:
    """Raises NotInCatalogue."""
    platform = session.get(Platform, platform_id)
    if platform is None:
        raise NotInCatalogue(kind="platform", id=platform_id)
    return platform


def count_vms_by_platform(session: Session, scope: VmScope) -> Mapping[str, int]:
    rows = session.execute(
        select(VirtualMachine.platform_id, func.count())
        .where(VirtualMachine.managed.is_(True), in_scope(scope))
        .group_by(VirtualMachine.platform_id)
    )
    return {platform_id: count for platform_id, count in rows if platform_id is not None}


def flush_unique(session: Session, *, kind: str, name: str) -> None:
    """Write what is pending. Raises NameTaken when another row has the name."""
    try:
        session.flush()
    except IntegrityError as error:
        session.rollback()
        raise NameTaken(kind=kind, name=name) from error


def _vm_query(scope: VmScope, wanted: VmFilter) -> Select[VirtualMachine]:
    query = select(VirtualMachine).where(in_scope(scope))
    if wanted.managed_only:
        query = query.where(VirtualMachine.managed.is_(True))
    if wanted.text:
        query = query.where(
            func.lower(VirtualMachine.name).contains(wanted.text.lower(), autoescape=True)
        )
    if wanted.platform_id:
        query = query.where(VirtualMachine.platform_id == wanted.platform_id)
    if wanted.power:
        query = query.where(VirtualMachine.power == wanted.power)
    if wanted.tag:
        query = query.where(
            exists().where(VmTag.vm_id == VirtualMachine.id, VmTag.tag == wanted.tag)
        )
    if wanted.group_id:
        query = query.where(
            exists().where(
                MachineGroupMember.vm_id == VirtualMachine.id,
                MachineGroupMember.group_id == wanted.group_id,
            )
        )
    if wanted.protection and wanted.stale_before:
        query = query.where(protection_is(wanted.protection, wanted.stale_before))
    return query


def in_parts(ids: Collection[str]) -> Iterable[list[str]]:
    """Few enough at once for the parameters of one statement."""
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]
