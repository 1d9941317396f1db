"""Rounds over a raw image: full, unchanged, changed, restore, for every tool in turn.

In each round every tool starts with nothing, and the tools take turns in each phase in an order
that moves on by one a round. Enter at `run_image_round`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from tests.benchmarks.measuring import Command, measure
from tests.benchmarks.results import Phase, Results, Sample
from tests.benchmarks.source_disk import SourceDisk, change, changed_ranges, copy_disk
from tests.benchmarks.tools import (
    OURS,
    Bucket,
    Holdfast,
    ImageTool,
    floor_hash,
    floor_read,
    folder_of,
    image_tool,
    stored_by,
)

CHANGED_SHARE = 0.01
FLOOR_READ = "cat > /dev/null"
FLOOR_HASH = "read + blake3"
_Item = TypeVar("_Item")


class WrongResult(Exception):
    """A tool did not do what is being measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all runs of a benchmark have in common."""

    source: SourceDisk
    work: Path
    cold: bool
    say: Callable[[str], None]


def turned(items: Sequence[_Item], round_number: int) -> list[_Item]:
    """The same items, beginning with another one each round."""
    start = round_number % len(items)
    return [*items[start:], *items[:start]]


@contextmanager
def emptied(folder: Path) -> Generator[Path]:
    """A new folder, gone on leaving."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run_image_round(
    number: int,
    names: Sequence[str],
    conditions: Conditions,
    results: Results,
    bucket: Bucket | None = None,
) -> None:
    """One round for the named tools, in a bucket when there is one. Leaves nothing behind on the
    local disk. Raises CommandFailed, WrongResult."""
    with emptied(conditions.work / "image-round") as folder:
        _Round(number, names, conditions, results, folder, bucket).run()


class _Round:
    def __init__(
        self,
        number: int,
        names: Sequence[str],
        conditions: Conditions,
        results: Results,
        folder: Path,
        bucket: Bucket | None,
    ) -> None:
        self._number = number
        self._conditions = conditions
        self._results = results
        self._folder = folder
        self._is_distant = bucket is not None
        self._disk = folder / "disk.raw"
        self._tools = turned([image_tool(name, folder, bucket) for name in names], number)

    def run(self) -> None:
        for tool in self._tools:
            tool.prepare()
        copy_disk(self._conditions.source.path, self._disk)
        if not self._is_distant:
            self._floor(Phase.FULL, FLOOR_READ, floor_read(self._disk))
        self._back_up(Phase.FULL)
        self._touch()
        if not self._is_distant:
            self._floor(Phase.UNCHANGED, FLOOR_HASH, floor_hash(self._disk))
        self._back_up(Phase.UNCHANGED)
        offsets = changed_ranges(self._disk.stat().st_size, CHANGED_SHARE, self._number)
        change(self._disk, offsets, self._number)
        self._back_up(Phase.CHANGED)
        for tool in self._tools:
            self._restore(tool)
        for tool in self._tools:
            if isinstance(tool, Holdfast) and not self._is_distant:
                self._list(tool)

    def _back_up(self, phase: Phase) -> None:
        for tool in self._tools:
            if phase is not Phase.FULL and not tool.incremental:
                self._results.skip([phase], tool.name, "copies everything again: as the full")
                continue
            before = stored_by(tool)
            command = tool.backup(self._disk)
            self._measure(phase, tool, command, before)

    def _measure(self, phase: Phase, tool: ImageTool, command: Command, before: int) -> None:
        measurement = measure(command, cold=self._conditions.cold, written=folder_of(tool))
        note = ""
        if isinstance(tool, Holdfast):
            note = captured_as(tool, "full" if phase is Phase.FULL else "compare")
        added = stored_by(tool) - before
        self._add(
            Sample(
                phase=phase,
                tool=tool.name,
                measurement=measurement,
                stored_bytes=added,
                note=note,
            )
        )

    def _restore(self, tool: ImageTool) -> None:
        target = self._folder / "restored"
        target.mkdir()
        command, output = tool.restore(self._disk, target)
        measurement = measure(command, cold=self._conditions.cold, written=target)
        expected = self._disk if tool.incremental else self._conditions.source.path
        if subprocess.run(["cmp", str(output), str(expected)], check=False).returncode:
            raise WrongResult(f"{tool.name} did not give back what it was given")
        shutil.rmtree(target)
        self._add(Sample(phase=Phase.RESTORE, tool=tool.name, measurement=measurement))

    def _list(self, tool: Holdfast) -> None:
        for path in ("/", f"/{self._disk.name}"):
            command = tool.on_repository("files", "ls", "latest", path, "--json")
            measurement = measure(command, cold=self._conditions.cold)
            if not read_output(tool).get("total"):
                raise WrongResult(f"`files ls {path}` lists nothing")
            self._add(Sample(phase=Phase.LIST, tool=f"{OURS} {path}", measurement=measurement))

    def _floor(self, phase: Phase, name: str, command: Command) -> None:
        measurement = measure(command, cold=self._conditions.cold)
        self._add(Sample(phase=phase, tool=name, measurement=measurement))

    def _touch(self) -> None:
        """Give the image a new time stamp, as that of a VM in use always has."""
        os.utime(self._disk)

    def _add(self, sample: Sample) -> None:
        if self._is_distant:
            sample = replace(sample, phase=sample.phase.on_s3)
        tell(self._conditions, self._results, self._number, sample)


def tell(conditions: Conditions, results: Results, number: int, sample: Sample) -> None:
    """Add a sample and say so."""
    results.add(sample)
    wall_s = sample.measurement.wall_s
    conditions.say(f"round {number + 1}: {sample.phase}: {sample.tool}: {wall_s:.1f} s")


def captured_as(tool: Holdfast, mode: str) -> str:
    """How the backup that just ended read the disk. Raises WrongResult if not as `mode`."""
    disk = read_output(tool)["disks"][0]
    if disk["mode"] != mode:
        raise WrongResult(f"the disk was captured as {disk['mode']}: {disk['reason']}")
    return str(disk["mode"])


def read_output(tool: Holdfast) -> dict[str, Any]:
    """The JSON document that the last command printed."""
    return json.loads(tool.output.read_text())
