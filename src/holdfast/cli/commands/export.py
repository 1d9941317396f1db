"""`holdfast export`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from holdfast.cli import opening
from holdfast.cli.options import DiskKey, Json, PassphraseFile, Point, RepositoryPath
from holdfast.cli.runtime import Runtime, command


def export(
    point: Point,
    repository: RepositoryPath,
    disk: DiskKey,
    writable: Annotated[
        bool,
        typer.Option(
            "--writable",
            help="Accept writes into a temporary file in /var/tmp, not encrypted; the point stays.",
        ),
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Serve a disk of a point over NBD on a unix socket until interrupted."""
    from holdfast.restore.export import export_disk

    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        found = opened.point(point)
        record = found.disk(disk)
        with export_disk(repository=opened, disk=record, writable=writable) as served:
            document = {
                "point": found.id,
                "disk": disk,
                "uri": served.uri,
                "size_bytes": record.size_bytes,
                "writable": writable,
            }
            runtime.screen.result(document, served.uri)
            runtime.screen.flush()
            runtime.screen.message("Serving until interrupted (Ctrl-C).")
            served.wait(runtime.cancel, on_problem=_say(runtime))
            served.require_sound()


def _say(runtime: Runtime) -> Callable[[str], None]:
    return lambda problem: runtime.screen.message(f"holdfast: a client got an error: {problem}")
