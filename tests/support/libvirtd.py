"""A libvirtd for tests: used as found, started when there is none. Never stopped: others may be
using it. Enter at `ensure_libvirtd`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SYSTEM_URI = "qemu:///system"
_LOCK = Path("/run/lock/holdfast-test-libvirtd.lock")
_DAEMONS = ("virtlogd", "libvirtd")
_START_TIMEOUT_S = 30.0


def ensure_libvirtd() -> str:
    """The URI of a libvirtd that answers, starting virtlogd and libvirtd as root if needed.

    Idempotent and safe from several processes at once. Skips the test, naming what is missing,
    where libvirt is not installed or this user may not start it.
    """
    if _answers():
        return SYSTEM_URI
    for program in (*_DAEMONS, "virsh", "qemu-system-x86_64"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if os.geteuid() != 0:
        pytest.skip("libvirtd is not running and only root can start it")
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers():
            _start()
    return SYSTEM_URI


def _start() -> None:
    for daemon in _DAEMONS:
        # A daemon that already runs refuses its pid file; that is the state wanted.
        subprocess.run(
            [daemon, "-d"],
            check=False,
            close_fds=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_START_TIMEOUT_S,
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers():
        if time.monotonic() > deadline:
            raise RuntimeError("libvirtd was started but does not answer")
        time.sleep(0.1)


def _answers() -> bool:
    if shutil.which("virsh") is None:
        return False
    probe = subprocess.run(
        ["virsh", "-q", "-c", SYSTEM_URI, "uri"],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=_START_TIMEOUT_S,
    )
    return probe.returncode == 0
