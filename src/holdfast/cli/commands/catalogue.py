"""`holdfast catalogue`: what the service knows, made anew from the repositories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import options, runtime
from holdfast.cli.screen import table
from holdfast.core.errors import HoldfastError, InvalidInput

if TYPE_CHECKING:
    from holdfast.catalog.models import Repository
    from holdfast.catalog.points import Refreshed
    from holdfast.jobs.recording import Recorder

EXIT_FAILED, EXIT_INTEGRITY = 1, 3

app = typer.Typer(help="What the service knows of repositories.", no_args_is_help=True)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """What the service knows of repositories."""


@app.command("rebuild")
def rebuild(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names or ids; all that were added unless given.", metavar="[NAME]..."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Read all restore points of the service's repositories again, and list exactly those.

    Works on the service's database (HOLDFAST_STATE, HOLDFAST_DATABASE_URL), also while it runs.
    After the database was lost: start the service, add the repositories, which does this for each.
    """
    from holdfast.catalog.database import Database
    from holdfast.catalog.migrations import upgrade
    from holdfast.catalog.repositories import list_repositories
    from holdfast.catalog.sealing import Sealing
    from holdfast.core.clock import SystemClock
    from holdfast.jobs.recording import Recorder
    from holdfast.jobs.secrets import SealedSecrets
    from holdfast.settings import read_service_settings

    with runtime.command(as_json=json) as running:
        settings, clock = read_service_settings(), SystemClock()
        database = Database.open(settings.database_url)
        upgrade(database)
        with database.writing() as session:
            sealing = Sealing.open_or_create(settings.sealing_key_file, session, clock)
        with database.reading() as session:
            rows = _chosen(list_repositories(session), names or [])
        recorder = Recorder(database, SealedSecrets(sealing), clock, cache_root=settings.cache_root)
        done: list[_Rebuilt] = []
        for row in rows:
            running.cancel.check()
            done.append(_rebuild(recorder, row))
        database.close()
        document = {"repositories": [item.document() for item in done]}
        running.screen.result(document, _text(done))
        if any(item.problem for item in done):
            raise typer.Exit(EXIT_FAILED)
        if any(item.damaged for item in done):
            raise typer.Exit(EXIT_INTEGRITY)


@dataclass(slots=True, kw_only=True)
class _Rebuilt:
    row: Repository
    counts: Refreshed | None = None
    damaged: list[str] = field(default_factory=list[str])
    """Points that cannot be read, and why."""
    problem: str = ""
    """Why nothing was read; what was known of it stays."""

    def document(self) -> dict[str, object]:
        counts = self.counts
        return {
            "id": self.row.id,
            "name": self.row.name,
            "location": self.row.location,
            "points": counts.total if counts else None,
            "added": counts.added if counts else None,
            "removed": counts.removed if counts else None,
            "damaged": self.damaged,
            "problem": self.problem or None,
        }


def _chosen(rows: Sequence[Repository], names: Sequence[str]) -> Sequence[Repository]:
    """Raises InvalidInput."""
    unknown = sorted(set(names) - {row.id for row in rows} - {row.name for row in rows})
    if unknown:
        known = ", ".join(row.name for row in rows) or "none"
        problem = f"no repository {unknown[0]!r} was added; known are: {known}"
        raise InvalidInput(what="catalogue rebuild", problem=problem)
    if not rows:
        problem = "no repository was added; do so in the dashboard, which reads all its points"
        raise InvalidInput(what="catalogue rebuild", problem=problem)
    return [row for row in rows if not names or row.id in names or row.name in names]


def _rebuild(recorder: Recorder, row: Repository) -> _Rebuilt:
    """One that cannot be read keeps no other from being read."""
    done = _Rebuilt(row=row)
    try:
        done.counts = recorder.refresh(row.id, lambda error: done.damaged.append(error.message))
    except HoldfastError as error:
        done.problem = error.message
    return done


def _text(done: Sequence[_Rebuilt]) -> str:
    rows = [
        (
            item.row.name,
            item.row.location,
            *(
                (str(item.counts.total), str(item.counts.added), str(item.counts.removed))
                if item.counts
                else ("-", "-", "-")
            ),
        )
        for item in done
    ]
    lines = [table(("REPOSITORY", "LOCATION", "POINTS", "NEW", "GONE"), rows, right=(2, 3, 4))]
    for item in done:
        lines += [f"PROBLEM: {item.row.name}: {problem}" for problem in item.damaged]
        lines += [f"NOT READ: {item.row.name}: {item.problem}"] if item.problem else []
    return "\n".join(lines)
