"""The embedded lab: a small real guest is backed up, changed, backed up again, restored, compared.

Uses the product only through its command line, and libvirt only through `virsh`. Enter at
`run_demo` and `remove_lab`; `default_lab_dir` says where.
"""

from __future__ import annotations

from holdfast.cli.demo.lab import default_lab_dir
from holdfast.cli.demo.run import remove_lab, run_demo

__all__ = ["default_lab_dir", "remove_lab", "run_demo"]
