"""What is new since last looked: runs by their revision, notices by their number. For the poller
behind the live events; several processes may poll side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from holdfast.catalog.inventory import groups_of, in_scope, tags_of
from holdfast.catalog.models import Run, VirtualMachine
from holdfast.policy.access import VmScope
from holdfast.policy.run_states import RunState

_LOOK_BACK = 256
"""Revisions of runs become visible in their order; this is for whoever changes one otherwise."""


def newest_revision(session: Session) -> int:
    return session.scalar(select(func.max(Run.revision))) or 0


def revisions_after(session: Session, revision: int) -> Mapping[str, int]:
    """Revision by run, also of the last ones before `revision`."""
    found: dict[str, int] = {}
    query = (
        select(Run.id, Run.revision)
        .where(Run.revision > revision - _LOOK_BACK)
        .order_by(Run.revision.desc())
        .limit(5000)
    )
    for run_id, number in session.execute(query):
        found[run_id] = number
    return found


def read_runs(session: Session, run_ids: Collection[str]) -> Sequence[Run]:
    return session.scalars(select(Run).where(Run.id.in_(run_ids)).order_by(Run.revision)).all()


def running_runs(session: Session, scope: VmScope, limit: int = 500) -> Sequence[Run]:
    """Without those that wait: there may be thousands, and lists show them."""
    query = select(Run).where(Run.state == RunState.RUNNING.value)
    if not scope.all_vms:
        query = query.where(Run.vm_id.in_(select(VirtualMachine.id).where(in_scope(scope))))
    query = query.order_by(Run.created_at).limit(limit)
    return session.scalars(query).all()


def labels_of(
    session: Session, vm_ids: Collection[str]
) -> Mapping[str, tuple[Collection[str], Collection[str]]]:
    """Groups and tags of VMs, for judging scopes."""
    groups, tags = groups_of(session, vm_ids), tags_of(session, vm_ids)
    return {vm_id: (groups.get(vm_id, []), tags.get(vm_id, [])) for vm_id in vm_ids}
