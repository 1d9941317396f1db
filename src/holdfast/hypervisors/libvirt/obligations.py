"""What a capture owes the hypervisor, and how it is paid.

Every change a capture makes to a VM is written down here before it is made: a freeze, a backup
job, a checkpoint, a folder. The same `discharge` pays from the capturing process when all is well,
from its janitor when that process died, and from the next capture when both did. It is
idempotent, and touches only what carries our tag or lies in this run's folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import libvirt

from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.hypervisors.errors import CaptureFailed
from holdfast.hypervisors.libvirt.checkpoints import delete_checkpoint
from holdfast.hypervisors.libvirt.connection import LibvirtConnection, is_active, running_job
from holdfast.hypervisors.libvirt.domain_xml import parse_xml
from holdfast.hypervisors.libvirt.errors import (
    LibvirtObjectMissing,
    VmNotRunning,
    libvirt_errors,
)
from holdfast.hypervisors.libvirt.scratch import remove_folder

AGENT_TIMEOUT_S = 5
"""How long libvirt waits for one answer of the guest agent. Without it an agent that never
answers blocks its channel for as long as QEMU lives."""

_JOB_END_TIMEOUT_S = 15.0
_JOB_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligations:
    """What may exist because of one capture. JSON-able."""

    vm_id: str
    vm_name: str
    folder: str
    """This run's scratch folder."""
    checkpoint: str = ""
    """Made by this capture and not promoted."""
    frozen: bool = False
    """The guest was asked to freeze and has not confirmed a thaw."""


def discharge(owed: Obligations, connection: LibvirtConnection) -> None:
    """Undo everything. Raises the first failure after having tried all; call again to go on."""
    steps: list[Callable[[], None]] = []
    try:
        domain = connection.domain(owed.vm_id)
    except LibvirtObjectMissing:
        domain = None
    if domain is not None:
        platform = connection.platform
        if owed.frozen and is_active(domain, platform):
            steps.append(lambda: thaw_if_possible(domain, platform))
        steps.append(lambda: end_job(domain, connection.platform, Path(owed.folder)))
        if owed.checkpoint:
            steps.append(lambda: delete_checkpoint(domain, platform, owed.checkpoint))
    steps.append(lambda: _remove(owed))
    failures: list[HoldfastError] = []
    for step in steps:
        try:
            step()
        except HoldfastError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def thaw(domain: libvirt.virDomain, platform: str) -> int:
    """Thaw the guest's file systems; how many were frozen until now. Raises LibvirtFault."""
    with libvirt_errors(platform, "thaw the guest's file systems"):
        domain.agentSetResponseTimeout(AGENT_TIMEOUT_S)
        try:
            return domain.fsThaw()
        finally:
            domain.agentSetResponseTimeout(libvirt.VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK)


def thaw_if_possible(domain: libvirt.virDomain, platform: str) -> None:
    """Thaw; a VM that was shut off meanwhile has nothing frozen."""
    try:
        thaw(domain, platform)
    except VmNotRunning:
        if is_active(domain, platform):
            raise


def job_folder(domain: libvirt.virDomain, platform: str) -> Path | None:
    """The folder of the scratch files of the running backup job; None when there is no job, or
    its scratch files lie in more than one folder."""
    try:
        with libvirt_errors(platform, "describe the running backup"):
            root = parse_xml(domain.backupGetXMLDesc())
    except (LibvirtObjectMissing, VmNotRunning):
        return None
    folders = {_scratch_folder(disk) for disk in root.iterfind("disks/disk/scratch")}
    return folders.pop() if len(folders) == 1 else None


def end_job(domain: libvirt.virDomain, platform: str, folder: Path) -> None:
    """End the backup job whose scratch files lie in `folder`, if that is what runs, and wait until
    the VM is free of it. Raises LibvirtFault, CaptureFailed when it does not end."""
    if job_folder(domain, platform) != folder:
        return
    try:
        with libvirt_errors(platform, "end the backup job"):
            domain.abortJob()
    except (LibvirtObjectMissing, VmNotRunning):
        return
    deadline = time.monotonic() + _JOB_END_TIMEOUT_S
    while is_active(domain, platform) and running_job(domain, platform) is not None:
        if job_folder(domain, platform) not in {folder, None}:
            return
        if time.monotonic() > deadline:
            raise CaptureFailed(
                name=domain.name(), problem="its backup job was told to end and did not"
            )
        time.sleep(_JOB_POLL_S)


def _scratch_folder(scratch: ElementTree.Element) -> Path:
    path = scratch.get("file")
    if path is None:
        raise InvalidInput(what="backup job", problem="a scratch file has no path")
    return Path(path).parent


def _remove(owed: Obligations) -> None:
    try:
        remove_folder(Path(owed.folder))
    except OSError as error:
        raise CaptureFailed(
            name=owed.vm_name, problem=f"{owed.folder} cannot be removed: {error}"
        ) from error
