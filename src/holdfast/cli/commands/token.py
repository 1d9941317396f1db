"""`holdfast token`: tokens for programs that ask a service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.cli.commands.vm import short_time
from holdfast.cli.options import Json, ServerUrl, TokenFile
from holdfast.cli.remote.server import connected
from holdfast.cli.screen import table
from holdfast.core.errors import InvalidInput

app = typer.Typer(help="Tokens for programs that ask a service.", no_args_is_help=True)


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Tokens for programs that ask a service."""


@app.command("list")
def list_tokens(
    everybody: Annotated[bool, typer.Option("--everybody", help="Not only your own.")] = False,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """List tokens; never what they are."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        tokens = list(remote.server.every("/tokens", everybody=everybody))
        rows = [
            [
                token["id"],
                token["name"],
                token["user_name"],
                grants_text(token["grants"]),
                "revoked" if token["revoked_at"] else short_time(token["expires_at"]) or "never",
                short_time(token["last_used_at"]) or "never",
            ]
            for token in tokens
        ]
        head = ["ID", "NAME", "USER", "MAY", "EXPIRES", "LAST USED"]
        document = {"items": tokens, "total": len(tokens)}
        remote.runtime.screen.result(document, table(head, rows) if rows else "No tokens.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for.", metavar="NAME")],
    role: Annotated[
        str,
        typer.Option("--role", help="viewer, operator, restore-operator or administrator."),
    ],
    group: Annotated[
        str | None, typer.Option("--group", help="Only for VMs of this group (its id).")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only for VMs with this tag.")] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How long it works.")] = 365,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Make a token. It is shown once."""
    body = {"name": name, "expires_in_days": days, "grants": [grant(role, group, tag)]}
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        made = remote.server.post("/tokens", body)
        remote.runtime.screen.message("This is shown once; keep it in a file only you may read:")
        remote.runtime.screen.result(made, str(made["token"]))


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(help="Id of the token.", metavar="ID")],
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """End a token at once."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        remote.server.delete(f"/tokens/{token}")
        remote.runtime.screen.result({"revoked": token}, f"Revoked {token}.")


def grant(role: str, group: str | None, tag: str | None) -> dict[str, Any]:
    """One grant of a user or token, everywhere or for a group or tag. Raises InvalidInput."""
    if group and tag:
        raise InvalidInput(what="--group and --tag", problem="say one of them")
    scope = "group" if group else "tag" if tag else "all"
    return {"role": role, "scope_kind": scope, "scope_value": group or tag or ""}


def grants_text(grants: list[dict[str, Any]]) -> str:
    return ", ".join(
        item["role"]
        if item["scope_kind"] == "all"
        else f"{item['role']} of {item['scope_kind']} {item['scope_value']}"
        for item in grants
    )
