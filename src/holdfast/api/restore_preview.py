"""What the restore of a whole VM would do, in words, and what stands in its way: asked of the
platform, so that nobody waits for disks to find the name taken. Enter at `preview_of`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from holdfast.api.platform_access import address_of, is_remote, with_platform
from holdfast.api.runtime_settings import VM_IMAGES
from holdfast.api.schemas.restores import RestorePreview, VmRestore
from holdfast.catalog.models import Platform, Repository, RestorePoint
from holdfast.core.errors import HoldfastError
from holdfast.core.units import format_bytes, format_count
from holdfast.hypervisors.driver import PowerState, VirtualMachine
from holdfast.hypervisors.errors import VmNotFound
from holdfast.hypervisors.platforms import OpenPlatform


@dataclass(frozen=True, slots=True, kw_only=True)
class _Present:
    """What is on the platform now."""

    named: VirtualMachine | None
    """The VM of the name that the restored one is to carry."""
    original: VirtualMachine | None
    """The one that was backed up, by its UUID."""


def preview_of(
    body: VmRestore,
    point: RestorePoint,
    repository: Repository,
    platform: Platform,
    scratch_root: Path,
) -> RestorePreview:
    """Changes nothing. A platform that does not answer is a conflict, not an error."""
    over = body.mode == "overwrite"
    name = body.name or (point.vm_name if over else f"{point.vm_name}-restored")
    present = _Present(named=None, original=None)
    conflicts = _impossible(point, platform)
    if not conflicts:
        try:
            present = _look(platform, point, name, scratch_root)
        except HoldfastError as error:
            conflicts.append(f"{platform.name} does not answer: {error.message}.")
        else:
            conflicts += _taken(body, name, present)
    return RestorePreview(
        summary=_summary(
            body, point, repository, platform, name, replaces=present.named is not None
        ),
        warnings=_warnings(body, point),
        name=name,
        size_bytes=point.size_bytes,
        disks=[str(disk["key"]) for disk in point.disks],
        target_folder=str(VM_IMAGES),
        conflicts=conflicts,
    )


def _impossible(point: RestorePoint, platform: Platform) -> list[str]:
    found: list[str] = []
    if not point.platform_identity.startswith("libvirt:"):
        found.append("The backup holds disks only, no VM definition. Restore its disks one by one.")
    if platform.kind != "libvirt" or is_remote(platform):
        found.append("VMs can be restored to a libvirt on the service's own host only.")
    return found


def _look(platform: Platform, point: RestorePoint, name: str, scratch_root: Path) -> _Present:
    """Raises PlatformUnreachable and other errors of the platform."""

    def look(opened: OpenPlatform) -> _Present:
        return _Present(named=_find(opened, name), original=_find(opened, point.platform_vm_id))

    return with_platform(address_of(platform), scratch_root, look)


def _find(opened: OpenPlatform, name_or_id: str) -> VirtualMachine | None:
    try:
        return opened.find(name_or_id).vm
    except VmNotFound:
        return None


def _taken(body: VmRestore, name: str, present: _Present) -> list[str]:
    over = body.mode == "overwrite"
    named, original = present.named, present.original
    found: list[str] = []
    if named is not None and not over:
        found.append(f"There is a VM {name} already. Choose another name.")
    if named is not None and over and named.power is not PowerState.SHUT_OFF:
        found.append(f"The VM {name} cannot be replaced while it runs. Shut it off first.")
    replaced = named.id if named is not None and over else None
    if (over or body.keep_identity) and original is not None and original.id != replaced:
        found.append(f"The VM {original.name} has its UUID. Remove it, or choose a new identity.")
    return found


def _summary(
    body: VmRestore,
    point: RestorePoint,
    repository: Repository,
    platform: Platform,
    name: str,
    *,
    replaces: bool,
) -> list[str]:
    over = body.mode == "overwrite"
    taken = f"{point.captured_at:%Y-%m-%d %H:%M} UTC"
    disks = format_count(len(point.disks), "disk")
    size = f"{format_bytes(point.size_bytes)} in {disks}"
    return [
        f"Read the backup of {point.vm_name} from {taken} out of {repository.name}: {size}.",
        f"{'Replace' if over and replaces else 'Define'} the VM {name} on {platform.name}.",
        "Keep its UUID and MAC addresses."
        if body.keep_identity or over
        else "Give it a new UUID and new MAC addresses.",
        "Leave its network cards disconnected." if body.isolated else "Connect its networks.",
        "Start it." if body.start else "Leave it shut off.",
    ]


def _warnings(body: VmRestore, point: RestorePoint) -> list[str]:
    found = [f"The backup is in doubt: {point.suspect}"] if point.suspect else []
    if body.keep_identity and body.mode == "new":
        found.append("The old VM must be gone: two with one identity disturb each other.")
    try:
        free = shutil.disk_usage(VM_IMAGES).free
    except OSError:
        return found  # libvirt makes the folder when it is installed; the run says what is missing
    if free < point.size_bytes:
        found.append(
            f"{VM_IMAGES} has {format_bytes(free)} free: enough only if the disks are partly empty."
        )
    return found
