"""`holdfast compact`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from holdfast.cli import opening
from holdfast.cli.options import Json, PassphraseFile, RepositoryPath
from holdfast.cli.runtime import command
from holdfast.cli.screen import ProgressBar
from holdfast.core.units import format_bytes
from holdfast.repository.compact import CompactOptions, CompactReport, run_compact


def compact(
    repository: RepositoryPath,
    grace_hours: Annotated[
        float,
        typer.Option("--grace-hours", min=0, help="Keep what is not needed at least this long."),
    ] = 24,
    minimum_fill: Annotated[
        int,
        typer.Option(
            "--min-fill-percent", min=0, max=100, help="Rewrite packs with less needed data."
        ),
    ] = 50,
    max_delete: Annotated[
        int,
        typer.Option(
            "--max-delete-percent", min=0, max=100, help="Refuse to delete more of the packs."
        ),
    ] = 20,
    old_data_keys: Annotated[
        bool,
        typer.Option(
            "--old-data-keys", help="Rewrite packs under older data keys (`key rotate`), too."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be reclaimed; change nothing.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Reclaim the space of deleted points. Backups may go on meanwhile."""
    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        options = CompactOptions(
            grace=timedelta(hours=grace_hours),
            minimum_fill=minimum_fill / 100,
            maximum_delete_share=max_delete / 100,
            old_data_keys=old_data_keys,
            dry_run=dry_run,
        )
        with ProgressBar(runtime.screen) as progress:
            report = run_compact(opened, options, cancel=runtime.cancel, progress=progress)
        runtime.screen.result({**asdict(report), "dry_run": dry_run}, _text(report, dry_run))


def _text(report: CompactReport, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    lines = [
        (
            f"{report.packs} packs, {format_bytes(report.pack_bytes)}, of which "
            f"{format_bytes(report.needed_bytes)} are needed."
        ),
        f"{report.deleted_packs} packs {would}deleted: {format_bytes(report.deleted_bytes)}.",
        (
            f"{report.tombstoned_packs} packs {would}set aside for deletion: "
            f"{format_bytes(report.tombstoned_bytes)}"
            f" ({report.rewritten_packs} of them {would}rewritten)."
        ),
    ]
    if report.bundled_points:
        lines.append(f"{report.bundled_points} points bundled for quick lists.")
    return "\n".join([*lines, *report.waiting])
