"""`holdfast user`: what only whoever controls the service's host may do to accounts."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import options, runtime

app = typer.Typer(help="Accounts, on the service's own host.", no_args_is_help=True)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Accounts, on the service's own host."""


@app.command("reset-password")
def reset_password(
    name: Annotated[str, typer.Argument(help="Sign-in name.", metavar="NAME")],
    second_factor_too: Annotated[
        bool, typer.Option("--second-factor-too", help="Also remove the second factor.")
    ] = False,
    json: options.Json = False,
) -> None:
    """For who is locked out: a new password, shown once, and no limit in the way.

    Works on the service's database (HOLDFAST_STATE, HOLDFAST_DATABASE_URL), also while it runs.
    """
    from holdfast.api import first_start
    from holdfast.catalog.database import Database
    from holdfast.catalog.migrations import upgrade
    from holdfast.core.clock import SystemClock
    from holdfast.settings import read_service_settings

    with runtime.command(as_json=json) as running:
        database = Database.open(read_service_settings().database_url)
        upgrade(database)
        made = first_start.reset_password(
            database, name, SystemClock(), second_factor_too=second_factor_too
        )
        database.close()
        running.screen.result(
            {"name": made.name, "password": made.password},
            f"{made.name} signs in with {made.password} and then chooses a new password.",
        )
