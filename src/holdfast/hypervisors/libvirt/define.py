"""Gives a VM back: defines, starts, removes. Enter at `define_restored_vm`.

What fails half-way is undone: no domain, variable store or TPM state of the new VM is left.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import libvirt

from holdfast.core.errors import InvalidInput, TargetExists
from holdfast.hypervisors.driver import VirtualMachine
from holdfast.hypervisors.errors import CaptureFailed
from holdfast.hypervisors.libvirt.address import Mode
from holdfast.hypervisors.libvirt.connection import LibvirtConnection, is_active
from holdfast.hypervisors.libvirt.domain_xml import parse_domain
from holdfast.hypervisors.libvirt.errors import LibvirtObjectMissing, libvirt_errors
from holdfast.hypervisors.libvirt.inventory import Inventory
from holdfast.hypervisors.libvirt.restored_xml import DiskFile, Identity, restored_xml

__all__ = ["DiskFile", "define_restored_vm", "start_vm", "stop_vm", "undefine_vm", "vm_exists"]

_NVRAM_ROOT = Path("/var/lib/libvirt/qemu/nvram")
_SWTPM_ROOT = Path("/var/lib/libvirt/swtpm")
_NAME = re.compile(r"[^\x00-\x1f/\x7f]{1,200}")
_TPM_STATE_LIMIT_BYTES = 64 * 1024 * 1024


def define_restored_vm(
    connection: LibvirtConnection,
    *,
    domain_xml: bytes,
    name: str,
    keep_identity: bool,
    isolated: bool,
    disk_files: Mapping[str, DiskFile],
    nvram: bytes | None,
    tpm: bytes | None,
) -> VirtualMachine:
    """Define a VM over restored disks; it is not started.

    `domain_xml`, `nvram` and `tpm` are the point's artifacts. `keep_identity` keeps UUID and MAC
    addresses (the original must be gone), otherwise new ones are made. `isolated` pulls every
    network cable. Disks without an entry in `disk_files`, and what hands over hardware of the
    old host, are left out.

    Raises TargetExists when the name or UUID is taken, InvalidInput for an unusable definition,
    LibvirtFault when libvirt refuses it.
    """
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise InvalidInput(what="VM name", problem=f"{name!r} cannot be a VM's name")
    stored = parse_domain(domain_xml)
    identity = Identity(
        name=name,
        uuid=stored.uuid if keep_identity else str(uuid.uuid4()),
        keep_macs=keep_identity,
    )
    _require_free(connection, identity)
    with ExitStack() as undo:
        nvram_path = _place_nvram(nvram, identity, connection, undo)
        if tpm is not None:
            _place_tpm(tpm, identity.uuid, undo)
        definition = restored_xml(
            domain_xml,
            identity=identity,
            isolated=isolated,
            disks=disk_files,
            nvram=nvram_path,
        )
        handle = connection.handle()
        with libvirt_errors(connection.platform, f"define the VM {name}"):
            domain = handle.defineXMLFlags(definition.xml)
        undo.callback(_undefine_keeping_files, domain)
        vm = Inventory(connection).describe(domain)
        undo.pop_all()
    return vm


def vm_exists(connection: LibvirtConnection, name_or_id: str) -> bool:
    """Whether a VM of that name or UUID is known to the daemon."""
    handle = connection.handle()
    lookups: list[Callable[[str], libvirt.virDomain]] = [handle.lookupByName]
    if re.fullmatch(r"[0-9a-fA-F-]{36}", name_or_id):
        lookups.append(handle.lookupByUUIDString)
    for lookup in lookups:
        try:
            with libvirt_errors(connection.platform, f"find the VM {name_or_id}"):
                lookup(name_or_id)
        except LibvirtObjectMissing:
            continue
        return True
    return False


def start_vm(connection: LibvirtConnection, vm_id: str, *, paused: bool = False) -> None:
    """Start a defined VM. Raises LibvirtFault."""
    domain = connection.domain(vm_id)
    with libvirt_errors(connection.platform, "start the VM"):
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)


def stop_vm(connection: LibvirtConnection, vm_id: str) -> None:
    """End a VM as pulling its plug would. Nothing happens when it is off."""
    domain = connection.domain(vm_id)
    if is_active(domain, connection.platform):
        with libvirt_errors(connection.platform, "stop the VM"):
            domain.destroy()


def undefine_vm(connection: LibvirtConnection, vm_id: str) -> None:
    """Remove the definition, variable store and TPM state of a shut-off VM; its disks stay.

    Raises CaptureFailed when it runs. Nothing happens when it is gone.
    """
    try:
        domain = connection.domain(vm_id)
    except LibvirtObjectMissing:
        return
    if is_active(domain, connection.platform):
        raise CaptureFailed(name=domain.name(), problem="it runs; stop it before it is replaced")
    with libvirt_errors(connection.platform, "undefine the VM"):
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )


def _require_free(connection: LibvirtConnection, identity: Identity) -> None:
    for taken in (identity.name, identity.uuid):
        if vm_exists(connection, taken):
            raise TargetExists(path=f"the VM {taken} on {connection.platform}")


def _undefine_keeping_files(domain: libvirt.virDomain) -> None:
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)


def _place_nvram(
    nvram: bytes | None, identity: Identity, connection: LibvirtConnection, undo: ExitStack
) -> Path | None:
    """Write the variables to a new file, named so that libvirt would choose no other."""
    if nvram is None:
        return None
    _require_system(connection)
    path = _NVRAM_ROOT / f"{identity.name}_{identity.uuid}_VARS.fd"
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    undo.callback(path.unlink)
    with os.fdopen(descriptor, "wb") as file:
        file.write(nvram)
        os.fsync(file.fileno())
    # QEMU opens it as its own user; libvirt labels it when the VM starts.
    return path


def _place_tpm(tpm: bytes, vm_uuid: str, undo: ExitStack) -> None:
    """Unpack the TPM's state where libvirt looks for that of this UUID."""
    folder = _SWTPM_ROOT / vm_uuid
    try:
        folder.mkdir(mode=0o711, parents=True)
    except FileExistsError as error:
        raise TargetExists(path=str(folder)) from error
    undo.callback(shutil.rmtree, folder)
    total = 0
    with tarfile.open(fileobj=io.BytesIO(tpm), mode="r:") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts or not (member.isreg() or member.isdir()):
                raise InvalidInput(what="TPM state", problem=f"{member.name!r} is not expected")
            if member.isdir():
                (folder / name).mkdir(mode=0o711, exist_ok=True, parents=True)
                continue
            total += member.size
            source = tar.extractfile(member)
            if source is None or total > _TPM_STATE_LIMIT_BYTES:
                raise InvalidInput(what="TPM state", problem="it is too large")
            (folder / name).parent.mkdir(mode=0o711, exist_ok=True, parents=True)
            with (folder / name).open("xb") as file:
                shutil.copyfileobj(source, file)


def _require_system(connection: LibvirtConnection) -> None:
    if not connection.address.is_local or connection.address.mode is not Mode.SYSTEM:
        raise InvalidInput(
            what="libvirt address",
            problem="firmware state can be restored to this host's qemu:///system only",
        )
