"""A tiny real guest that connects its guest agent channel to a socket of the test.

A channel counts as connected only when something in a guest has opened it, so a fake agent needs
a guest. This one (Debian's kernel, busybox, no disk) copies bytes between the agent's port and a
second port, whose host side is where `FakeAgent` answers. Enter at `bridged_vm`.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.guestless import GuestlessDisk, GuestlessVm, guestless_vm

_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
)
"""In the order of their dependencies."""
_BOOT_TIMEOUT_S = 120.0
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys
for module in %s; do [ -f /$module.ko ] && insmod /$module.ko; done
port() { for p in /sys/class/virtio-ports/*; do
  [ "$(cat $p/name 2>/dev/null)" = "$1" ] && echo /dev/${p##*/}; done; }
while [ -z "$(port org.qemu.guest_agent.0)" ] || [ -z "$(port holdfast.test.0)" ]; do
  sleep 0.1; done
exec 3<>$(port holdfast.test.0)
exec 4<>$(port org.qemu.guest_agent.0)
(while :; do cat <&3 >&4; sleep 0.1; done) &
while :; do cat <&4 >&3; sleep 0.1; done
"""


@dataclass
class FakeAgent:
    """Answers the guest agent's protocol as it is told. Not thread-safe to configure while a
    command is being answered."""

    socket_path: Path
    frozen_count: int = 2
    silent: set[str] = field(default_factory=set[str])
    """Verbs that are obeyed and not answered."""
    failing: set[str] = field(default_factory=set[str])
    on_frozen: Callable[[], None] | None = None
    """Called once, after the freeze was answered (or would have been)."""
    thaw_answer: int | None = None
    """Count to claim instead of the truth."""
    frozen_at: float | None = None
    longest_frozen_s: float = 0.0
    thawed: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """Honest, thawed and with an empty memory."""
        self.silent, self.failing = set(), set()
        self.on_frozen, self.thaw_answer = None, None
        self.frozen_at, self.longest_frozen_s = None, 0.0
        self.thawed.clear()

    def serve(self, connection: socket.socket) -> None:
        """Until the other side closes."""
        buffer = b""
        while data := connection.recv(4096):
            *lines, buffer = (buffer + data).replace(b"\xff", b"").split(b"\n")
            for line in filter(None, lines):
                self._answer(connection, json.loads(line))

    def _answer(self, connection: socket.socket, request: dict[str, Any]) -> None:
        verb = request["execute"]
        if verb in self.failing:
            answer: dict[str, Any] = {"error": {"class": "GenericError", "desc": "refused"}}
        else:
            answer = {"return": self._obey(verb, request.get("arguments", {}))}
        if verb not in self.silent:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        if verb == "guest-fsfreeze-freeze" and self.on_frozen is not None:
            callback, self.on_frozen = self.on_frozen, None
            callback()

    def _obey(self, verb: str, arguments: dict[str, Any]) -> object:
        match verb:
            case "guest-sync":
                return arguments["id"]
            case "guest-fsfreeze-freeze":
                self.frozen_at = time.monotonic()
                return self.frozen_count
            case "guest-fsfreeze-thaw":
                return self._thaw()
            case _:
                return {}

    def _thaw(self) -> int:
        if self.frozen_at is None:
            return 0
        self.longest_frozen_s = max(self.longest_frozen_s, time.monotonic() - self.frozen_at)
        self.frozen_at = None
        self.thawed.set()
        return self.frozen_count if self.thaw_answer is None else self.thaw_answer


@contextmanager
def bridged_vm(
    folder: Path, disks: Sequence[GuestlessDisk]
) -> Generator[tuple[GuestlessVm, FakeAgent]]:
    """A running guest with those disks whose agent is the returned fake. Boots in some seconds."""
    kernel, initramfs = _build(folder)
    path = folder / "bridge.sock"
    boot = f"<kernel>{kernel}</kernel><initrd>{initramfs}</initrd><cmdline>quiet</cmdline>"
    channel = (
        f"<channel type='unix'><source mode='bind' path='{path}'/>"
        "<target type='virtio' name='holdfast.test.0'/></channel>"
    )
    with guestless_vm(disks, devices=channel, os_extra=boot, memory_mib=192, started=False) as vm:
        vm.domain.create()
        agent = FakeAgent(socket_path=path)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            server = threading.Thread(target=agent.serve, args=[connection])
            server.start()
            try:
                _wait_connected(vm)
                yield vm, agent
            finally:
                connection.shutdown(socket.SHUT_RDWR)
                server.join()


def _wait_connected(vm: GuestlessVm) -> None:
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while True:
        root = ElementTree.fromstring(vm.domain.XMLDesc())  # noqa: S314
        ports = root.iterfind("devices/channel/target[@name='org.qemu.guest_agent.0']")
        if any(port.get("state") == "connected" for port in ports):
            return
        assert time.monotonic() < deadline, "the guest did not open its agent's port"
        time.sleep(0.1)


def _build(folder: Path) -> tuple[Path, Path]:
    """Kernel and initramfs, readable by QEMU's user. Skips, naming what is missing."""
    kernels = sorted(Path("/boot").glob("vmlinuz-*-cloud-amd64"))
    busybox = shutil.which("busybox")
    if not kernels or busybox is None or shutil.which("cpio") is None:
        pytest.skip("linux-image-cloud-amd64, busybox-static or cpio is not installed")
    version = kernels[-1].name.removeprefix("vmlinuz-")
    kernel = folder / "vmlinuz"
    shutil.copy(kernels[-1], kernel)
    initramfs = folder / "initramfs"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for sub in ("bin", "dev", "sys"):
            (root / sub).mkdir()
        shutil.copy(busybox, root / "bin/busybox")
        for module in Path("/lib/modules", version).rglob("virtio*.ko"):
            if module.stem in _MODULES:
                shutil.copy(module, root / module.name)
        (root / "init").write_text(_INIT % " ".join(_MODULES))
        (root / "init").chmod(0o755)
        names = b"\n".join(str(p.relative_to(root)).encode() for p in root.rglob("*"))
        with initramfs.open("wb") as output:
            subprocess.run(
                ["cpio", "--quiet", "-o", "-H", "newc"],
                input=names,
                stdout=output,
                cwd=root,
                check=True,
                timeout=60,
            )
    for file in (kernel, initramfs):
        file.chmod(0o644)
    return kernel, initramfs
