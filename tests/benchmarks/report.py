"""The tables and the JSON document of one benchmark."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from holdfast.core.units import GIB, MIB
from tests.benchmarks.bars import Bar, judge
from tests.benchmarks.machine import Machine
from tests.benchmarks.results import Phase, Results, Series
from tests.benchmarks.source_disk import SourceDisk
from tests.benchmarks.stage_profile import Profile

_WIDTH = 132


def print_report(
    results: Results, machine: Machine, source: SourceDisk, *, cold: bool, rounds: int
) -> None:
    console = Console(width=_WIDTH, highlight=False)
    console.print(_title(source, cold=cold, rounds=rounds))
    console.print(_results_table(results))
    console.print(
        "min: the shortest round; median: over the rounds. CPU: user and system time of the whole "
        "process tree; +QEMU: what the VM's own process spent meanwhile. Peak: resident memory of "
        "the tree. Then sync: time to make durable what the tool left unsynced when it ended. "
        "Stored: bytes added by the run. borg and restic "
        "encrypt as Holdfast does, qemu-img and virtnbdbackup do not."
    )
    console.print(_bars_table(judge(results)))
    console.print(_machine_text(machine))


def write_json(
    path: Path, results: Results, machine: Machine, source: SourceDisk, *, cold: bool, rounds: int
) -> None:
    document: dict[str, object] = {
        "cold": cold,
        "rounds": rounds,
        "machine": asdict(machine),
        "disk": {**asdict(source), "path": source.path.name},
        "results": [
            {
                "phase": series.phase.value,
                "tool": series.tool,
                "wall_s": series.wall_s,
                "median_wall_s": series.median_wall_s,
                "runs": [asdict(sample.measurement) for sample in series.samples],
                "stored_bytes": series.stored_bytes,
                "note": series.note,
            }
            for series in results.all
        ],
        "absent": [
            {"phase": phase.value, "tool": tool, "reason": reason}
            for (phase, tool), reason in results.absent.items()
        ],
        "bars": [{**asdict(bar), "held": bar.held} for bar in judge(results)],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def print_profile(profile: Profile) -> None:
    """Time by stage; what no stage covers is the interpreter and the rest of the program."""
    title = f"Our full backup: {profile.cpu_s:.1f} s of CPU in {profile.wall_s:.1f} s"
    table = Table(title=title)
    table.add_column("Stage")
    for name in ("CPU", "Share", "Waited"):
        table.add_column(name, justify="right")
    covered = 0.0
    for name, (cpu_s, elapsed_s) in sorted(profile.stages.items(), key=lambda item: -item[1][0]):
        covered += cpu_s
        waited = f"{max(0.0, elapsed_s - cpu_s):.2f} s"
        table.add_row(name, f"{cpu_s:.2f} s", f"{cpu_s / profile.cpu_s:.1%}", waited)
    rest = profile.cpu_s - covered
    table.add_row("everything else", f"{rest:.2f} s", f"{rest / profile.cpu_s:.1%}", "")
    Console(width=_WIDTH, highlight=False).print(table)


def _title(source: SourceDisk, *, cold: bool, rounds: int) -> str:
    cache = "empty page cache before each command" if cold else "page cache as it is (--warm)"
    return (
        f"A {source.size_bytes / GIB:g} GiB ext4 disk with {source.files} files, "
        f"{source.content_bytes / GIB:.2f} GiB, of {', '.join(source.roots)}; {cache}; "
        f"{rounds} round(s), tools in turning order."
    )


def _results_table(results: Results) -> Table:
    table = Table()
    table.add_column("")
    for name in ("min", "median", "CPU", "+QEMU", "Peak", "Then sync", "Stored"):
        table.add_column(name, justify="right")
    table.add_column("Note")
    for phase in Phase:
        series, absent = results.of(phase), results.absent_from(phase)
        if not series and not absent:
            continue
        table.add_section()
        table.add_row(f"[bold]{phase}[/bold]")
        for item in sorted(series, key=lambda item: item.wall_s):
            table.add_row(*_cells(item))
        for tool, reason in absent:
            table.add_row(f"  {tool}", *["-"] * 7, reason)
    return table


def _cells(series: Series) -> list[str]:
    stored = series.stored_bytes
    return [
        f"  {series.tool}",
        f"{series.wall_s:.2f} s",
        f"{series.median_wall_s:.2f} s",
        f"{series.cpu_s:.1f} s",
        f"{series.server_cpu_s:.1f} s" if series.server_cpu_s else "",
        f"{series.peak_bytes / MIB:.0f} MiB",
        f"{series.settle_s:.1f} s",
        "" if stored is None else f"{stored / MIB:.1f} MiB",
        series.note,
    ]


def _bars_table(bars: list[Bar]) -> Table:
    table = Table(title="Bars")
    table.add_column("At most")
    table.add_column("Bar", justify="right")
    table.add_column("Reached", justify="right")
    table.add_column("")
    table.add_column("Figures")
    words = {True: "held", False: "NOT HELD", None: "-"}
    for bar in bars:
        reached = "-" if bar.reached is None else f"{bar.reached:.2f}{bar.unit}"
        table.add_row(bar.what, f"{bar.limit:g}{bar.unit}", reached, words[bar.held], bar.against)
    return table


def _machine_text(machine: Machine) -> str:
    versions = "; ".join(f"{name}: {text}" for name, text in machine.versions.items())
    memory = f"{machine.memory_bytes / GIB:.0f} GiB memory"
    return (
        f"{machine.cores} cores ({machine.processor}), {memory}, Linux {machine.kernel}, "
        f"{machine.file_system}, load {machine.load:.1f} at the start.\n{versions}"
    )
