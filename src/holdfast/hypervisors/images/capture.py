"""Reading images that nobody writes: what stands for a snapshot where there is none.

An image file has no snapshot, so the instant is "the file was not written from when it was looked
at until `check`". Owns the servers of qcow2 and VMDK images for that time. Enter at
`ImagesCapture.begin`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import Clock
from holdfast.hypervisors.driver import (
    Artifact,
    ChangesUnknown,
    Consistency,
    Disk,
    DiskReader,
    VirtualMachine,
)
from holdfast.hypervisors.errors import (
    CaptureLost,
    DamagedImage,
    SourceUnavailable,
    VmBusy,
)
from holdfast.hypervisors.images.image_file import (
    ImageFile,
    is_open_for_writing,
    open_image,
    what_changed,
)
from holdfast.hypervisors.images.raw_reader import RawReader
from holdfast.nbd.client import NbdReader
from holdfast.nbd.qemu import QemuNbd, image_check, image_data_end

NO_RECORD = ChangesUnknown(reason="an image file has no record of changes")

_ADVICE = "shut the VM down, or use libvirt: instead"
_TIMESTAMP_TICK_NS = 20_000_000
"""Linux stamps files with a clock that moves every 1 to 10 ms: two writes within one tick leave
the same time."""


class ImagesCapture:
    """A `Capture` of image files."""

    def __init__(
        self,
        *,
        vm: VirtualMachine,
        disks: Sequence[ImageCapturedDisk],
        notes: Sequence[str],
        clock: Clock,
        servers: ExitStack,
    ) -> None:
        self.vm = vm
        self.disks = disks
        self.instant = clock.now()
        self.consistency = Consistency.OFFLINE
        self.notes = notes
        self.artifacts: Sequence[Artifact] = ()
        self._servers = servers

    @classmethod
    def begin(
        cls,
        *,
        vm: VirtualMachine,
        images: Sequence[ImageFile],
        notes: Sequence[str],
        cancel: CancelToken,
        socket_dir: Path,
        clock: Clock,
    ) -> ImagesCapture:
        """Check every image whole, then start what is needed to read them.

        Raises VmBusy, DamagedImage, SourceUnavailable, Cancelled; leaves nothing behind then.
        """
        for image in images:
            _require_idle(vm, image, clock)
        for image in images:
            cancel.check()
            _require_whole(image, cancel)
        devices = [image.path for image in images if image.is_block_device]
        notes = [*notes, *(f"{path} shows no trace of writes to it" for path in devices)]
        with ExitStack() as servers:
            disks = [
                ImageCapturedDisk(disk, image, _server(servers, image, socket_dir))
                for disk, image in zip(vm.disks, images, strict=True)
            ]
            capture = cls(vm=vm, disks=disks, notes=notes, clock=clock, servers=servers.pop_all())
        try:
            capture.check()
        except CaptureLost:
            capture.close()
            raise
        return capture

    def check(self) -> None:
        """Raises CaptureLost when a file was written or replaced, or its server ended."""
        for disk in self.disks:
            problem = disk.what_was_lost()
            if problem:
                raise CaptureLost(
                    name=self.vm.name, problem=f"{problem} while it was read; {_ADVICE}"
                )

    def promote(self) -> None:
        """Nothing to keep: there are no tokens."""

    def close(self) -> None:
        """End the servers. May be called twice."""
        for disk in self.disks:
            disk.is_open = False
        self._servers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ImageCapturedDisk:
    """A `CapturedDisk` read from a file, or through its server."""

    def __init__(self, disk: Disk, image: ImageFile, server: QemuNbd | None) -> None:
        self.disk = disk
        self.changes = NO_RECORD
        self.token = None
        self.is_open = True
        self._image = image
        self._server = server

    def open_reader(self) -> DiskReader:
        if not self.is_open:
            raise SourceUnavailable(source=self.disk.path, problem="the capture has ended")
        if self._server is None:
            return RawReader.open(self._image)
        reader = NbdReader.connect(
            socket_path=self._server.socket_path,
            export=self._server.export,
            source=self.disk.path,
        )
        if reader.size_bytes != self.disk.size_bytes:
            reader.close()
            raise DamagedImage(
                path=self.disk.path,
                problem=f"QEMU sees {reader.size_bytes} bytes, its header {self.disk.size_bytes}",
            )
        return reader

    def what_was_lost(self) -> str:
        """A clause; empty while everything can be read as it was."""
        if not self.is_open:
            return "the capture was ended"
        if self._server is not None and not self._server.is_running:
            return f"the server of {self.disk.key} ended"
        return what_changed(self._image)


def _require_idle(vm: VirtualMachine, image: ImageFile, clock: Clock) -> None:
    """Raise VmBusy if a QEMU writes the image; wait out a tick of the file system's clock."""
    descriptor = open_image(image.path)
    try:
        if is_open_for_writing(descriptor):
            raise VmBusy(name=vm.name, problem=f"{image.path.name} is open in QEMU; {_ADVICE}")
    finally:
        os.close(descriptor)
    age_ns = int(clock.now().timestamp() * 1e9) - image.identity.modified_ns
    if 0 <= age_ns < _TIMESTAMP_TICK_NS:
        time.sleep((_TIMESTAMP_TICK_NS - age_ns) / 1e9)


def _require_whole(image: ImageFile, cancel: CancelToken) -> None:
    """Raise DamagedImage if the image's tables are damaged or the file is shorter than they say."""
    if image.format == "raw":
        return
    path = image.path
    damage = image_check(path, image.format, cancel=cancel).damage
    if damage:
        raise DamagedImage(path=str(path), problem=damage)
    size_bytes = image.identity.size_bytes
    # A file cut by a whole cluster or more fails the check.
    if image.cluster_bytes and size_bytes % image.cluster_bytes == 0:
        return
    end = image_data_end(path, image.format, cancel=cancel)
    if end > size_bytes:
        raise DamagedImage(
            path=str(path), problem=f"its tables name {end} bytes and it has only {size_bytes}"
        )


def _server(servers: ExitStack, image: ImageFile, socket_dir: Path) -> QemuNbd | None:
    """A server for what is not raw. It takes no lock on the image: a VM that is started while we
    read must start; `check` sees it."""
    if image.format == "raw":
        return None
    return servers.enter_context(
        QemuNbd.serve(
            image=image.path,
            format=image.format,
            read_only=True,
            force_share=True,
            socket_dir=socket_dir,
        )
    )
