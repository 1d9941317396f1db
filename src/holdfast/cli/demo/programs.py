"""Runs the host's programs for the lab: argument lists, a time limit, a fixed environment, and an
error that names the Debian package when one is missing. Must not know what the programs are for.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence

from holdfast.core.errors import ToolFailed, ToolMissing

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Searched instead of the caller's PATH, which for an ordinary user lacks mkfs and qemu-ga."""

_OUTPUT_LIMIT = 2000
_PACKAGES: Mapping[str, str] = {
    "busybox": "busybox-static",
    "cp": "coreutils",
    "env": "coreutils",
    "ldd": "libc-bin",
    "libvirtd": "libvirt-daemon-system",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "qemu-ga": "qemu-guest-agent",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "sgdisk": "gdisk",
    "systemctl": "systemd",
    "virsh": "libvirt-clients",
    "virtlogd": "libvirt-daemon",
}


def find_program(name: str) -> str:
    """Absolute path of an installed program. Raises `ToolMissing`, naming its package."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        raise ToolMissing(tool=name, package=_PACKAGES.get(name, name))
    return path


def run_program(
    arguments: Sequence[str],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    input_bytes: bytes = b"",
) -> bytes:
    """Standard output of a program that ended well; it is killed when the time is up.

    Raises `ToolMissing` or `ToolFailed`, whose output is the end of standard error.
    """
    program = find_program(arguments[0])
    try:
        done = subprocess.run(
            [program, *arguments[1:]],
            check=False,
            capture_output=True,
            input=input_bytes,
            timeout=timeout_s,
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C", **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(
            tool=arguments[0], status=-1, output=f"no end after {timeout_s:.0f} s"
        ) from error
    if done.returncode != 0:
        text = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ToolFailed(tool=arguments[0], status=done.returncode, output=text[-_OUTPUT_LIMIT:])
    return done.stdout
