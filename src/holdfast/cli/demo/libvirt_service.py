"""Makes sure that a libvirtd answers at qemu:///system: the one that runs, or one started here.

A daemon started here is left running; others may have begun to use it. Enter at `ensure_libvirtd`
and `virsh`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from pathlib import Path

from holdfast.cli.demo.errors import HostNotReady
from holdfast.cli.demo.programs import SYSTEM_PATH, find_program, run_program
from holdfast.core.errors import ToolFailed
from holdfast.hypervisors.errors import PlatformUnreachable

SYSTEM_URI = "qemu:///system"

_PACKAGES = "libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils"
_LOCK = Path("/run/holdfast-libvirtd.lock")
_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 10.0
_POLL_S = 0.1


def ensure_libvirtd() -> bool:
    """True if libvirtd was started here, False if it ran already.

    Safe from several processes at once. Raises `ToolMissing`, `HostNotReady` when only root could
    go on, or `PlatformUnreachable` when it was started and does not answer.
    """
    find_program("virsh")
    if _problem() is None:
        return False
    if os.geteuid() != 0:
        raise HostNotReady(
            what=f"access to {SYSTEM_URI}",
            how=f"As root: apt-get install {_PACKAGES}; start libvirtd; adduser YOU libvirt",
        )
    for program in ("libvirtd", "virtlogd", "qemu-system-x86_64"):
        find_program(program)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _problem() is None:
            return False
        _start()
        _wait_until_it_answers()
    return True


def virsh(*arguments: str, timeout_s: float = 30.0) -> str:
    """Standard output of one virsh command at `SYSTEM_URI`. Raises `ToolFailed`."""
    return run_program(["virsh", "-q", "-c", SYSTEM_URI, *arguments], timeout_s=timeout_s).decode()


def _start() -> None:
    # Present exactly where systemd is the init, sd_booted(3).
    if Path("/run/systemd/system").is_dir():
        run_program(["systemctl", "start", "libvirtd"], timeout_s=_START_TIMEOUT_S)
        return
    for daemon in ("virtlogd", "libvirtd"):
        # One that runs already refuses its pid file and exits: the state wanted, so the exit
        # status says nothing. Pipes would be inherited by the daemon and never reach their end.
        subprocess.run(
            [find_program(daemon), "-d"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_START_TIMEOUT_S,
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
        )


def _wait_until_it_answers() -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while (problem := _problem()) is not None:
        if time.monotonic() > deadline_s:
            raise PlatformUnreachable(platform=SYSTEM_URI, problem=problem)
        time.sleep(_POLL_S)


def _problem() -> str | None:
    """Why nothing answers; None when it does."""
    try:
        virsh("uri", timeout_s=_ANSWER_TIMEOUT_S)
    except ToolFailed as error:
        return error.output
    return None
