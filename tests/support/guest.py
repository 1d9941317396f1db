"""A small real guest under libvirt for system tests, built once per machine. Enter at
`running_guest`."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.cli.demo.acceleration import choose_domain_type
from holdfast.cli.demo.errors import HostNotReady
from holdfast.cli.demo.guest import Guest, build_guest
from holdfast.cli.demo.lab import Lab
from holdfast.cli.demo.libvirt_service import ensure_libvirtd
from holdfast.core.errors import ToolMissing

# QEMU's user may enter it, unlike pytest's own temporary folders.
_FOLDER = Path("/var/lib/holdfast/test-guest")


def built_guest() -> Guest:
    """The guest for this machine. Skips the test, naming what is missing."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the guest's disks must be reachable by libvirt's QEMU")
    try:
        ensure_libvirtd()
        return build_guest(_FOLDER / "cache")
    except (ToolMissing, HostNotReady) as missing:
        pytest.skip(str(missing))


@contextmanager
def running_guest() -> Generator[Lab, None, None]:
    """A lab of its own with the guest booted and its agent answering; removed at the end."""
    guest = built_guest()
    with tempfile.TemporaryDirectory(dir=_FOLDER, prefix="lab-") as folder:
        Path(folder).chmod(0o755)
        lab = Lab.open(Path(folder) / "lab", vm_name=f"holdfast-test-{secrets.token_hex(4)}")
        try:
            lab.start_vm(guest, choose_domain_type(guest, _FOLDER / "acceleration.json"))
            yield lab
        finally:
            lab.remove()
