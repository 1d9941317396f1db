"""Does KVM really work here? Found out by booting the guest's kernel under it.

The presence of /dev/kvm proves nothing: in some nested hosts it opens, the VM and its vCPU are
created, the firmware prints, and then QEMU aborts on a machine-specific register. Enter at
`choose_domain_type`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, cast

from holdfast.cli.demo.guest import Guest
from holdfast.cli.demo.initramfs import PROBE_MARKER
from holdfast.cli.demo.programs import find_program, run_program
from holdfast.core.errors import ToolFailed

DomainType = Literal["kvm", "qemu"]
"""The `type` of a libvirt domain: hardware virtualisation, or TCG, QEMU's own translator."""

# The same boot takes 2.5 s under TCG, so KVM that needs longer than this is of no use.
_PROBE_TIMEOUT_S = 15.0


def choose_domain_type(guest: Guest, memory_file: Path) -> DomainType:
    """`kvm` if the guest's kernel boots under it, else `qemu`.

    The answer is kept in `memory_file` for this kernel, QEMU and host boot.
    """
    if not Path("/dev/kvm").exists():
        return "qemu"
    host = _describe_host(guest)
    known = _recall(memory_file)
    if known.get("host") == host:
        return cast(DomainType, known["domain_type"])
    domain_type: DomainType = "kvm" if _boots_with_kvm(guest) else "qemu"
    memory_file.write_text(json.dumps({"host": host, "domain_type": domain_type}) + "\n")
    return domain_type


def _boots_with_kvm(guest: Guest) -> bool:
    arguments = [
        *("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "256"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(guest.kernel), "-initrd", str(guest.initramfs)),
        *("-append", "console=ttyS0 quiet panic=-1 holdfast.probe"),
    ]
    try:
        console = run_program(arguments, timeout_s=_PROBE_TIMEOUT_S)
    except ToolFailed:
        # Not an error of the demo: QEMU that ends badly or never is what the probe looks for.
        return False
    return PROBE_MARKER.encode() in console


def _describe_host(guest: Guest) -> str:
    qemu = Path(find_program("qemu-system-x86_64")).stat()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{guest.folder.name} {qemu.st_size} {qemu.st_mtime_ns} {boot_id}"


def _recall(memory_file: Path) -> dict[str, str]:
    try:
        return cast("dict[str, str]", json.loads(memory_file.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
