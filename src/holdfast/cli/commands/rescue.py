"""`holdfast rescue`: everything out of a repository, with nothing but it and its key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import opening
from holdfast.cli.documents import point_document, points_table
from holdfast.cli.options import Json, PassphraseFile
from holdfast.cli.runtime import Runtime, command
from holdfast.cli.screen import ProgressBar
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.units import format_bytes
from holdfast.repository import Repository

EXIT_INTEGRITY = 3


def rescue(
    repository: Annotated[
        str,
        typer.Argument(
            help="Folder of the repository, or s3://bucket/prefix. Nothing is written there.",
            metavar="REPOSITORY",
        ),
    ],
    restore: Annotated[
        str | None,
        typer.Option(
            "--restore",
            help="Get this point out: its id, a unique beginning of it, or `latest`.",
            metavar="POINT",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="A new or empty folder for what comes out.", metavar="FOLDER"),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="Of the disk images: raw, qcow2 or vmdk.")
    ] = "qcow2",
    kit: Annotated[
        Path | None,
        typer.Option("--kit", help="The recovery kit, as it was saved.", metavar="FILE"),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """List what a repository holds, and get restore points out of it, when all else is lost.

    Needs no server, settings or caches: only the repository and its recovery kit or passphrase.
    Goes on over damage and says what it could not save; exits with 3 then.
    """
    with command(as_json=json) as runtime:
        if (restore is None) != (to is None):
            raise InvalidInput(what="rescue", problem="--restore and --to go together")
        opened, problems = opening.open_for_rescue(
            repository, kit, passphrase_file, runtime.settings
        )
        for problem in problems:
            runtime.screen.message(f"holdfast: {problem}")
        if restore is None or to is None:
            _list(opened, problems, runtime)
        else:
            _restore(opened, restore, to, format, problems, runtime)


def _list(repository: Repository, problems: list[str], runtime: Runtime) -> None:
    damaged: list[HoldfastError] = []
    found = repository.points(damaged.append)
    for error in damaged:
        runtime.screen.message(f"holdfast: lost: {error.message}")
    document = {
        "repository_id": repository.id,
        "points": [point_document(point) for point in found],
        "total": len(found),
        "damaged": [error.message for error in damaged],
        "problems": problems,
    }
    text = points_table(found) if found else "No restore point is left here."
    if found:
        text += (
            "\n\nTo get one out:\n"
            f"  holdfast rescue {repository.location} --restore latest --to FOLDER"
        )
    runtime.screen.result(document, text)
    if damaged or problems:
        raise typer.Exit(EXIT_INTEGRITY)


def _restore(
    repository: Repository,
    name: str,
    folder: Path,
    format: str,
    problems: list[str],
    runtime: Runtime,
) -> None:
    from holdfast.restore.rescue import README, rescue_point
    from holdfast.restore.targets import FORMATS

    if format not in FORMATS:
        raise InvalidInput(what="--format", problem=f"{format!r} is none of {', '.join(FORMATS)}")
    point = repository.point(name)
    with ProgressBar(runtime.screen) as progress:
        report = rescue_point(
            repository, point, folder, format=format, cancel=runtime.cancel, progress=progress
        )
    document: dict[str, Any] = {
        "point": point.id,
        "vm": point.manifest.vm.name,
        "folder": str(folder),
        "disks": [
            {
                "key": disk.key,
                "path": str(disk.path),
                "size_bytes": disk.size_bytes,
                "written_bytes": disk.written_bytes,
                "lost_bytes": disk.lost_bytes,
            }
            for disk in report.disks
        ],
        "files": [str(path) for path in report.files],
        "whole": report.is_whole,
        "problems": [*problems, *report.problems],
    }
    lines = [f"{disk.path}  {format_bytes(disk.size_bytes)}" for disk in report.disks]
    lines += [str(path) for path in report.files]
    if report.is_whole:
        lines.append(f"All of {point.manifest.vm.name} came out, every chunk verified.")
    else:
        lines.append("NOT WHOLE:")
        lines += [f"  {problem}" for problem in report.problems]
    lines.append(f"How to bring it up again: {folder / README}")
    runtime.screen.result(document, "\n".join(lines))
    if not report.is_whole:
        raise typer.Exit(EXIT_INTEGRITY)
