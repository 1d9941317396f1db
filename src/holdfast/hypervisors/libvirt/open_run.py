"""What one capture holds on the host and the hypervisor while it lasts. Enter at `OpenRun.open`."""

from __future__ import annotations

import time
from pathlib import Path

import libvirt

from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.hypervisors.driver import CaptureRequest, VirtualMachine
from holdfast.hypervisors.errors import CaptureLost, ScratchExhausted
from holdfast.hypervisors.libvirt.connection import LibvirtConnection, is_active
from holdfast.hypervisors.libvirt.errors import LibvirtObjectMissing
from holdfast.hypervisors.libvirt.janitor_link import JanitorLink
from holdfast.hypervisors.libvirt.obligations import Obligations, discharge, job_folder
from holdfast.hypervisors.libvirt.scratch import (
    QemuUser,
    RunFolder,
    RunOwner,
    run_folder_path,
)

_DAEMON_RESTART_S = 30.0
"""How long a daemon that is being restarted is waited for before a capture is given up."""
_NOTICED_WITHIN_S = 10.0
"""How long libvirt may take to notice that QEMU ended: readers of the export notice at once."""
_NOTICE_POLL_S = 0.05


class OpenRun:
    """What one capture holds on the host and the hypervisor, from before the first change on. Ends
    exactly once, by `close`."""

    def __init__(
        self,
        *,
        connection: LibvirtConnection,
        vm: VirtualMachine,
        repository_id: str,
        folder: RunFolder,
        janitor: JanitorLink,
    ) -> None:
        self.connection = connection
        self.vm = vm
        self.repository_id = repository_id
        self.folder = folder
        self.janitor = janitor
        self.owed = Obligations(vm_id=vm.id, vm_name=vm.name, folder=str(folder.path))
        self.is_closed = False

    @classmethod
    def open(
        cls,
        connection: LibvirtConnection,
        vm: VirtualMachine,
        request: CaptureRequest,
        *,
        scratch_root: Path,
        qemu_user: QemuUser | None,
    ) -> OpenRun:
        """Start the janitor, then make the folder it knows of. Raises OSError, InvalidInput,
        CaptureFailed."""
        path = run_folder_path(scratch_root, request.run_id)
        if path.exists():
            raise InvalidInput(what="run id", problem=f"{request.run_id} is in use")
        owed = Obligations(vm_id=vm.id, vm_name=vm.name, folder=str(path))
        owner = RunOwner(
            run_id=request.run_id,
            repository_id=request.repository_id,
            vm_id=vm.id,
            platform=connection.platform,
        )
        janitor = JanitorLink.start(address=connection.address, owed=owed)
        try:
            folder = RunFolder.create(path, owner=owner, qemu_user=qemu_user)
            janitor.folder_made()
        except BaseException:
            janitor.leave_behind()
            raise
        return cls(
            connection=connection,
            vm=vm,
            repository_id=request.repository_id,
            folder=folder,
            janitor=janitor,
        )

    def close(self) -> None:
        """Pay what is owed. What cannot be paid now is left to the janitor, which goes on for a
        minute, and after it to the next capture. Never raises."""
        if self.is_closed:
            return
        self.is_closed = True
        try:
            discharge(self.owed, self.connection)
            self.janitor.dismiss()
        except HoldfastError:
            self.janitor.leave_behind()
        self.folder.release()

    def check_alarm(self) -> None:
        """Raise ScratchExhausted or CaptureLost for what is known without asking libvirt."""
        alarm = self.janitor.alarm
        if alarm is not None:
            raise ScratchExhausted(
                name=self.vm.name,
                location=str(self.folder.path.parent),
                used_bytes=alarm.used_bytes,
                limit_bytes=alarm.limit_bytes,
            )
        if self.is_closed or self.janitor.is_gone:
            raise self.lost("the process that guards it ended")

    def domain(self) -> libvirt.virDomain:
        """The VM now; waits for a daemon that is being restarted. Raises CaptureLost when the VM
        is gone, PlatformUnreachable."""
        self.connection.wait_until_reachable(_DAEMON_RESTART_S)
        try:
            return self.connection.domain(self.vm.id)
        except LibvirtObjectMissing as error:
            raise self.lost("the VM was removed") from error

    def check_job(self) -> None:
        """Raise ScratchExhausted or CaptureLost if the backup job no longer stands."""
        self.check_alarm()
        domain = self.domain()
        if not is_active(domain, self.connection.platform):
            raise self.lost("the VM was shut down, or its QEMU ended")
        if job_folder(domain, self.connection.platform) != self.folder.path:
            # The janitor speaks before it ends the job, but is heard by a thread of its own.
            self.janitor.hear()
            self.check_alarm()
            raise self.lost("its backup job was ended from outside, or its QEMU ended")

    def explain_failure(self) -> None:
        """After the export failed: as `check_job`, once libvirt has had the time to notice the
        cause. Returns when the job stands all the same: the failure is one of reading."""
        deadline = time.monotonic() + _NOTICED_WITHIN_S
        while True:
            self.check_job()
            if time.monotonic() >= deadline:
                return
            time.sleep(_NOTICE_POLL_S)

    def lost(self, problem: str) -> CaptureLost:
        return CaptureLost(name=self.vm.name, problem=problem)
