"""What killed captures left behind, found and removed before the next one. Enter at
`remove_leftovers`.

Two processes have to die for anything to be left: the capture and its janitor (or the host). What
is removed carries our tag and this repository's id, or lies below our scratch root under a lock
that nobody holds.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import libvirt

from holdfast.core.errors import HoldfastError
from holdfast.hypervisors.errors import VmBusy
from holdfast.hypervisors.libvirt.checkpoints import delete_checkpoint, own_checkpoints
from holdfast.hypervisors.libvirt.connection import is_active, running_job
from holdfast.hypervisors.libvirt.domain_xml import parse_domain
from holdfast.hypervisors.libvirt.errors import LibvirtFault, libvirt_errors
from holdfast.hypervisors.libvirt.obligations import (
    end_job,
    job_folder,
    thaw_if_possible,
)
from holdfast.hypervisors.libvirt.scratch import (
    is_run_folder_name,
    leftover_folders,
    remove_folder,
)


def remove_leftovers(
    domain: libvirt.virDomain, platform: str, *, vm_id: str, scratch_root: Path
) -> None:
    """End a dead run's job and remove the folders of dead runs on this VM.

    Raises VmBusy when a job runs that is not a dead run of ours.
    """
    dead = [
        path
        for path, owner in leftover_folders(scratch_root)
        if owner.vm_id == vm_id and owner.platform == platform
    ]
    if is_active(domain, platform):
        _free_of_jobs(domain, platform, scratch_root, dead)
        if dead:
            _thaw_again(domain, platform)
    for folder in dead:
        remove_folder(folder)


def drop_checkpoints(
    domain: libvirt.virDomain, platform: str, *, repository_id: str, keep: Collection[str]
) -> list[str]:
    """Delete this repository's checkpoints except those in `keep`; the problems met, for notes.

    Not raised: a checkpoint too many costs memory in QEMU, and is tried again next time.
    """
    problems: list[str] = []
    for checkpoint in own_checkpoints(domain, platform):
        if checkpoint.repository_id != repository_id or checkpoint.name in keep:
            continue
        try:
            delete_checkpoint(domain, platform, checkpoint.name)
        except HoldfastError as error:
            problems.append(f"an old checkpoint stays for now: {error.message}")
    return problems


def _thaw_again(domain: libvirt.virDomain, platform: str) -> None:
    """A dead run may have left the guest frozen. Thawing a guest that is not does nothing."""
    with libvirt_errors(platform, "describe a VM"):
        connected = parse_domain(domain.XMLDesc()).agent_connected
    if connected:
        # An agent that does not answer says so again when this capture tries to freeze.
        with suppress(LibvirtFault):
            thaw_if_possible(domain, platform)


def _free_of_jobs(
    domain: libvirt.virDomain, platform: str, scratch_root: Path, dead: list[Path]
) -> None:
    job = running_job(domain, platform)
    if job is None:
        return
    folder = job_folder(domain, platform)
    if folder is not None and (folder in dead or _was_ours(folder, scratch_root)):
        end_job(domain, platform, folder)
        return
    kind = "a backup" if folder is not None or _is_backup(job) else "another job"
    raise VmBusy(name=domain.name(), problem=f"{kind} of it is running")


def _was_ours(folder: Path, scratch_root: Path) -> bool:
    """A run of ours whose folder is already gone: its janitor died between two steps."""
    return (
        folder.parent == scratch_root
        and is_run_folder_name(folder.name)
        and not folder.exists()
        and not folder.with_name(f"{folder.name}.lock").exists()
    )


def _is_backup(job: dict[str, object]) -> bool:
    return job.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP
