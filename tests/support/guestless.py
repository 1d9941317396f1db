"""Virtual machines without an operating system: a paused QEMU under libvirt whose disks accept
backups and checkpoints, and "guest" writes through the monitor. Starts in about 0.4 s.

Enter at `guestless_vm`. The folder of the images must be reachable by QEMU's user: use
`qemu_folder`, not pytest's `tmp_path` (0700).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import libvirt
import libvirt_qemu

from tests.support.libvirtd import ensure_libvirtd

_PID_FOLDER = Path("/run/libvirt/qemu")
_LOG_FOLDER = Path("/var/log/libvirt/qemu")
_STATE_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestlessDisk:
    """A disk of such a VM. The image must exist."""

    target: str
    path: Path
    format: str = "qcow2"


@contextmanager
def qemu_folder() -> Generator[Path]:
    """A new folder that QEMU's user may pass through; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-test-", dir="/var/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def create_image(path: Path, size: str, format: str = "qcow2", *options: str) -> Path:
    """A new image by qemu-img; `options` are further arguments."""
    command = ["qemu-img", "create", "-q", "-f", format, *options, str(path), size]
    subprocess.run(command, check=True, timeout=60)
    return path


class GuestlessVm:
    """A defined VM. `start` makes it a paused QEMU process."""

    def __init__(self, connection: libvirt.virConnect, domain: libvirt.virDomain) -> None:
        self.connection = connection
        self.domain = domain
        self.name = domain.name()
        self.uuid = domain.UUIDString()

    @property
    def pid(self) -> int:
        return int((_PID_FOLDER / f"{self.name}.pid").read_text())

    @property
    def log(self) -> str:
        """QEMU's output, where `qemu-io` commands leave theirs."""
        return (_LOG_FOLDER / f"{self.name}.log").read_text(errors="replace")

    def reconnect(self) -> None:
        """After libvirtd was restarted."""
        self.connection = libvirt.open(ensure_libvirtd())
        self.domain = self.connection.lookupByUUIDString(self.uuid)

    def start(self) -> None:
        self.domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)

    def write(self, target: str, offset: int, length: int, pattern: int) -> None:
        """As the guest's driver would: through the device's own block backend. Complete on return;
        a failure shows in `log` and in what is read back."""
        self.hmp(f'qemu-io -d {self._backend(target)} "write -P {pattern} {offset} {length}"')

    def write_bytes(self, target: str, offset: int, data: bytes, folder: Path) -> None:
        """Any bytes at any offset. `folder` is one that QEMU's user may pass through."""
        source = folder / f"write-{secrets.token_hex(4)}"
        source.write_bytes(data)
        source.chmod(0o644)
        command = f"write -s {source} {offset} {len(data)}"
        self.hmp(f'qemu-io -d {self._backend(target)} "{command}"')
        source.unlink()

    def hmp(self, command: str) -> str:
        """A command of QEMU's human monitor."""
        flags = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        return libvirt_qemu.qemuMonitorCommand(self.domain, command, flags)

    def qmp(self, command: str, **arguments: object) -> Any:
        """The `return` value of a command of QEMU's machine monitor."""
        request = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuMonitorCommand(self.domain, request, 0))["return"]

    def kill(self) -> None:
        """SIGKILL to QEMU; returns once libvirt has noticed."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait_off()

    def stop(self) -> None:
        """End QEMU in order: bitmaps are stored in the images."""
        self.domain.destroy()

    def wait_off(self) -> None:
        deadline = time.monotonic() + _STATE_TIMEOUT_S
        while self.domain.isActive():
            assert time.monotonic() < deadline, "libvirt did not notice that QEMU ended"
            time.sleep(0.01)

    def checkpoints(self) -> set[str]:
        return {checkpoint.getName() for checkpoint in self.domain.listAllCheckpoints()}

    def has_job(self) -> bool:
        return self.domain.jobStats()["type"] != libvirt.VIR_DOMAIN_JOB_NONE

    def remove(self) -> None:
        """End and undefine it, whatever state it is in. By SIGKILL: an orderly end takes 1.4 s."""
        if self.domain.isActive():
            self.kill()
        self.domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )
        for log in _LOG_FOLDER.glob(f"{self.name}.log*"):
            log.unlink()

    def _backend(self, target: str) -> str:
        index = ord(target[-1]) - ord("a")
        return f"/machine/peripheral/virtio-disk{index}/virtio-backend"


@contextmanager
def guestless_vm(
    disks: Sequence[GuestlessDisk],
    *,
    devices: str = "",
    os_extra: str = "",
    memory_mib: int = 64,
    vcpus: int = 1,
    started: bool = True,
    name: str = "",
) -> Generator[GuestlessVm]:
    """A VM with those disks (targets vda, vdb, ... in order), removed at the end.

    `devices` and `os_extra` are XML put into `<devices>` and `<os>`. Without a name it gets one
    that no other has.
    """
    connection = libvirt.open(ensure_libvirtd())
    name = name or f"holdfast-test-{secrets.token_hex(4)}"
    xml = _domain_xml(name, disks, devices, os_extra, memory_mib, vcpus)
    domain = connection.defineXMLFlags(xml)
    vm = GuestlessVm(connection, domain)
    try:
        if started:
            vm.start()
        yield vm
    finally:
        # libvirtd may have been restarted since.
        vm.reconnect()
        vm.remove()
        vm.connection.close()
        connection.close()


def _domain_xml(
    name: str,
    disks: Sequence[GuestlessDisk],
    devices: str,
    os_extra: str,
    memory_mib: int,
    vcpus: int,
) -> str:
    elements = "".join(
        "<disk type='file' device='disk'>"
        f"<driver name='qemu' type={quoteattr(disk.format)}/>"
        f"<source file={quoteattr(str(disk.path))}/>"
        f"<target dev={quoteattr(disk.target)} bus='virtio'/></disk>"
        for disk in disks
    )
    return f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>{memory_mib}</memory>
<vcpu>{vcpus}</vcpu><os><type arch='x86_64' machine='q35'>hvm</type>{os_extra}</os>
<features><acpi/></features><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{elements}
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<interface type='user'><model type='virtio'/></interface>{devices}</devices></domain>"""
