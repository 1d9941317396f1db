"""What the figures were measured on: hardware, kernel, file system, versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import SEARCH_PATH
from tests.benchmarks.tools import HOLDFAST

_VERSION_COMMANDS = {
    "holdfast": [HOLDFAST, "--version"],
    "qemu-img": ["qemu-img", "--version"],
    "borg": ["borg", "--version"],
    "restic": ["restic", "version"],
    "virtnbdbackup": ["virtnbdbackup", "--version"],
    "libvirtd": ["libvirtd", "--version"],
}
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    cores: int
    processor: str
    memory_bytes: int
    kernel: str
    file_system: str
    """Type and device below the folder measured in."""
    load: float
    """Average over the minute before the first run."""
    versions: dict[str, str]


def describe_machine(work: Path) -> Machine:
    return Machine(
        cores=os.cpu_count() or 1,
        processor=_field(Path("/proc/cpuinfo"), "model name"),
        memory_bytes=int(_field(Path("/proc/meminfo"), "MemTotal").split()[0]) * 1024,
        kernel=platform.release(),
        file_system=_output(["findmnt", "-no", "FSTYPE,SOURCE", "--target", str(work)]),
        load=os.getloadavg()[0],
        versions={name: _output(command) for name, command in _VERSION_COMMANDS.items()},
    )


def installed(program: str) -> bool:
    return shutil.which(program, path=SEARCH_PATH) is not None


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _output(command: Sequence[str]) -> str:
    """First line of what the program prints."""
    if shutil.which(command[0], path=SEARCH_PATH) is None:
        return "not installed"
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"
