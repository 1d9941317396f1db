"""The lab: a folder of this host and the VM `holdfast-demo` in libvirt that belongs to it.

Knows libvirt through `virsh` only. A VM is the lab's own if its name is one of the lab's two and
its metadata names the lab's folder; anything else is refused and never touched. Enter at
`Lab.open`, `Lab.start_vm`, `Lab.remove`, `default_lab_dir`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast
from xml.sax.saxutils import escape, quoteattr, unescape

from holdfast.cli.demo.acceleration import DomainType
from holdfast.cli.demo.agent import GuestAgent, wait_until_it_answers
from holdfast.cli.demo.errors import GuestDidNotAnswer, HostNotReady, NotTheDemos
from holdfast.cli.demo.guest import Guest
from holdfast.cli.demo.libvirt_service import virsh
from holdfast.cli.demo.programs import run_program
from holdfast.core.errors import ToolFailed

DEMO_NAMESPACE = "urn:holdfast:demo"
VM_NAME = "holdfast-demo"

_MARKER = ".holdfast-demo"
_MARKER_TEXT = "This folder was made by `holdfast demo`; `holdfast demo --remove` deletes it.\n"
# 3 to 5 s were measured under TCG on an idle machine, ten times that on one that is busy.
_BOOT_TIMEOUT_S = 120.0
_COPY_TIMEOUT_S = 60.0
_CONSOLE_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    folder: Path
    vm_name: str = VM_NAME

    @classmethod
    def open(cls, folder: Path, vm_name: str = VM_NAME) -> Lab:
        """Use or make the folder.

        Raises `NotTheDemos` for a folder that holds other things or belongs to someone else,
        `HostNotReady` for one below a folder that QEMU's user may not enter.
        """
        folder = folder.absolute()
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise NotTheDemos(what=f"the folder {folder} of another user")
        _check_reachable(folder)
        if not (folder / _MARKER).exists():
            if any(folder.iterdir()):
                raise NotTheDemos(what=f"the folder {folder}")
            (folder / _MARKER).write_text(_MARKER_TEXT)
        folder.chmod(0o755)
        return cls(folder=folder, vm_name=vm_name)

    @property
    def guest_cache(self) -> Path:
        return self.folder / "guest"

    @property
    def vm_folder(self) -> Path:
        """Disks and console log of the running VM."""
        return self.folder / "vm"

    @property
    def fetched_folder(self) -> Path:
        """Single files fetched from points."""
        return self.folder / "fetched"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def passphrase_file(self) -> Path:
        return self.folder / "passphrase"

    @property
    def recovery_kit(self) -> Path:
        return self.folder / "recovery-kit.txt"

    @property
    def service_folder(self) -> Path:
        """State and log of the service that the demo leaves running."""
        return self.folder / "service"

    @property
    def scratch_folder(self) -> Path:
        """For backups by that service: QEMU's user must be able to pass through."""
        return self.folder / "scratch"

    @property
    def acceleration_file(self) -> Path:
        return self.folder / "acceleration.json"

    @property
    def _restored_disks_file(self) -> Path:
        return self.folder / "restored-disks.json"

    @property
    def console_log(self) -> Path:
        return self.vm_folder / "console.log"

    @property
    def restored(self) -> Lab:
        """The same lab seen from the VM that is restored beside the first."""
        return replace(self, vm_name=f"{self.vm_name}-restored")

    @property
    def agent(self) -> GuestAgent:
        return GuestAgent(domain=self.vm_name)

    def start_vm(self, guest: Guest, domain_type: DomainType) -> None:
        """Define and start the VM on fresh copies of the guest's disks, and wait for its agent.

        A VM of the lab from an earlier run is removed first. Raises `NotTheDemos`,
        `GuestDidNotAnswer` or `ToolFailed`.
        """
        self.remove_vm()
        if self.vm_folder.exists():
            shutil.rmtree(self.vm_folder)
        self.vm_folder.mkdir(mode=0o755)
        self.vm_folder.chmod(0o755)
        for template in (guest.data_disk, guest.files_disk):
            copy = self.vm_folder / template.name
            run_program(
                ["cp", "--reflink=auto", "--sparse=always", str(template), str(copy)],
                timeout_s=_COPY_TIMEOUT_S,
            )
        definition = self.vm_folder / "domain.xml"
        definition.write_text(self._describe_vm(guest, domain_type))
        virsh("define", str(definition))
        virsh("start", self.vm_name)
        self.wait_for_agent()

    def wait_for_agent(self, timeout_s: float = _BOOT_TIMEOUT_S) -> None:
        """Raises `GuestDidNotAnswer` when the time is up, or at once when the VM has stopped."""
        if not wait_until_it_answers(
            self.agent, timeout_s=timeout_s, still_running=lambda: self.state() == "running"
        ):
            raise GuestDidNotAnswer(
                name=self.vm_name,
                timeout_s=timeout_s,
                state=self.state(),
                console=self._console_tail(),
            )

    def state(self) -> str:
        """As libvirt names it: `running`, `paused`, `shut off`."""
        return virsh("domstate", self.vm_name).strip()

    def exists(self) -> bool:
        """Whether the VM is defined. Raises `NotTheDemos` for another's VM of that name."""
        names = virsh("list", "--all", "--name").split("\n")
        if self.vm_name not in names:
            return False
        if not self._owns_vm():
            raise NotTheDemos(what=f"a VM named {self.vm_name}")
        return True

    def remove_vm(self) -> bool:
        """Stop and undefine the lab's VM of this name; its disks stay. False if there is none."""
        if not self.exists():
            return False
        if self.state() != "shut off":
            virsh("destroy", self.vm_name)
        virsh(
            *("undefine", self.vm_name, "--nvram", "--managed-save"),
            *("--checkpoints-metadata", "--snapshots-metadata"),
        )
        return True

    def remember_restored_disks(self) -> None:
        """Note where a restore has put the restored VM's disks: only those are deleted with it."""
        lines = virsh("domblklist", self.restored.vm_name, "--details").splitlines()
        fields = [line.split(maxsplit=3) for line in lines]
        paths = [path for kind, device, _, path in fields if (kind, device) == ("file", "disk")]
        self._restored_disks_file.write_text(json.dumps(paths) + "\n")

    def remove_restored_vm(self) -> None:
        """Remove the restored VM and its disks, if there is one."""
        self.restored.remove_vm()
        if self._restored_disks_file.exists():
            for path in cast("list[str]", json.loads(self._restored_disks_file.read_text())):
                Path(path).unlink(missing_ok=True)
            self._restored_disks_file.unlink()

    def remove(self) -> None:
        """Remove both VMs and the folder. Raises `NotTheDemos` rather than touch another's."""
        if not (self.folder / _MARKER).exists():
            raise NotTheDemos(what=f"the folder {self.folder}")
        self.remove_restored_vm()
        self.remove_vm()
        shutil.rmtree(self.folder)

    def tree_digest(self) -> str:
        """One hash over names and contents of every file on both of the guest's disks."""
        command = "cd /srv && find data files -type f -exec sha256sum {} + | sort -k 2 | sha256sum"
        return self.agent.run(["/bin/sh", "-c", command], timeout_s=120).decode().split()[0]

    def _owns_vm(self) -> bool:
        try:
            metadata = virsh("metadata", self.vm_name, DEMO_NAMESPACE)
        except ToolFailed:
            # virsh has no other way to say that the element is absent.
            return False
        found = re.search(r"""folder=(?:"([^"]*)"|'([^']*)')""", metadata)
        folder = unescape(found[1] or found[2] or "", {"&quot;": '"'}) if found else ""
        return folder == os.fspath(self.folder)

    def _console_tail(self) -> str:
        try:
            lines = self.console_log.read_text(errors="replace").splitlines()
        except (FileNotFoundError, PermissionError) as error:
            return f"{self.console_log} ({error.strerror})"
        return "\n".join([str(self.console_log), *lines[-_CONSOLE_LINES:]])

    def _describe_vm(self, guest: Guest, domain_type: DomainType) -> str:
        cpu = "<cpu mode='host-passthrough'/>" if domain_type == "kvm" else ""
        disks = "".join(
            f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file={quoteattr(str(self.vm_folder / image.name))}/>
      <target dev='{target}' bus='virtio'/>
    </disk>"""
            for target, image in (("vda", guest.data_disk), ("vdb", guest.files_disk))
        )
        return f"""\
<domain type='{domain_type}'>
  <name>{escape(self.vm_name)}</name>
  <title>The guest of the Holdfast demo</title>
  <metadata>
    <holdfast:demo xmlns:holdfast='{DEMO_NAMESPACE}' folder={quoteattr(str(self.folder))}/>
  </metadata>
  <memory unit='MiB'>512</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{escape(str(guest.kernel))}</kernel>
    <initrd>{escape(str(guest.initramfs))}</initrd>
    <cmdline>console=ttyS0 quiet mitigations=off net.ifnames=0 panic=5</cmdline>
  </os>
  <features><acpi/></features>
  {cpu}
  <on_poweroff>destroy</on_poweroff>
  <on_crash>destroy</on_crash>
  <devices>{disks}
    <interface type='user'>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='pty'>
      <log file={quoteattr(str(self.console_log))} append='off'/>
    </serial>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def _check_reachable(folder: Path) -> None:
    """QEMU runs as another user and must reach the disks; others' folders are not opened for it."""
    for parent in folder.parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise HostNotReady(
                what=f"a folder that QEMU's user can enter; {parent} is closed to others",
                how="Name another, such as /var/tmp/holdfast-demo",
            )


def default_lab_dir() -> Path:
    """Where the demo lives unless told otherwise: a place that QEMU's own user can enter, which an
    ordinary user's home is not (Debian makes it 0700)."""
    if os.geteuid() == 0:
        return Path("/var/lib/holdfast/demo")
    return Path(f"/var/tmp/holdfast-demo-{os.geteuid()}")  # noqa: S108 - `open` checks the owner
