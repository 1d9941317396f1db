"""Give a whole VM back to libvirt: its disks to new images, then its definition over them.

The VM appears only when every disk is complete and durable. Replacing a VM restores beside it
first; the old one is taken away only when nothing but its definition is left to do, and comes back
if that fails.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import SystemClock
from holdfast.core.errors import InvalidInput, TargetExists
from holdfast.core.progress import ProgressSink
from holdfast.hypervisors.driver import Artifact, PowerState, VirtualMachine
from holdfast.hypervisors.errors import VmBusy
from holdfast.hypervisors.libvirt.address import LibvirtAddress
from holdfast.hypervisors.libvirt.artifacts import DOMAIN_XML, NVRAM, TPM, collect_artifacts
from holdfast.hypervisors.libvirt.connection import LibvirtConnection
from holdfast.hypervisors.libvirt.define import (
    DiskFile,
    define_restored_vm,
    start_vm,
    undefine_vm,
    vm_exists,
)
from holdfast.hypervisors.libvirt.domain_xml import parse_domain
from holdfast.hypervisors.libvirt.inventory import Inventory
from holdfast.repository import DiskRecord, Repository, RestorePoint
from holdfast.restore.disk import restore_disk

DEFAULT_STORAGE = Path("/var/lib/libvirt/images")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRestoreOptions:
    name: str | None = None
    """Name of the VM; None for the old name with `-restored`."""
    storage: Path | None = None
    """Folder for the images; None for libvirt's own."""
    start: bool = False
    isolated: bool = False
    """Leave every network card disconnected."""
    keep_identity: bool = False
    """Keep UUID and MAC addresses: the original must be gone."""
    overwrite: bool = False
    """Replace the shut-off VM of that name and remove its old disks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRestore:
    vm: VirtualMachine
    disks: Mapping[str, Path]
    written_bytes: int
    duration_s: float
    notes: Sequence[str]


def restore_vm(
    *,
    repository: Repository,
    point: RestorePoint,
    uri: str,
    options: VmRestoreOptions,
    cancel: CancelToken,
    progress: ProgressSink,
) -> VmRestore:
    """`Repository.load_index` must have been called since the point was read.

    Raises InvalidInput (the point has no definition, or a wrong URI), TargetExists, VmBusy (the
    VM to replace runs), and what disks and libvirt raise; then no new VM or image is left, and a
    VM that was to be replaced is there as before.
    """
    address = LibvirtAddress.parse(uri)
    if not address.is_local:
        raise InvalidInput(what=uri, problem="disks can only be restored on this host")
    connection = LibvirtConnection.open(address)
    try:
        return _VmRestore(repository, point, connection, options, cancel, progress).run()
    finally:
        connection.close()


class _VmRestore:
    def __init__(
        self,
        repository: Repository,
        point: RestorePoint,
        connection: LibvirtConnection,
        options: VmRestoreOptions,
        cancel: CancelToken,
        progress: ProgressSink,
    ) -> None:
        self._repository = repository
        self._point = point
        self._connection = connection
        self._options = options
        self._cancel = cancel
        self._progress = progress
        self._name = options.name or f"{point.manifest.vm.name}-restored"
        self._written_bytes = 0
        self._notes: list[str] = []

    def run(self) -> VmRestore:
        started_s = SystemClock().monotonic_s()
        stored = self._artifacts()
        replaced = self._check_free(stored)
        with ExitStack() as undo:
            files = {disk.key: self._restore(disk, undo) for disk in self._point.manifest.disks}
            if replaced is None:
                vm = self._define(stored, files)
            else:
                vm = self._replace(replaced, stored, files)
            undo.pop_all()
        if self._options.start:
            start_vm(self._connection, vm.id)
        return VmRestore(
            vm=vm,
            disks={key: file.path for key, file in files.items()},
            written_bytes=self._written_bytes,
            duration_s=SystemClock().monotonic_s() - started_s,
            notes=self._notes,
        )

    def _artifacts(self) -> dict[str, bytes]:
        stored = {
            item.name: self._repository.read_artifact(item)
            for item in self._point.manifest.artifacts
        }
        if DOMAIN_XML not in stored:
            problem = "holds disks only, no VM definition; restore its disks with --disk"
            raise InvalidInput(what=f"point {self._point.id}", problem=problem)
        return stored

    def _check_free(self, stored: Mapping[str, bytes]) -> VirtualMachine | None:
        """The VM to be replaced, if any. Asked before any byte moves."""
        replaced = self._replaced()
        uuid = parse_domain(stored[DOMAIN_XML]).uuid
        gone = replaced is not None and replaced.id == uuid
        if self._options.keep_identity and not gone and vm_exists(self._connection, uuid):
            raise TargetExists(path=f"a VM with the UUID {uuid}")
        return replaced

    def _replaced(self) -> VirtualMachine | None:
        if not vm_exists(self._connection, self._name):
            return None
        if not self._options.overwrite:
            raise TargetExists(path=f"the VM {self._name}")
        vm = Inventory(self._connection).find_vm(self._name)
        if vm.power is not PowerState.SHUT_OFF:
            raise VmBusy(name=vm.name, problem="it runs, and a running VM is never replaced")
        return vm

    def _restore(self, disk: DiskRecord, undo: ExitStack) -> DiskFile:
        format = disk.format if disk.format in {"raw", "qcow2"} else "qcow2"
        path = self._free_path(disk.key, format)
        done = restore_disk(
            repository=self._repository,
            disk=disk,
            output=path,
            format=format,
            cancel=self._cancel,
            progress=self._progress,
        )
        undo.callback(path.unlink, missing_ok=True)
        self._written_bytes += done.written_bytes
        self._progress.message(f"{disk.key}: restored to {path}")
        return DiskFile(path=path, format=format)

    def _free_path(self, key: str, format: str) -> Path:
        """A new image beside others: the VM's and the disk's name, and a number if need be."""
        folder = (self._options.storage or DEFAULT_STORAGE).absolute()
        if not folder.is_dir():
            raise InvalidInput(what=str(folder), problem="is not a folder; choose --storage")
        stem = _UNSAFE.sub("_", f"{self._name}-{key}")
        suffix = "img" if format == "raw" else format
        candidates = (f"{stem}{f'-{n}' if n else ''}.{suffix}" for n in range(10_000))
        return next(folder / name for name in candidates if not (folder / name).exists())

    def _define(self, stored: Mapping[str, bytes], files: Mapping[str, DiskFile]) -> VirtualMachine:
        return define_restored_vm(
            self._connection,
            domain_xml=stored[DOMAIN_XML],
            name=self._name,
            keep_identity=self._options.keep_identity,
            isolated=self._options.isolated,
            disk_files=files,
            nvram=stored.get(NVRAM),
            tpm=stored.get(TPM),
        )

    def _replace(
        self, old: VirtualMachine, stored: Mapping[str, bytes], files: Mapping[str, DiskFile]
    ) -> VirtualMachine:
        kept, notes = collect_artifacts(self._connection.domain(old.id), self._connection)
        if notes:
            # Without its firmware state the old VM could not be brought back.
            raise VmBusy(name=old.name, problem="; ".join(notes))
        undefine_vm(self._connection, old.id)
        try:
            vm = self._define(stored, files)
        except BaseException:
            self._bring_back(old, kept)
            raise
        self._remove_old_disks(old, files)
        return vm

    def _bring_back(self, old: VirtualMachine, kept: Sequence[Artifact]) -> None:
        artifacts = {item.name: item.data for item in kept}
        define_restored_vm(
            self._connection,
            domain_xml=artifacts[DOMAIN_XML],
            name=old.name,
            keep_identity=True,
            isolated=False,
            disk_files={
                disk.key: DiskFile(path=Path(disk.path), format=disk.format) for disk in old.disks
            },
            nvram=artifacts.get(NVRAM),
            tpm=artifacts.get(TPM),
        )

    def _remove_old_disks(self, old: VirtualMachine, files: Mapping[str, DiskFile]) -> None:
        """Only plain images of disks that the point brought back."""
        for disk in old.disks:
            path = Path(disk.path)
            if disk.key in files and path.is_file() and not path.is_symlink():
                try:
                    path.unlink()
                except OSError as error:
                    self._notes.append(f"the old {path} was not removed: {error.strerror}")
            else:
                self._notes.append(f"the old disk {disk.key} at {disk.path} was left alone")
