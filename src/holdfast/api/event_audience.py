"""Who hears of what: pure decisions, from rows of the catalogue. Deny by default: a kind of event
that is not named here reaches those who see all VMs, and nobody else.

Enter at `of_run` and `of_notice`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from holdfast.api.access.requirement import Principal
from holdfast.catalog.models import Notice, Run
from holdfast.policy.access import Permission, VmScope

Labels = Mapping[str, tuple[Collection[str], Collection[str]]]
"""Groups and tags of VMs, by their ids."""
_FOR_ALL_VIEWERS = frozenset({"platform", "repository", "vm"})
"""Without a VM of their own: everybody who may view lists them, or is told only that there is
something new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who may see the VM, or is meant beside; with `user_id` that user and who manages access."""

    vm_id: str | None = None
    groups: Collection[str] = ()
    tags: Collection[str] = ()
    """Of the VM."""
    user_id: str | None = None
    everybody: bool = False
    group_id: str | None = None
    """Those whose rights are for this group."""

    def includes(self, principal: Principal, scope: VmScope) -> bool:
        """`scope`: the VMs that the principal may view."""
        if self.user_id is not None:
            manages = principal.access.allows_everywhere(Permission.ACCESS_MANAGE)
            return manages or principal.user_id == self.user_id
        if scope.all_vms or self.everybody:
            return True
        if self.group_id is not None:
            return self.group_id in scope.groups
        return self.vm_id is not None and scope.contains(groups=self.groups, tags=self.tags)


def of_run(run: Run, labels: Labels) -> Audience:
    """Who sees its VM; a run without one is for those who see all."""
    return _of_vm(run.vm_id, labels)


def of_notice(notice: Notice, labels: Labels) -> Audience:
    if notice.user_id is not None:
        return Audience(user_id=notice.user_id)
    if notice.vm_id is not None:
        return _of_vm(notice.vm_id, labels)
    if notice.noun == "machine_group":
        return Audience(group_id=notice.object_id)
    return Audience(everybody=notice.noun in _FOR_ALL_VIEWERS)


def _of_vm(vm_id: str | None, labels: Labels) -> Audience:
    groups, tags = labels.get(vm_id or "", ((), ()))
    return Audience(vm_id=vm_id, groups=groups, tags=tags)
