"""`holdfast platform`: the hypervisors that a service knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.options import Json, ServerUrl, TokenFile
from holdfast.cli.remote.server import connected, pick
from holdfast.cli.screen import table
from holdfast.core.errors import InvalidInput
from holdfast.core.units import format_bytes

if TYPE_CHECKING:
    from holdfast.cli.remote.server import Document, Server

app = typer.Typer(help="Hypervisors that a service knows.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name or id of the platform.", metavar="PLATFORM")]


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Hypervisors that a service knows."""


@app.command("list")
def list_platforms(
    server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """List the platforms."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        page = remote.server.get("/platforms")
        rows = [
            [item["name"], item["kind"], item["uri"], item["state"], str(item["vm_count"])]
            for item in page["items"]
        ]
        text = table(["NAME", "KIND", "ADDRESS", "STATE", "VMS"], rows, right=[4])
        remote.runtime.screen.result(page, text if rows else "No platforms yet.")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call it.", metavar="NAME")],
    images: Annotated[
        str | None,
        typer.Option("--images", metavar="FOLDER", help="Disk images on the service's host."),
    ] = None,
    libvirt: Annotated[bool, typer.Option("--libvirt", help="A libvirt host.")] = False,
    host: Annotated[
        str, typer.Option("--host", help="Of libvirt (default: the service's own host).")
    ] = "",
    transport: Annotated[
        str, typer.Option("--transport", help="To another host: ssh or tls.")
    ] = "ssh",
    user: Annotated[str, typer.Option("--user", help="On that host, for ssh.")] = "",
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535)] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", metavar="FILE", help="Private key for ssh."),
    ] = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Add a platform: a libvirt host, or a folder of disk images."""
    if libvirt == (images is not None):
        raise InvalidInput(what="platform", problem="say one of --libvirt and --images FOLDER")
    body: dict[str, Any] = {"name": name, "kind": "libvirt" if libvirt else "images"}
    if libvirt:
        body["address"] = {
            "transport": transport if host else "local",
            "host": host,
            "user": user,
            "port": port,
        }
    else:
        body["path"] = images
    if secret_file is not None:
        body["secret"] = _secret(secret_file)
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        made = remote.server.post("/platforms", body)
        text = f"Added {made['name']}. `holdfast platform discover {name}` lists its VMs."
        remote.runtime.screen.result(made, text)


@app.command("test")
def test(
    name: Name, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """Try the connection. Exits 1 when it does not work."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = find_platform(remote.server, name)
        answer = remote.server.post(f"/platforms/{found['id']}/test")
        text = " ".join(filter(None, [str(answer["message"]), str(answer["hint"])]))
        remote.runtime.screen.result(answer, text)
        if not answer["ok"]:
            raise typer.Exit(1)


@app.command("discover")
def discover(
    name: Name, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """List the VMs that it has now."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = find_platform(remote.server, name)
        seen = remote.server.post(f"/platforms/{found['id']}/discover")
        rows = [
            [
                vm["name"],
                vm["power"].replace("_", " "),
                str(len(vm["disks"])),
                format_bytes(vm["size_bytes"]),
                "yes" if vm["vm_id"] else "",
            ]
            for vm in seen["vms"]
        ]
        text = table(["NAME", "POWER", "DISKS", "SIZE", "ADDED"], rows, right=[2, 3])
        remote.runtime.screen.result(seen, text if rows else f"No VMs on {found['name']}.")


@app.command("remove")
def remove(
    name: Name, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """Forget a platform. Its VMs stay listed, and their restore points stay where they are."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = find_platform(remote.server, name)
        remote.server.delete(f"/platforms/{found['id']}")
        remote.runtime.screen.result({"removed": found["id"]}, f"Removed {found['name']}.")


def find_platform(server: Server, name: str) -> Document:
    """Raises InvalidInput."""
    return pick(server.get("/platforms")["items"], name, kind="platform")


def _secret(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(what=f"secret file {path}", problem="cannot be read") from error
