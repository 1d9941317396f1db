"""Shared disks of the guest file tests. Building them needs root and loop devices."""

from __future__ import annotations

import os
import shutil

import pytest

NEEDED = ("bwrap", "losetup", "parted", "blkid")


@pytest.fixture(scope="session", autouse=True)
def _needs_root_and_tools() -> None:
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("building guest disks needs root for loop mounts")
