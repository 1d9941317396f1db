"""Runs the very `holdfast` commands that a user would type, in processes of their own, shows what
they print, and reads facts from their `--json` documents. Enter at `HoldfastCommands`.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from holdfast.cli.demo.errors import CommandFailed
from holdfast.cli.demo.programs import find_program
from holdfast.cli.demo.screen import Screen

# The whole demo takes less; a command that needs longer hangs.
_TIMEOUT_S = 900.0
# After Ctrl-C the command, which got the signal too, cleans up by itself.
_CLEAN_UP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    key: str
    size_bytes: int
    mode: str
    """`full`, `changed` or `compare`."""
    reason: str
    read_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFacts:
    """What `holdfast points --json` says of one restore point."""

    id: str
    captured_as: str
    consistency: str
    stored_bytes: int
    disks: Sequence[DiskFacts]

    @property
    def size_bytes(self) -> int:
        return sum(disk.size_bytes for disk in self.disks)

    @property
    def read_bytes(self) -> int:
        return sum(disk.read_bytes for disk in self.disks)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldfastCommands:
    """Every method raises `CommandFailed` when a command ends badly or not at all."""

    screen: Screen
    passphrase_file: Path
    repository: Path

    def run(self, *arguments: str) -> None:
        """Show a command on the demo's repository, run it, and show what it prints."""
        shown = ["holdfast", *arguments, "--repository", str(self.repository)]
        self.run_plain(*shown[1:])

    def run_plain(self, *arguments: str) -> None:
        """Like `run`, without naming the repository."""
        shown = ["holdfast", *arguments]
        self.screen.command(shown)
        # On a terminal the command draws its own progress bar.
        pipe = None if self.screen.console.is_terminal else subprocess.PIPE
        process = subprocess.Popen(
            [*self._launcher(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe and subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        status = self._follow(process)
        if status != 0:
            raise CommandFailed(command=shlex.join(shown), status=status)

    def points(self) -> list[PointFacts]:
        arguments = ["points", "--json", "--repository", str(self.repository)]
        done = subprocess.run(
            [*self._launcher(), *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_TIMEOUT_S,
        )
        if done.returncode != 0:
            command = shlex.join(["holdfast", *arguments])
            raise CommandFailed(command=command, status=done.returncode)
        document = cast("Mapping[str, Any]", json.loads(done.stdout))
        return [_point(item) for item in document["points"]]

    def _follow(self, process: subprocess.Popen[str]) -> int:
        timer = threading.Timer(_TIMEOUT_S, process.terminate)
        timer.start()
        try:
            for line in process.stdout or ():
                self.screen.output(line.rstrip("\n"))
            return process.wait()
        except KeyboardInterrupt:
            process.wait(timeout=_CLEAN_UP_S)
            raise
        finally:
            timer.cancel()

    def _launcher(self) -> list[str]:
        """The program next to this Python, with the passphrase file named in its environment."""
        return [
            find_program("env"),
            f"HOLDFAST_PASSPHRASE_FILE={self.passphrase_file}",
            str(holdfast_program()),
        ]


def holdfast_program() -> Path:
    """The installed `holdfast` of the environment that this process runs in."""
    return Path(sys.executable).parent / "holdfast"


def _point(item: Mapping[str, Any]) -> PointFacts:
    return PointFacts(
        id=str(item["id"]),
        captured_as=str(item["captured_as"]),
        consistency=str(item["consistency"]),
        stored_bytes=int(item["stored_bytes"]),
        disks=[
            DiskFacts(
                key=str(disk["key"]),
                size_bytes=int(disk["size_bytes"]),
                mode=str(disk["mode"]),
                reason=str(disk["reason"]),
                read_bytes=int(disk["read_bytes"]),
            )
            for disk in item["disks"]
        ],
    )
