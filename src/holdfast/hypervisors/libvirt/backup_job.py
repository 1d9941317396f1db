"""Taking the instant of a running VM: freeze, one backup job over all disks, thaw.

Owns the XML of the job and the truth about consistency. Must not know tokens or readers. Enter at
`take_instant`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree

import libvirt

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError
from holdfast.hypervisors.driver import Consistency
from holdfast.hypervisors.libvirt.errors import libvirt_errors
from holdfast.hypervisors.libvirt.janitor_link import JanitorLink
from holdfast.hypervisors.libvirt.obligations import AGENT_TIMEOUT_S, thaw
from holdfast.hypervisors.libvirt.scratch import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDisk:
    """One disk of the job."""

    key: str
    incremental_from: str
    """The checkpoint whose bitmap is exported with the disk; "" for none."""

    @property
    def export_bitmap(self) -> str:
        """Name of the exported bitmap, in `qemu:dirty-bitmap:<name>`."""
        return f"changes-{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """What was achieved."""

    time: datetime
    consistency: Consistency
    notes: Sequence[str]


def job_xml(folder: RunFolder, disks: Sequence[JobDisk], other_keys: Sequence[str]) -> str:
    """The backup job's definition. Disks not captured are named too: libvirt would otherwise
    include them."""
    root = ElementTree.Element("domainbackup", mode="pull")
    ElementTree.SubElement(root, "server", transport="unix", socket=str(folder.socket))
    element = ElementTree.SubElement(root, "disks")
    for disk in disks:
        entry = ElementTree.SubElement(
            element, "disk", name=disk.key, backup="yes", type="file", exportname=disk.key
        )
        entry.set("backupmode", "incremental" if disk.incremental_from else "full")
        if disk.incremental_from:
            entry.set("incremental", disk.incremental_from)
            entry.set("exportbitmap", disk.export_bitmap)
        ElementTree.SubElement(entry, "driver", type="qcow2")
        ElementTree.SubElement(entry, "scratch", file=str(folder.scratch_file(disk.key)))
    for key in other_keys:
        ElementTree.SubElement(element, "disk", name=key, backup="no")
    return ElementTree.tostring(root, encoding="unicode")


def take_instant(
    domain: libvirt.virDomain,
    *,
    platform: str,
    vm_name: str,
    job: str,
    checkpoint: str | None,
    freeze: bool,
    janitor: JanitorLink,
    clock: Clock,
    cancel: CancelToken,
) -> Instant:
    """Begin the job, frozen if asked and possible. Raises the errors of `libvirt_errors`.

    The guest is thawed, or its thaw is in the janitor's hands, in every outcome.
    """
    notes: list[str] = []
    frozen = thawed = 0
    try:
        if freeze:
            frozen = _freeze(domain, platform, janitor, notes)
        cancel.check()
        with libvirt_errors(platform, "begin a backup", vm_name=vm_name):
            domain.backupBegin(job, checkpoint)
        time = clock.now()
    finally:
        if freeze:
            thawed = _thaw(domain, platform, janitor, notes)
    return Instant(
        time=time, consistency=_consistency(frozen, thawed, janitor, notes), notes=tuple(notes)
    )


def _freeze(
    domain: libvirt.virDomain, platform: str, janitor: JanitorLink, notes: list[str]
) -> int:
    """How many file systems the agent says it froze; 0 with a note when it did not."""
    janitor.freezing()
    try:
        with libvirt_errors(platform, "freeze the guest's file systems"):
            domain.agentSetResponseTimeout(AGENT_TIMEOUT_S)
            count = domain.fsFreeze()
    except HoldfastError as error:
        problem = error.params.get("problem", error)
        notes.append(f"the guest could not be frozen: {problem}")
        return 0
    finally:
        janitor.freeze_returned()
    if count == 0:
        notes.append("the guest agent froze no file system")
    return count


def _thaw(domain: libvirt.virDomain, platform: str, janitor: JanitorLink, notes: list[str]) -> int:
    """How many file systems were still frozen. Also after a failed freeze: an answer that came
    too late does not mean that nothing was frozen."""
    try:
        count = thaw(domain, platform)
    except HoldfastError as error:
        janitor.take_over_thaw()
        problem = error.params.get("problem", error)
        notes.append(f"the guest agent did not confirm the thaw, which is being retried: {problem}")
        return 0
    janitor.thawed()
    return count


def _consistency(frozen: int, thawed: int, janitor: JanitorLink, notes: list[str]) -> Consistency:
    if frozen == 0:
        return Consistency.CRASH
    if janitor.thawed_early:
        notes.append("the guest was thawed before the instant was taken: it took too long")
        return Consistency.CRASH
    if thawed < frozen:
        notes.append(
            f"of {frozen} frozen file systems only {thawed} were still frozen at the instant"
        )
        return Consistency.CRASH
    return Consistency.FILESYSTEM
