"""Platforms under the conformance suite: each prepares a VM with two disks and can act as its
guest. Enter at `SUBJECTS`.

A driver joins by a class with the shape of `Subject` and an entry in `SUBJECTS`.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.driver import HypervisorDriver, VirtualMachine
from holdfast.hypervisors.images import ImagesDriver
from holdfast.nbd.client import NbdWriter
from holdfast.nbd.qemu import QemuNbd, create_image
from tests.support.fake_driver import FakeDriver

FIRST_BYTES = 6 * MIB
SECOND_BYTES = 1 * MIB + 512
ODD_BYTES = FIRST_BYTES + 511

Write = tuple[int, bytes]


def initial_writes(size_bytes: int) -> list[Write]:
    """Data with holes between, some of it not aligned to anything."""
    chance = random.Random(size_bytes)
    return [
        (0, chance.randbytes(70 * KIB)),
        (512 * KIB + 17, chance.randbytes(100 * KIB)),
        (size_bytes - 5000, chance.randbytes(5000)),
    ]


class Subject(Protocol):
    @property
    def driver(self) -> HypervisorDriver: ...

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def tracks_changes(self) -> bool: ...

    @property
    def survives_writes(self) -> bool:
        """The instant is a snapshot: the guest may go on writing."""
        ...

    def vm(self) -> VirtualMachine: ...

    def content(self, key: str) -> bytes:
        """What the guest sees now: the reference, kept apart from the platform."""
        ...

    def write(self, key: str, offset: int, data: bytes) -> None:
        """As the guest would."""
        ...

    def lose_instant(self) -> None:
        """Make the open capture worthless: kill the VM, replace the image."""
        ...

    def left_behind(self) -> list[str]:
        """Everything a capture may leave on the platform, by name."""
        ...

    def close(self) -> None: ...


class _Reference:
    """The expected content of each disk."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.disks = {key: bytearray(size) for key, size in sizes.items()}

    def write(self, key: str, offset: int, data: bytes) -> None:
        self.disks[key][offset : offset + len(data)] = data


class FakeSubject:
    tracks_changes = True
    survives_writes = True
    keys = ("vda", "vdb")

    def __init__(self, folder: Path) -> None:
        del folder
        self.driver = FakeDriver()
        sizes = {"vda": ODD_BYTES, "vdb": SECOND_BYTES}
        self.fake = self.driver.add_vm("web", sizes)
        self.driver.add_vm("another")
        self._reference = _Reference(sizes)
        for key, size in sizes.items():
            for offset, data in initial_writes(size):
                self.write(key, offset, data)

    def vm(self) -> VirtualMachine:
        return self.driver.find_vm("web")

    def content(self, key: str) -> bytes:
        return bytes(self._reference.disks[key])

    def write(self, key: str, offset: int, data: bytes) -> None:
        self.fake.disks[key].write(offset, data)
        self._reference.write(key, offset, data)

    def lose_instant(self) -> None:
        self.fake.active = None

    def left_behind(self) -> list[str]:
        busy = ["a running capture"] if self.fake.active else []
        return [*self.fake.checkpoints, *busy, *["a reader"] * self.driver.open_readers]

    def close(self) -> None:
        """Nothing outside of memory."""


class ImagesSubject:
    tracks_changes = False
    survives_writes = False

    def __init__(self, folder: Path, format: str) -> None:
        self._format = format
        self._folder = folder / "web"
        self._sockets = folder / "sockets"
        self._folder.mkdir()
        self._sockets.mkdir()
        self.keys = (f"a.{format}", f"b.{format}")
        first = ODD_BYTES if format == "raw" else FIRST_BYTES
        self._reference = _Reference(dict(zip(self.keys, (first, SECOND_BYTES), strict=True)))
        for key, content in self._reference.disks.items():
            create_image(self._folder / key, format, 0 if format == "raw" else len(content))
            if format == "raw":
                with (self._folder / key).open("r+b") as file:
                    file.truncate(len(content))
            for offset, data in initial_writes(len(content)):
                self.write(key, offset, data)
        self.driver = ImagesDriver(self._folder, socket_dir=self._sockets)

    def vm(self) -> VirtualMachine:
        return self.driver.find_vm("web")

    def content(self, key: str) -> bytes:
        return bytes(self._reference.disks[key])

    def write(self, key: str, offset: int, data: bytes) -> None:
        self._reference.write(key, offset, data)
        path = self._folder / key
        if self._format == "raw":
            with path.open("r+b") as file:
                file.seek(offset)
                file.write(data)
            return
        with QemuNbd.serve(
            image=path, format=self._format, read_only=False, socket_dir=self._sockets
        ) as server:
            writer = NbdWriter.connect(
                socket_path=server.socket_path, export=server.export, target=key
            )
            with writer:
                writer.write(offset, data)
                writer.flush()

    def lose_instant(self) -> None:
        path = self._folder / self.keys[1]
        copy = path.with_name(".copy")
        subprocess.run(["cp", "--sparse=always", path, copy], check=True)
        copy.rename(path)

    def left_behind(self) -> list[str]:
        return [entry.name for entry in self._sockets.iterdir()]

    def close(self) -> None:
        """pytest removes the folder."""


def images(format: str) -> Callable[[Path], Subject]:
    return lambda folder: ImagesSubject(folder, format)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "fake": FakeSubject,
    "images-raw": images("raw"),
    "images-qcow2": images("qcow2"),
    "images-vmdk": images("vmdk"),
}
