"""The installed `holdfast` program as a user's shell would start it: own process, own environment.

Enter at `HoldfastCommand`. For tests whose subject is the process: its death, its exit status, its
output. Everything it says it did is judged elsewhere, by `tests.support.oracle`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import holdfast

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended. A negative status is the signal that killed it."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any] | None:
        """The JSON document on standard output; None when it was not printed to its end."""
        try:
            return cast("dict[str, Any]", json.loads(self.stdout))
        except ValueError:
            return None

    @property
    def error_code(self) -> str:
        """The stable code of the error it reported, empty when it reported none."""
        document = self.document or {}
        return str(document.get("error", {}).get("code", ""))

    def require(self) -> dict[str, Any]:
        """The document of a command that has to succeed."""
        assert self.status == 0, f"exit status {self.status}: {self.stderr}"
        assert self.document is not None
        return self.document


class HoldfastCommand:
    """Runs `holdfast` with a fixed environment; every run prints JSON."""

    def __init__(self, *, passphrase_file: Path, home: Path) -> None:
        self._program = Path(sys.executable).with_name("holdfast")
        self._environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            # The program under test, wherever it is: a copy of the tree may be.
            "PYTHONPATH": str(Path(holdfast.__file__).parent.parent),
            "HOME": str(home),
            "HOLDFAST_PASSPHRASE_FILE": str(passphrase_file),
            "HOLDFAST_SCRATCH": str(home / "scratch"),
            # Compiled once for all runs, and beside no source: half of the time of a start.
            "PYTHONPYCACHEPREFIX": str(home / "pycache"),
        }

    def run(
        self,
        *arguments: str | Path,
        under: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Finished:
        """Run to the end. `under` is a program that runs it, such as strace with its options."""
        process = self.start(*arguments, under=under, environment=environment)
        return finish(process, timeout_s=timeout_s)

    def start(
        self,
        *arguments: str | Path,
        under: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start it and return at once."""
        return subprocess.Popen(
            [*under, str(self._program), *map(str, arguments), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self._environment, **(environment or {})},
            start_new_session=True,
        )


def finish(process: subprocess.Popen[str], *, timeout_s: float = TIMEOUT_S) -> Finished:
    """Wait for the end; a process that does not end in time is killed and fails the test."""
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        # The group: a killed strace lets go of the program, which would hold our pipes.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise AssertionError(f"holdfast did not end within {timeout_s:.0f} s") from error
    return Finished(status=process.returncode, stdout=stdout, stderr=stderr)
