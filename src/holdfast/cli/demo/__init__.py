"""The embedded lab: a small real guest is backed up, changed, backed up again, restored, compared.

Uses the product only through its command line, and libvirt only through `virsh`. Enter at
`run_demo` and `remove_lab`; `default_lab_dir` says where.
"""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.cli.demo.run import remove_lab, run_demo

__all__ = ["default_lab_dir", "remove_lab", "run_demo"]


def default_lab_dir() -> Path:
    """Where the demo lives unless told otherwise: a place that QEMU's own user can enter, which an
    ordinary user's home is not (Debian makes it 0700)."""
    if os.geteuid() == 0:
        return Path("/var/lib/holdfast/demo")
    return Path(f"/var/tmp/holdfast-demo-{os.geteuid()}")  # noqa: S108 - Lab.open checks the owner
