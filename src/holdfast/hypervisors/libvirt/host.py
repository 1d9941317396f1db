"""Facts about the host that libvirt runs on, needed to make folders QEMU may use and to tell one
QEMU process from the next."""

from __future__ import annotations

import os
import re
from pathlib import Path

from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.errors import CaptureFailed
from holdfast.hypervisors.libvirt.address import Mode
from holdfast.hypervisors.libvirt.connection import LibvirtConnection
from holdfast.hypervisors.libvirt.domain_xml import parse_xml
from holdfast.hypervisors.libvirt.errors import libvirt_errors
from holdfast.hypervisors.libvirt.scratch import QemuUser

_BASE_LABEL = re.compile(r"\+(\d+):\+(\d+)")
_PID_FOLDER = Path("/run/libvirt/qemu")


def qemu_user(connection: LibvirtConnection) -> QemuUser | None:
    """Whom the daemon runs QEMU as, from its DAC base label; None where that is this user.

    Raises CaptureFailed when this process could not make a folder for that user.
    """
    if connection.address.mode is Mode.SESSION:
        return None
    if os.geteuid() != 0:
        raise CaptureFailed(
            name=connection.platform,
            problem="only root can make scratch space for QEMU of the system daemon",
        )
    with libvirt_errors(connection.platform, "describe its host"):
        capabilities = parse_xml(connection.handle().getCapabilities())
    for model in capabilities.iterfind("host/secmodel"):
        if model.findtext("model") == "dac":
            label = _BASE_LABEL.fullmatch(model.findtext("baselabel", ""))
            if label is not None:
                return QemuUser(uid=int(label[1]), gid=int(label[2]))
    raise InvalidInput(what="libvirt daemon", problem="it does not say whom QEMU runs as")


def qemu_start(vm_name: str, domain_id: int) -> str:
    """Identity of a VM's QEMU process: boot of the host, pid and start time.

    Without access to them, the number libvirt gave this start.
    """
    try:
        pid = (_PID_FOLDER / f"{vm_name}.pid").read_text().strip()
        # Field 22, counted after the command name, which may hold blanks and parentheses.
        start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"domain-{domain_id}"
    return f"{boot}/{pid}/{start}"
