"""The only reader of the environment and of settings files. Read once by an entry point and passed
down as plain values."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import InvalidInput

_LONGEST_PASSPHRASE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    passphrase_file: Path | None
    """HOLDFAST_PASSPHRASE_FILE: where the repository's passphrase or recovery key is."""
    scratch_root: Path
    """HOLDFAST_SCRATCH: where QEMU keeps what guests overwrite during a backup."""
    failpoints: str
    """HOLDFAST_FAILPOINTS: faults to inject, for tests only."""


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the process's environment, with defaults."""
    values = os.environ if environment is None else environment
    passphrase_file = values.get("HOLDFAST_PASSPHRASE_FILE", "")
    state = Path("/var/lib/holdfast") if os.geteuid() == 0 else _user_state(values)
    return Settings(
        passphrase_file=Path(passphrase_file) if passphrase_file else None,
        scratch_root=Path(values.get("HOLDFAST_SCRATCH") or state / "scratch"),
        failpoints=values.get("HOLDFAST_FAILPOINTS", ""),
    )


def read_passphrase(path: Path) -> str:
    """The first line of a file, which nobody else may read. Raises InvalidInput."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.readline(_LONGEST_PASSPHRASE + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise InvalidInput(what=f"passphrase file {path}", problem=problem) from error
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        problem = f"is readable by others; run: chmod 600 {path}"
        raise InvalidInput(what=f"passphrase file {path}", problem=problem)
    if len(line) > _LONGEST_PASSPHRASE:
        raise InvalidInput(what=f"passphrase file {path}", problem="its first line is too long")
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(what=f"passphrase file {path}", problem="is not UTF-8") from error
    if not text:
        raise InvalidInput(what=f"passphrase file {path}", problem="its first line is empty")
    return text


def _user_state(values: Mapping[str, str]) -> Path:
    base = values.get("XDG_STATE_HOME") or Path(values.get("HOME", "/nonexistent"), ".local/state")
    return Path(base, "holdfast")
