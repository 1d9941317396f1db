"""`holdfast copy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import opening
from holdfast.cli.options import Json, PassphraseFile, RepositoryPath
from holdfast.cli.runtime import command
from holdfast.cli.screen import ProgressBar
from holdfast.core.errors import HoldfastError
from holdfast.core.units import format_bytes
from holdfast.repository import Repository, RestorePoint
from holdfast.repository.copy import CopyReport, copy_points

EXIT_INTEGRITY = 3


def copy(
    repository: RepositoryPath,
    to: Annotated[
        str, typer.Option("--to", help="The other repository; create it first.", metavar="PATH")
    ],
    points: Annotated[
        list[str] | None,
        typer.Argument(help="Restore points: ids or unique beginnings; all when none is given."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Only points of the VM of that name.", metavar="VM")
    ] = None,
    to_passphrase_file: Annotated[
        Path | None,
        typer.Option("--to-passphrase-file", help="The other one's passphrase.", metavar="FILE"),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Copy restore points to another repository: those that are not there, and of them only what
    is missing. Run it again after an interruption. Exits 3 when a point could not be read."""
    with command(as_json=json) as runtime:
        source = opening.open_repository(repository, passphrase_file, runtime.settings)
        target = opening.open_repository(to, to_passphrase_file, runtime.settings)
        damaged: dict[str, str] = {}
        chosen = _chosen(source, points or [], name, damaged)
        with ProgressBar(runtime.screen) as progress:
            report = copy_points(source, target, chosen, cancel=runtime.cancel, progress=progress)
        report.failed.update(damaged)
        document = {
            "copied": report.copied,
            "present": report.present,
            "failed": report.failed,
            "read_bytes": report.read_bytes,
            "stored_bytes": report.stored_bytes,
        }
        runtime.screen.result(document, _text(report))
    if report.failed:
        raise typer.Exit(EXIT_INTEGRITY)


def _chosen(
    repository: Repository, ids: list[str], name: str | None, damaged: dict[str, str]
) -> list[RestorePoint]:
    if ids:
        found = {point.id: point for point in map(repository.point, ids)}
        points = list(found.values())
    else:

        def note(error: HoldfastError) -> None:
            damaged[str(error.params.get("key", "")).removeprefix("points/")] = error.message

        points = repository.points(note)
    return [point for point in points if name is None or point.manifest.vm.name == name]


def _text(report: CopyReport) -> str:
    lines = [
        (
            f"{len(report.copied)} points copied: {format_bytes(report.read_bytes)} read, "
            f"{format_bytes(report.stored_bytes)} stored. {len(report.present)} were there already."
        )
    ]
    if report.failed:
        lines.append(f"{len(report.failed)} could not be copied:")
        lines += [f"  {point}: {problem}" for point, problem in report.failed.items()]
    return "\n".join(lines)
