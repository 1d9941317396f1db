"""Machine groups and their members. Who may see them sees all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.inventory import in_parts
from holdfast.catalog.models import MachineGroup, MachineGroupMember, VirtualMachine


def list_groups(session: Session) -> Sequence[MachineGroup]:
    return session.scalars(
        select(MachineGroup).order_by(func.lower(MachineGroup.name), MachineGroup.id)
    ).all()


def find_group(session: Session, group_id: str) -> MachineGroup:
    """Raises NotInCatalogue."""
    group = session.get(MachineGroup, group_id)
    if group is None:
        raise NotInCatalogue(kind="machine group", id=group_id)
    return group


def members_of(session: Session, group_ids: Collection[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for part in in_parts(group_ids):
        rows = session.execute(
            select(MachineGroupMember.group_id, MachineGroupMember.vm_id)
            .where(MachineGroupMember.group_id.in_(part))
            .order_by(MachineGroupMember.vm_id)
        )
        for group_id, vm_id in rows:
            found[group_id].append(vm_id)
    return found


def set_members(session: Session, group: MachineGroup, vm_ids: Iterable[str]) -> None:
    """Raises NotInCatalogue for a VM that is not there; then nothing changed."""
    wanted = sorted(set(vm_ids))
    present: set[str] = set()
    for part in in_parts(wanted):
        present.update(
            session.scalars(select(VirtualMachine.id).where(VirtualMachine.id.in_(part)))
        )
    for vm_id in wanted:
        if vm_id not in present:
            raise NotInCatalogue(kind="VM", id=vm_id)
    session.execute(delete(MachineGroupMember).where(MachineGroupMember.group_id == group.id))
    session.add_all(MachineGroupMember(group_id=group.id, vm_id=vm_id) for vm_id in wanted)
