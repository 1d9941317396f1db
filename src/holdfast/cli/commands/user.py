"""`holdfast user`: accounts of a service, and what only who controls its host may do to them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.cli import options, runtime
from holdfast.cli.commands.token import grant, grants_text
from holdfast.cli.commands.vm import short_time
from holdfast.cli.options import ServerUrl, TokenFile
from holdfast.cli.remote.server import connected, pick
from holdfast.cli.screen import table

app = typer.Typer(help="Accounts of a service.", no_args_is_help=True)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Accounts of a service."""


@app.command("list")
def list_users(
    server: ServerUrl = None, token_file: TokenFile = None, json: options.Json = False
) -> None:
    """List the accounts."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        users = list(remote.server.every("/users"))
        rows = [
            [
                user["name"],
                user["display_name"],
                grants_text(user["grants"]),
                "disabled" if user["disabled"] else "",
                short_time(user["last_login_at"]) or "never",
            ]
            for user in users
        ]
        head = ["NAME", "DISPLAY NAME", "MAY", "", "LAST SIGN-IN"]
        remote.runtime.screen.result({"items": users, "total": len(users)}, table(head, rows))


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Sign-in name.", metavar="NAME")],
    role: Annotated[
        str, typer.Option("--role", help="viewer, operator, restore-operator or administrator.")
    ],
    group: Annotated[
        str | None, typer.Option("--group", help="Only for VMs of this group (its id).")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only for VMs with this tag.")] = None,
    display_name: Annotated[str, typer.Option("--display-name")] = "",
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: options.Json = False,
) -> None:
    """Add an account. Its first password is shown once."""
    body: dict[str, Any] = {
        "name": name,
        "display_name": display_name,
        "grants": [grant(role, group, tag)],
    }
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        made = remote.server.post("/users", body)
        text = f"{name} signs in with {made['password']} and then chooses a new password."
        remote.runtime.screen.result(made, text)


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Sign-in name or id.", metavar="NAME")],
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: options.Json = False,
) -> None:
    """Remove an account with its sessions and tokens."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = pick(remote.server.every("/users"), name, kind="user")
        remote.server.delete(f"/users/{found['id']}")
        remote.runtime.screen.result({"removed": found["id"]}, f"Removed {found['name']}.")


@app.command("reset-password")
def reset_password(
    name: Annotated[str, typer.Argument(help="Sign-in name.", metavar="NAME")],
    second_factor_too: Annotated[
        bool, typer.Option("--second-factor-too", help="Also remove the second factor.")
    ] = False,
    json: options.Json = False,
) -> None:
    """For who is locked out: a new password, shown once, and no limit in the way.

    On the service's own host only: it works on the database (HOLDFAST_STATE,
    HOLDFAST_DATABASE_URL), also while the service runs.
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
