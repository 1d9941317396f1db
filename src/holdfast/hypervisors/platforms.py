"""From the description of a platform to its VMs and drivers: the one place that knows every kind.

Plain values in, drivers out; no catalogue. Drivers are imported when they are needed. Enter at
`open_platform`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.hypervisors.driver import HypervisorDriver, VirtualMachine
from holdfast.hypervisors.errors import PlatformUnreachable, VmNotFound

PlatformKind = Literal["libvirt", "images"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformAddress:
    """Where a platform is. JSON-able; holds no secret."""

    kind: PlatformKind
    uri: str = ""
    """libvirt: a URI that `LibvirtAddress.parse` accepts."""
    path: str = ""
    """images: an absolute folder, in which each image and each folder of images is a VM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformVm:
    """A VM, and the driver that captures it."""

    driver: HypervisorDriver
    vm: VirtualMachine


class OpenPlatform(Protocol):
    """A connection that can be listed. Close it."""

    @property
    def can_capture(self) -> bool:
        """False where only the inventory can be read: the disks are on another host."""
        ...

    def list_vms(self) -> Sequence[VirtualMachine]:
        """Every VM, sorted by name. Raises PlatformUnreachable."""
        ...

    def find(self, platform_vm_id: str) -> PlatformVm:
        """Raises VmNotFound, PlatformUnreachable."""
        ...

    def close(self) -> None: ...


def open_platform(address: PlatformAddress, *, scratch_root: Path) -> OpenPlatform:
    """Raises PlatformUnreachable, InvalidInput."""
    if address.kind == "libvirt":
        return _LibvirtPlatform(address.uri, scratch_root)
    return _ImagesPlatform(address.path)


def platform_identity(address: PlatformAddress) -> str:
    """What no two platforms share. Raises InvalidInput for what cannot be an address."""
    if address.kind == "libvirt":
        from holdfast.hypervisors.libvirt.address import LibvirtAddress

        return LibvirtAddress.parse(address.uri).platform
    return f"images:{_folder(address.path)}"


class _LibvirtPlatform:
    def __init__(self, uri: str, scratch_root: Path) -> None:
        from holdfast.hypervisors.libvirt.address import LibvirtAddress
        from holdfast.hypervisors.libvirt.driver import LibvirtDriver

        parsed = LibvirtAddress.parse(uri)
        self.can_capture = parsed.is_local
        self._driver = LibvirtDriver.connect(parsed, scratch_root=scratch_root)

    def list_vms(self) -> Sequence[VirtualMachine]:
        return self._driver.list_vms()

    def find(self, platform_vm_id: str) -> PlatformVm:
        return PlatformVm(driver=self._driver, vm=self._driver.find_vm(platform_vm_id))

    def close(self) -> None:
        self._driver.close()


class _ImagesPlatform:
    can_capture = True

    def __init__(self, path: str) -> None:
        self._folder = _folder(path)

    def list_vms(self) -> Sequence[VirtualMachine]:
        """What cannot be read as an image is no VM; a folder without images neither."""
        found: list[VirtualMachine] = []
        try:
            entries = sorted(self._folder.iterdir())
        except OSError as error:
            problem = error.strerror or str(error)
            raise PlatformUnreachable(platform=f"images:{self._folder}", problem=problem) from error
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            try:
                found.append(self.find(str(entry)).vm)
            except HoldfastError:
                continue
        return sorted(found, key=lambda vm: vm.name)

    def find(self, platform_vm_id: str) -> PlatformVm:
        from holdfast.hypervisors.images.driver import PLATFORM, ImagesDriver

        source = Path(os.path.abspath(platform_vm_id))  # noqa: PTH100 - links are the user's
        # Only what lies directly in the folder: an id is not a way to read any file.
        if source.parent != self._folder or not source.exists():
            raise VmNotFound(name=platform_vm_id, platform=PLATFORM, known=str(self._folder))
        driver = ImagesDriver(source)
        return PlatformVm(driver=driver, vm=driver.list_vms()[0])

    def close(self) -> None: ...


def _folder(path: str) -> Path:
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput(what="images folder", problem="write it as an absolute path")
    return Path(os.path.normpath(path))
