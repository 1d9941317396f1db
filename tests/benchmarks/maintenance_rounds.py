"""Rounds over a store with a past: check, verify, then half of the points deleted and their space
given back.

Four backups of one disk: in the second 60 % of it is new, in runs of a mebibyte, in the third and
the fourth another 1 %. Deleting the older two leaves containers that are partly needed everywhere.
Every tool keeps its own idea of how full is full enough; what it still stores is in the table.
Enter at `run_maintenance_round`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from holdfast.core.units import MIB
from tests.benchmarks.image_rounds import (
    CHANGED_SHARE,
    Conditions,
    WrongResult,
    emptied,
    tell,
    turned,
)
from tests.benchmarks.measuring import Command, measure, run
from tests.benchmarks.results import Phase, Results, Sample
from tests.benchmarks.source_disk import change, changed_ranges, copy_disk
from tests.benchmarks.tools import Bucket, Keeper, folder_of, keeper, stored_by

_NEW_SHARE = 0.6
_KEPT = 2


def run_maintenance_round(
    number: int,
    names: Sequence[str],
    conditions: Conditions,
    results: Results,
    bucket: Bucket | None = None,
) -> None:
    """One round. Leaves nothing behind on the local disk. Raises CommandFailed, WrongResult."""
    with emptied(conditions.work / "maintenance-round") as folder:
        tools = turned([keeper(name, folder, bucket) for name in names], number)
        _fill(tools, conditions, folder / "disk.raw", number)
        steps = (
            (Phase.CHECK, lambda tool: tool.check()),
            (Phase.VERIFY, lambda tool: tool.verify()),
            (Phase.SHRINK, lambda tool: tool.shrink(_KEPT)),
        )
        for phase, command in steps:
            for tool in tools:
                before = stored_by(tool)
                measurement = measure(command(tool), cold=conditions.cold, written=folder_of(tool))
                after = stored_by(tool)
                if phase is Phase.SHRINK and after >= before:
                    raise WrongResult(f"{tool.name} gave no space back")
                sample = Sample(
                    phase=phase.on_s3 if bucket else phase,
                    tool=tool.name,
                    measurement=measurement,
                    note=f"{before / MIB:.0f} MiB stored"
                    + (f", then {after / MIB:.0f}" if phase is Phase.SHRINK else ""),
                )
                tell(conditions, results, number, sample)
        for tool in tools:
            _require_newest(tool, folder)


def _fill(tools: Sequence[Keeper], conditions: Conditions, disk: Path, number: int) -> None:
    copy_disk(conditions.source.path, disk)
    for tool in tools:
        tool.prepare()
    for step in range(4):
        if step == 1:
            _renew(disk, number)
        elif step:
            change(disk, changed_ranges(disk.stat().st_size, CHANGED_SHARE, step), step)
        for tool in tools:
            run(tool.backup(disk))
    conditions.say(f"round {number + 1}: four backups made with {len(tools)} tools")


def _renew(disk: Path, seed: int) -> None:
    """New content in runs of a mebibyte; half of it is easy to compress."""
    chance = random.Random(f"renew {seed}")
    with disk.open("r+b") as file:
        for offset in range(0, disk.stat().st_size - MIB, MIB):
            if chance.random() < _NEW_SHARE:
                file.seek(offset)
                file.write(chance.randbytes(MIB // 2) + chance.randbytes(64) * (MIB // 128))


def _require_newest(tool: Keeper, folder: Path) -> None:
    """What is left must still be sound by the tool's own check, and its newest backup whole."""
    run(tool.check())
    target = folder / "restored"
    target.mkdir()
    disk = folder / "disk.raw"
    command, output = tool.restore(disk, target)
    run(command)
    run(Command(arguments=["cmp", str(output), str(disk)]))
    output.unlink()
    target.rmdir()
