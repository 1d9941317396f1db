"""`holdfast delete`, `holdfast check`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from holdfast.cli import opening
from holdfast.cli.commands import immutability
from holdfast.cli.options import Json, PassphraseFile, Point, RepositoryPath
from holdfast.cli.runtime import command
from holdfast.cli.screen import ProgressBar
from holdfast.core.errors import InvalidInput
from holdfast.core.units import format_bytes
from holdfast.repository import Repository
from holdfast.repository.check import CheckReport, check_repository
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.outer_check import check_outer
from holdfast.repository.reading import side_by_side

EXIT_INTEGRITY = 3


def delete(
    point: Point,
    repository: RepositoryPath,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Delete one restore point. No other point depends on it."""
    with command(as_json=json) as runtime:
        if point == "latest":
            raise InvalidInput(what="point", problem="name the point to delete by its id")
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        point_id = opened.point_id(point)
        what = _described(opened, point_id)
        if not yes:
            runtime.confirm(f"Delete restore point {what}?")
        opened.delete_point(point_id)
        document = {"deleted": point_id}
        runtime.screen.result(document, f"Deleted restore point {what}.")


def _described(repository: Repository, point_id: str) -> str:
    try:
        manifest = repository.manifest(point_id)
    except ObjectDamaged:
        # The point is lost whatever becomes of it; only its name is in the way of a copy.
        return f"{point_id}, whose manifest is damaged"
    return f"{point_id} of {manifest.vm.name}, {manifest.captured_at:%Y-%m-%d %H:%M} UTC"


def check(
    repository: RepositoryPath,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Also read and hash every byte of every pack.")
    ] = False,
    without_key: Annotated[
        bool,
        typer.Option(
            "--without-key",
            help="Ask for no passphrase: hash every byte, look at all that is not sealed.",
        ),
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Check that every restore point is complete. Exits 3 when something is damaged.

    Of an immutable repository also tests, with an object made for it, that it is. With
    --without-key whoever keeps the storage can tell decay and foreign objects, but not whether
    points lack anything.
    """
    if without_key:
        _check_without_key(repository, as_json=json)
        return
    with command(as_json=json) as runtime:
        opened = opening.open_repository(
            repository, passphrase_file, runtime.settings, cached=False
        )
        with ProgressBar(runtime.screen) as progress:
            (tested, words, is_all_visible), report = side_by_side(
                opened.store,
                lambda: immutability.tested(opened),
                lambda: check_repository(
                    opened, cancel=runtime.cancel, progress=progress, read_data=read_data
                ),
            )
        document = {**_document(report, read_data=read_data), "immutability": tested}
        text = "\n".join(part for part in (_text(report), words) if part)
        runtime.screen.result(document, text)
    if not (report.is_sound and is_all_visible):
        raise typer.Exit(EXIT_INTEGRITY)


def _check_without_key(location: str, *, as_json: bool) -> None:
    with command(as_json=as_json) as runtime:
        store = opening.open_without_key(location, runtime.settings)
        with ProgressBar(runtime.screen) as progress:
            report = check_outer(store, cancel=runtime.cancel, progress=progress)
        document = {**asdict(report), "sound": report.is_sound}
        what = f"{report.packs} packs among {report.objects} objects"
        lines = [
            f"No problem found in {what} ({format_bytes(report.read_bytes)} hashed)."
            if report.is_sound
            else f"{len(report.problems)} problem(s) found in {what}:",
            *(f"  {item.object}: {item.problem}" for item in report.problems),
            "Whether points lack something, only `holdfast check` with the passphrase tells.",
        ]
        runtime.screen.result(document, "\n".join(lines))
    if not report.is_sound:
        raise typer.Exit(EXIT_INTEGRITY)


def _document(report: CheckReport, *, read_data: bool) -> dict[str, object]:
    return {
        "sound": report.is_sound,
        "read_data": read_data,
        "points": report.points,
        "packs": report.packs,
        "pack_bytes": report.pack_bytes,
        "chunks": report.chunks,
        "unindexed_packs": report.unindexed_packs,
        "problems": [
            {"object": item.object, "problem": item.problem, "points": list(item.points)}
            for item in report.problems
        ],
    }


def _text(report: CheckReport) -> str:
    counted = (
        f"{report.points} points, {report.chunks} chunks in {report.packs} packs "
        f"({format_bytes(report.pack_bytes)})"
    )
    if report.is_sound:
        return f"No problem found: {counted}."
    lines = [f"{len(report.problems)} problem(s) found in {counted}:"]
    for item in report.problems:
        lines.append(f"  {item.object}: {item.problem}")
        lines.extend(f"    affects point {point}" for point in item.points)
    return "\n".join(lines)
