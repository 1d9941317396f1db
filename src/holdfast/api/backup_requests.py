"""A request for a backup, judged: which VM, on which platform, to which repository, which disks.
Starting one and looking at its plan first agree because both come through here."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from holdfast.api.schemas.backups import BackupStart
from holdfast.api.vms_shown import why_no_backup
from holdfast.catalog import inventory, repositories
from holdfast.catalog.models import Platform, Repository, VirtualMachine
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import VmScope


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSubject:
    vm: VirtualMachine
    platform: Platform
    repository: Repository


def subject_of(session: Session, scope: VmScope, body: BackupStart) -> BackupSubject:
    """Raises NotInCatalogue for what is unknown or not visible, InvalidInput for what cannot be
    backed up, with the reason."""
    if body.vm_id:
        vm = inventory.find_vm(session, scope, body.vm_id)
    elif body.vm_name:
        vm = inventory.find_vm_by_name(session, scope, body.vm_name)
    else:
        raise InvalidInput(what="backup", problem="say which VM: vm_id or vm_name")
    repository = repositories.find_repository(session, body.repository_id)
    platform = session.get(Platform, vm.platform_id) if vm.platform_id else None
    reason = why_no_backup(vm, platform)
    if reason or platform is None:
        raise InvalidInput(what=f"VM {vm.name}", problem=reason)
    unknown = set(body.disks or ()) - {str(disk["key"]) for disk in vm.disks}
    if unknown:
        problem = f"it has no disk {', '.join(sorted(unknown))}"
        raise InvalidInput(what=f"VM {vm.name}", problem=problem)
    return BackupSubject(vm=vm, platform=platform, repository=repository)
