"""The root file system of the demo's guest: one initramfs with busybox, the QEMU guest agent with
its libraries, and the few kernel modules that the guest's devices need.

The archive is written here, entry by entry (`newc`, Documentation/driver-api/early-userspace/
buffer-format.rst of the kernel), so that it needs neither root nor a staging folder and is the
same for the same host packages. It is not compressed: unpacking costs more under TCG than
loading 11 MB does. Enter at `build_initramfs`.
"""

from __future__ import annotations

import gzip
import lzma
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from holdfast.cli.demo.errors import HostNotReady
from holdfast.cli.demo.programs import find_program, run_program

READY_MARKER = "holdfast guest: ready"
"""Printed on the serial console once both disks are mounted."""
PROBE_MARKER = "holdfast guest: probe passed"
"""Printed on the serial console in place of all else when booted with `holdfast.probe`."""
DATA_MOUNT = "/srv/data"
FILES_MOUNT = "/srv/files"

_REQUIRED_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4", "xfs")
# Absent from some kernels, built into others. ext4 and XFS ask for crc32c by its cryptographic
# name, which modules.dep does not know, so it comes first; since 6.14 it is no module any more.
_CHECKSUM_MODULES = ("crc32c_generic",)
# Without virtio_net there is no network; without the others the power button is ignored.
_OPTIONAL_MODULES = ("virtio_net", "button", "evdev")

_INITTAB = f"""\
::sysinit:/etc/rc
::respawn:/bin/qemu-ga --method virtio-serial --path /dev/guest-agent --statedir /run
::respawn:/bin/acpid -f
ttyS0::askfirst:/bin/sh
::ctrlaltdel:/bin/poweroff
::shutdown:/bin/umount {DATA_MOUNT} {FILES_MOUNT}
"""

_RC = f"""\
#!/bin/sh
mount -t proc proc /proc
if grep -q holdfast.probe /proc/cmdline; then
    echo '{PROBE_MARKER}'
    poweroff -f
fi
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod "$module" || echo "holdfast guest: $module does not load"; done
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = org.qemu.guest_agent.0 ] && ln -s "${{port##*/}}" /dev/guest-agent
done
mount -t ext4 /dev/vda1 {DATA_MOUNT} && mount -t xfs /dev/vdb {FILES_MOUNT} \\
    && echo '{READY_MARKER}'
ip link set lo up
[ -e /sys/class/net/eth0 ] && ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up
hostname holdfast-demo
"""

# The agent runs `shutdown -h -P +0 ...`; the power button runs the script named after it.
_SHUTDOWN = "#!/bin/sh\nexec poweroff\n"

# acpid and the agent log to /var/log, which is /log here.
_FOLDERS = (
    "bin",
    "dev",
    "etc",
    "etc/acpi",
    "log",
    "modules",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
)
_LINKS = {"init": "bin/busybox", "sbin": "bin", "usr": ".", "var": "."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel of this host that the guest can boot."""

    release: str
    image: Path
    modules: Path


def find_kernel(boot: Path = Path("/boot"), modules: Path = Path("/usr/lib/modules")) -> Kernel:
    """The newest kernel with modules; a cloud kernel if there is one, as it boots fastest.

    Raises `HostNotReady`.
    """
    found = [
        Kernel(release=release, image=image, modules=modules / release)
        for image in boot.glob("vmlinuz-*")
        if (modules / (release := image.name.removeprefix("vmlinuz-")) / "modules.dep").exists()
    ]
    if not found:
        raise HostNotReady(
            what="a Linux kernel with its modules in /boot and /usr/lib/modules",
            how="Install one with: apt-get install linux-image-cloud-amd64",
        )
    return max(found, key=lambda kernel: ("cloud" in kernel.release, _version(kernel.release)))


def build_initramfs(kernel: Kernel) -> bytes:
    """The archive. Raises `ToolMissing` or `HostNotReady` when this host lacks a part of it."""
    archive = _Archive()
    for folder in (*_FOLDERS, DATA_MOUNT[1:], FILES_MOUNT[1:]):
        archive.add(folder, stat.S_IFDIR | 0o755)
    for name, target in _LINKS.items():
        archive.add(name, stat.S_IFLNK | 0o777, target.encode())
    # The kernel opens this one before anything is mounted.
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    busybox = find_program("busybox")
    archive.add("bin/busybox", stat.S_IFREG | 0o755, Path(busybox).read_bytes())
    for applet in run_program(["busybox", "--list"], timeout_s=10).decode().split():
        if applet not in ("busybox", "shutdown"):
            archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    archive.add("bin/shutdown", stat.S_IFREG | 0o755, _SHUTDOWN.encode())
    archive.add("etc/acpi/PWRF", stat.S_IFDIR | 0o755)
    archive.add("etc/acpi/PWRF/00000080", stat.S_IFREG | 0o755, _SHUTDOWN.encode())
    archive.add("etc/inittab", stat.S_IFREG | 0o644, _INITTAB.encode())
    archive.add("etc/rc", stat.S_IFREG | 0o755, _RC.encode())
    _add_with_libraries(archive, "bin/qemu-ga", find_program("qemu-ga"))
    for position, module in enumerate(resolve_modules(kernel.modules)):
        name = f"modules/{position:02}-{module.name.split('.')[0]}.ko"
        archive.add(name, stat.S_IFREG | 0o644, _read_module(module))
    return archive.finish()


class _Archive:
    """A cpio archive in the kernel's `newc` form; the caller adds parents before children."""

    def __init__(self) -> None:
        self._parts = bytearray()
        self._names: set[str] = set()

    def add(
        self, name: str, mode: int, content: bytes = b"", *, device: tuple[int, int] = (0, 0)
    ) -> None:
        if name in self._names:
            return
        self._names.add(name)
        fields = (
            *(len(self._names), mode, 0, 0, 1, 0, len(content)),
            *(0, 0, *device, len(name) + 1, 0),
        )
        self._parts += b"070701" + b"".join(b"%08X" % field for field in fields)
        self._parts += name.encode() + b"\0"
        self._pad()
        self._parts += content
        self._pad()

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self._parts)

    def _pad(self) -> None:
        self._parts += bytes(-len(self._parts) % 4)


def _add_with_libraries(archive: _Archive, name: str, program: str) -> None:
    archive.add(name, stat.S_IFREG | 0o755, Path(program).read_bytes())
    listing = run_program(["ldd", program], timeout_s=10).decode()
    for library in sorted(set(re.findall(r"(/\S+) \(0x", listing))):
        # `/usr` is the root itself in the guest, so that either spelling of a path resolves.
        inside = library.removeprefix("/usr")[1:]
        for parent in list(Path(inside).parents)[-2::-1]:
            archive.add(str(parent), stat.S_IFDIR | 0o755)
        archive.add(inside, stat.S_IFREG | 0o755, Path(library).read_bytes())


def resolve_modules(folder: Path) -> list[Path]:
    """Files of the modules wanted, each after those it depends on; built-in ones need none."""
    depends_on = dict(_read_dependencies(folder))
    built_in = {_module_name(line) for line in (folder / "modules.builtin").read_text().split()}
    by_name = {_module_name(path): path for path in depends_on}
    ordered: dict[str, None] = {}
    for name in (*_CHECKSUM_MODULES, *_REQUIRED_MODULES, *_OPTIONAL_MODULES):
        if name in by_name:
            # modules.dep lists the nearest dependency first and all of them.
            for path in (*reversed(depends_on[by_name[name]]), by_name[name]):
                ordered[path] = None
        elif name in _REQUIRED_MODULES and name not in built_in:
            raise HostNotReady(
                what=f"the kernel module {name}, which {folder.name} does not have",
                how="Install another kernel: apt-get install linux-image-cloud-amd64",
            )
    return [folder / path for path in ordered]


def _read_dependencies(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        yield path, needed.split()


def _module_name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")


def _read_module(path: Path) -> bytes:
    content = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(content)
        case ".gz":
            return gzip.decompress(content)
        case ".zst":
            return zstandard.ZstdDecompressor().decompressobj().decompress(content)
        case _:
            return content


def _version(release: str) -> tuple[int, ...]:
    return tuple(_numbers(re.findall(r"\d+", release)))


def _numbers(texts: Iterable[str]) -> Iterator[int]:
    return (int(text) for text in texts)
