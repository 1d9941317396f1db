"""`holdfast points`."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import opening
from holdfast.cli.documents import point_document, points_table
from holdfast.cli.options import Json, PassphraseFile, RepositoryPath
from holdfast.cli.runtime import command


def points(
    repository: RepositoryPath,
    name: Annotated[str | None, typer.Option("--name", help="Only this VM.", metavar="VM")] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """List restore points, oldest first."""
    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        found = [point for point in opened.points() if name in (None, point.manifest.vm.name)]
        document = {
            "repository_id": opened.id,
            "points": [point_document(point) for point in found],
            "total": len(found),
        }
        empty = f"No restore points{f' of {name}' if name else ''} in {opened.location} yet."
        runtime.screen.result(document, points_table(found) if found else empty)
