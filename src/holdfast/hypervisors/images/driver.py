"""The `images` platform: one image file, or a folder of them, as one VM that is shut off.

Owns which files are disks and what the inventory shows. Must not know how bytes are read (see
`capture.py`). Enter at `ImagesDriver`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.core.clock import Clock, SystemClock
from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.driver import (
    CaptureRequest,
    Changes,
    ChangeToken,
    Disk,
    Firmware,
    PowerState,
    VirtualMachine,
)
from holdfast.hypervisors.errors import SourceUnavailable, UnsupportedImage, VmNotFound
from holdfast.hypervisors.images.capture import NO_RECORD, ImagesCapture
from holdfast.hypervisors.images.image_file import ImageFile, format_of, inspect_image

PLATFORM = "images"


class ImagesDriver:
    """Images as a VM. `source` is an image, a block device, or a folder whose images are the
    disks of one VM. `format` overrides the files' extensions; `name` the file's or folder's name.

    Nothing is opened before it is asked for.
    """

    def __init__(
        self,
        source: Path,
        *,
        format: str | None = None,
        name: str | None = None,
        socket_dir: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        # Not resolved: the id is the path the user knows, links and all.
        self._source = Path(os.path.abspath(source))  # noqa: PTH100
        self._format = format
        self._name = name
        self._socket_dir = socket_dir or Path("/tmp")  # noqa: S108 - a fresh 0700 folder in it
        self._clock = clock or SystemClock()

    @property
    def platform(self) -> str:
        return PLATFORM

    def list_vms(self) -> Sequence[VirtualMachine]:
        """The one VM. Raises SourceUnavailable, UnsupportedImage, DamagedImage."""
        images, _ = self._images()
        return [self._describe(images)]

    def find_vm(self, name_or_id: str) -> VirtualMachine:
        [vm] = self.list_vms()
        if name_or_id not in {vm.name, vm.id}:
            raise VmNotFound(name=name_or_id, platform=PLATFORM, known=vm.name)
        return vm

    def preview(
        self, vm: VirtualMachine, parent_tokens: Mapping[str, ChangeToken]
    ) -> Mapping[str, Changes]:
        del parent_tokens
        return {disk.key: NO_RECORD for disk in vm.disks}

    def capture(self, vm: VirtualMachine, request: CaptureRequest) -> ImagesCapture:
        """Looks at the images again: what counts is what they are now. Besides the contract's
        errors raises UnsupportedImage and DamagedImage."""
        request.cancel.check()
        if vm.id != str(self._source):
            raise VmNotFound(name=vm.name, platform=PLATFORM, known=str(self._source))
        images, notes = self._images()
        if request.disk_keys is not None:
            wanted = request.disk_keys
            unknown = [key for key in wanted if key not in {image.path.name for image in images}]
            if unknown:
                raise InvalidInput(
                    what="disks", problem=f"{vm.name} has no disk {', '.join(unknown)}"
                )
            images = [image for image in images if image.path.name in wanted]
        return ImagesCapture.begin(
            vm=self._describe(images),
            images=images,
            notes=notes,
            cancel=request.cancel,
            socket_dir=self._socket_dir,
            clock=self._clock,
        )

    def _describe(self, images: Sequence[ImageFile]) -> VirtualMachine:
        is_folder = self._source.is_dir()
        return VirtualMachine(
            id=str(self._source),
            name=self._name or (self._source.name if is_folder else self._source.stem),
            platform=PLATFORM,
            power=PowerState.SHUT_OFF,
            firmware=Firmware.NONE,
            disks=[describe_disk(image) for image in images],
        )

    def _images(self) -> tuple[list[ImageFile], list[str]]:
        """The images, sorted by file name, and notes about what was left out."""
        try:
            if not self._source.is_dir():
                # The user may name a link; the entries of a folder may not be links.
                return [self._inspect(self._source.resolve(strict=True))], []
            entries = sorted(self._source.iterdir())
        except OSError as error:
            problem = error.strerror or str(error)
            raise SourceUnavailable(source=str(self._source), problem=problem) from error
        notes: list[str] = []
        images: list[ImageFile] = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            reason = _why_no_disk(entry)
            if reason:
                notes.append(f"{entry.name!a} is not part of the VM: {reason}")
            else:
                images.append(self._inspect(entry))
        if not images:
            raise UnsupportedImage(
                path=str(self._source),
                problem="the folder has no disk image in it",
                advice_text="Images end in .raw, .img, .qcow2 or .vmdk",
            )
        return images, notes

    def _inspect(self, path: Path) -> ImageFile:
        if not (path.name.isascii() and path.name.isprintable()):
            raise UnsupportedImage(
                path=ascii(str(path)),
                problem="its name is not printable ASCII",
                advice_text="Rename the file; its name is the name of the disk",
            )
        format = format_of(path, self._format)
        if format is None:
            raise UnsupportedImage(
                path=str(path),
                problem="its name does not tell the format",
                advice_text="Say which it is: --format raw, qcow2 or vmdk",
            )
        return inspect_image(path, format)


def describe_disk(image: ImageFile) -> Disk:
    return Disk(
        key=image.path.name,
        size_bytes=image.size_bytes,
        format=image.format,
        path=str(image.path),
    )


def _why_no_disk(entry: Path) -> str:
    """Why an entry of a folder is no disk of the VM; empty when it is one."""
    mode = entry.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "links are not followed"
    if stat.S_ISDIR(mode):
        return "folders in the folder are not read"
    if not stat.S_ISREG(mode):
        return "it is no file"
    if format_of(entry, None) is None:
        return "its name does not end as an image's"
    return ""
