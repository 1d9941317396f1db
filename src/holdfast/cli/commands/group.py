"""`holdfast group`: VMs that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.commands.vm import find_vm
from holdfast.cli.options import Json, ServerUrl, TokenFile
from holdfast.cli.remote.server import connected, pick
from holdfast.cli.screen import table

if TYPE_CHECKING:
    from holdfast.cli.remote.server import Document, Server

app = typer.Typer(help="Groups of virtual machines.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name or id of the group.", metavar="GROUP")]
Members = Annotated[list[str] | None, typer.Option("--vm", help="A VM in it; repeat for more.")]


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Groups of virtual machines."""


@app.command("list")
def list_groups(server: ServerUrl = None, token_file: TokenFile = None, json: Json = False) -> None:
    """List the groups."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        page = remote.server.get("/machine-groups")
        rows = [
            [group["id"], group["name"], str(len(group["vm_ids"])), group["description"]]
            for group in page["items"]
        ]
        text = table(["ID", "NAME", "VMS", "DESCRIPTION"], rows, right=[2])
        remote.runtime.screen.result(page, text if rows else "No groups yet.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What to call it.", metavar="NAME")],
    vms: Members = None,
    description: Annotated[str, typer.Option("--description")] = "",
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Make a group."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        members = [find_vm(remote.server, vm)["id"] for vm in vms or []]
        body = {"name": name, "description": description, "vm_ids": members}
        made = remote.server.post("/machine-groups", body)
        remote.runtime.screen.result(made, f"Made {name} with {len(members)} VM(s).")


@app.command("set")
def set_members(
    group: Name,
    vms: Members = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Say which VMs are in a group; those not named leave it."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = _find(remote.server, group)
        members = [find_vm(remote.server, vm)["id"] for vm in vms or []]
        body = {"name": found["name"], "description": found["description"], "vm_ids": members}
        made = remote.server.put(f"/machine-groups/{found['id']}", body)
        remote.runtime.screen.result(made, f"{found['name']} has {len(members)} VM(s).")


@app.command("remove")
def remove(
    group: Name, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """Remove a group. Its VMs stay."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = _find(remote.server, group)
        remote.server.delete(f"/machine-groups/{found['id']}")
        remote.runtime.screen.result({"removed": found["id"]}, f"Removed {found['name']}.")


def _find(server: Server, name: str) -> Document:
    return pick(server.get("/machine-groups")["items"], name, kind="group")
