"""`holdfast rescue`: what is in a repository, and everything of a point as files, with nothing but
the repository and a key. Writes nothing to the repository."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import opening
from holdfast.cli.documents import point_document
from holdfast.cli.options import Json, PassphraseFile
from holdfast.cli.runtime import Runtime, command
from holdfast.cli.screen import ProgressBar, table
from holdfast.core.errors import InvalidInput
from holdfast.core.units import format_bytes
from holdfast.repository import RestorePoint
from holdfast.repository.losses import find_losses
from holdfast.repository.rescue import Packs, Rescue, packs_of, point_health

if TYPE_CHECKING:
    from holdfast.restore.rescued import PointRescue

EXIT_INTEGRITY = 3


def rescue(
    repository: Annotated[
        str,
        typer.Argument(
            help="Folder of the repository, or s3://bucket/prefix.", metavar="PATH_OR_URL"
        ),
    ],
    restore: Annotated[
        str | None,
        typer.Option(
            "--restore",
            help="Restore this point: its id or a beginning of it, `latest`, or the name of a VM "
            "for its latest point.",
            metavar="POINT",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="New folder for the restored files.", metavar="FOLDER"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="List only this VM.", metavar="VM")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="Of the disk images: raw, qcow2 or vmdk.")
    ] = "qcow2",
    check: Annotated[
        bool,
        typer.Option("--check", help="Look through the maps of all points for what is missing."),
    ] = False,
    fill_holes: Annotated[
        bool,
        typer.Option(
            "--fill-holes-with-zeroes",
            help="Save a damaged disk, too, with zeroes where data cannot be read, and say where.",
        ),
    ] = False,
    kit: Annotated[
        Path | None,
        typer.Option("--kit", help="The recovery kit, as it was saved.", metavar="FILE"),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """List and restore with nothing but the repository and its passphrase or recovery kit.

    Reads only, so the repository may be on read-only storage, and goes on past damage: what could
    not be read is said at the end, and the exit status is 3.
    """
    with command(as_json=json) as runtime:
        if (restore is None) != (to is None):
            problem = "give --restore POINT and --to FOLDER together, or neither to list"
            raise InvalidInput(what="rescue", problem=problem)
        opened = opening.open_rescue(repository, kit, passphrase_file, runtime.settings)
        if restore is not None and to is not None:
            whole = _restore(opened, restore, to, format, runtime, fill_holes=fill_holes)
        else:
            again = _again(repository, kit, passphrase_file)
            whole = _list(opened, again, name, runtime, check=check)
        if not whole:
            raise typer.Exit(EXIT_INTEGRITY)


def _again(location: str, kit: Path | None, passphrase_file: Path | None) -> str:
    """The beginning of the next command to type."""
    words = ["holdfast", "rescue", location]
    words += ["--kit", str(kit)] if kit else []
    words += ["--passphrase-file", str(passphrase_file)] if passphrase_file and not kit else []
    return shlex.join(words)


def _list(opened: Rescue, again: str, name: str | None, runtime: Runtime, *, check: bool) -> bool:
    """True when nothing is damaged."""
    points = [point for point in opened.points() if name in (None, point.manifest.vm.name)]
    packs = packs_of(opened)
    health = {point.id: point_health(point, packs) for point in points}
    if check:
        health = {**health, **_losses(opened, packs, runtime)}
    document = {
        "repository_id": opened.repository.id,
        "points": [
            {**point_document(point), "damage": health[point.id] or None} for point in points
        ],
        "total": len(points),
        "damaged": opened.damaged,
        "problems": opened.problems,
    }
    problems = [*opened.damaged, *opened.problems]
    example = shlex.quote(points[-1].manifest.vm.name) if points else "POINT"
    text = "\n".join(
        [
            f"Repository {opened.repository.id} in {opened.repository.location}:",
            f"{len(points)} restore points.",
            "",
            _points_table(points, health),
            *([""] if problems else []),
            *(f"PROBLEM: {problem}" for problem in problems),
            "",
            "To restore everything of a VM's latest point, or of any POINT above:",
            "",
            f"    {again} --restore {example} --to FOLDER",
        ]
    )
    runtime.screen.result(document, text)
    return not problems and not any(health.values())


def _losses(opened: Rescue, packs: Packs, runtime: Runtime) -> dict[str, str]:
    """What `--check` finds, by point."""
    with ProgressBar(runtime.screen) as progress:
        found = find_losses(
            opened.repository, packs.damaged, cancel=runtime.cancel, progress=progress
        )
    health: dict[str, str] = {}
    for loss in found:
        if not loss.is_readable:
            parts = [disk.disk.key for disk in loss.disks] + list(loss.artifacts)
            health[loss.point_id] = loss.problem or (
                f"{format_bytes(loss.lost_bytes)} lost of {', '.join(parts)}"
            )
    return health


def _points_table(points: Sequence[RestorePoint], health: dict[str, str]) -> str:
    rows = [
        (
            point.id,
            point.manifest.vm.name,
            f"{point.manifest.captured_at:%Y-%m-%d %H:%M:%S}",
            " ".join(
                f"{disk.key}:{format_bytes(disk.size_bytes)}" for disk in point.manifest.disks
            ),
            format_bytes(point.manifest.size_bytes),
            _words(point, health[point.id]),
        )
        for point in points
    ]
    return table(("POINT", "VM", "TAKEN (UTC)", "DISKS", "SIZE", "HEALTH"), rows, right=(4,))


def _words(point: RestorePoint, damage: str) -> str:
    if damage:
        return f"DAMAGED: {damage}"
    return f"in doubt: {point.suspect}" if point.suspect else "no damage known"


def _restore(
    opened: Rescue, wanted: str, to: Path, format: str, runtime: Runtime, *, fill_holes: bool
) -> bool:
    """True when everything of the point was saved."""
    from holdfast.restore.rescue import rescue_point
    from holdfast.restore.rescued import RescueOptions
    from holdfast.restore.targets import FORMATS

    if format not in FORMATS:
        raise InvalidInput(what="--format", problem=f"{format!r} is none of {', '.join(FORMATS)}")
    point = _point(opened, wanted)
    packs_of(opened)
    manifest = point.manifest
    runtime.screen.message(
        f"Restoring {manifest.vm.name} of {manifest.captured_at:%Y-%m-%d %H:%M:%S} UTC "
        f"({format_bytes(manifest.size_bytes)}) to {to}"
    )
    with ProgressBar(runtime.screen) as progress:
        done = rescue_point(
            repository=opened.repository,
            point=point,
            folder=to,
            options=RescueOptions(format=format, fill_holes=fill_holes),
            cancel=runtime.cancel,
            progress=progress,
        )
    for problem in opened.problems:
        runtime.screen.message(f"problem of the repository: {problem}")
    runtime.screen.result(_document(point, done, opened), _text(done))
    return done.is_whole


def _point(opened: Rescue, wanted: str) -> RestorePoint:
    """By id, or the latest of a VM by its name. Other points may be damaged."""
    points = opened.points()
    by_name = [point for point in points if point.manifest.vm.name == wanted]
    if wanted == "latest" and points:
        return points[-1]
    if by_name:
        return by_name[-1]
    return opened.repository.point(wanted)


def _document(point: RestorePoint, done: PointRescue, opened: Rescue) -> dict[str, Any]:
    return {
        "point": point.id,
        "vm": point.manifest.vm.name,
        "folder": str(done.folder),
        "whole": done.is_whole,
        "disks": [
            {
                "key": file.what,
                "path": str(done.folder / file.name) if file.is_there else None,
                "size_bytes": file.size_bytes,
                "written_bytes": file.written_bytes,
                "lost_bytes": file.lost_bytes if file.is_there else file.size_bytes,
                "problem": file.problem or None,
                "holes": [{"offset": start, "length": length} for start, length in file.holes],
            }
            for file in done.files
            if file.is_disk
        ],
        "files": [
            str(done.folder / file.name)
            for file in done.files
            if file.is_there and not file.is_disk
        ],
        "notes": done.notes,
        "problems": [
            *opened.problems,
            *(f"{file.what}: {file.problem}" for file in done.files if file.problem),
        ],
    }


def _text(done: PointRescue) -> str:
    lost = [file for file in done.files if file.problem]
    lines = [f"Saved {sum(file.is_there for file in done.files)} of {len(done.files)} files."]
    if lost:
        lines = [f"NOT WHOLE. {lines[0]} What is missing:"]
        lines += [f"  {file.name}: {file.problem}" for file in lost]
    lines += [f"Note: {note}" for note in done.notes]
    lines.append(f"What to do with it is in {done.folder / 'README.txt'}.")
    return "\n".join(lines)
