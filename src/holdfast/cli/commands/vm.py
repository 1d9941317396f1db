"""`holdfast vm`: the virtual machines that a service protects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.commands.platform import find_platform
from holdfast.cli.options import Json, ServerUrl, TokenFile
from holdfast.cli.remote.server import connected, pick
from holdfast.cli.screen import table
from holdfast.core.errors import InvalidInput
from holdfast.core.units import format_bytes

if TYPE_CHECKING:
    from holdfast.cli.remote.server import Document, Server

app = typer.Typer(help="Virtual machines of a service.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name or id of the VM.", metavar="VM")]


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Virtual machines of a service."""


@app.command("list")
def list_vms(
    text: Annotated[str | None, typer.Option("--text", help="Only names with this.")] = None,
    protection: Annotated[
        str | None,
        typer.Option("--protection", help="Only: protected, stale, unprotected or failing."),
    ] = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """List the VMs, with how well each is protected."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        vms = list(remote.server.every("/vms", q=text, protection=protection))
        rows = [
            [
                vm["name"],
                vm["platform_name"],
                vm["power"].replace("_", " "),
                format_bytes(vm["size_bytes"]),
                vm["protection"],
                str(vm["point_count"]),
                short_time(vm["last_backup_at"]),
            ]
            for vm in vms
        ]
        head = ["NAME", "PLATFORM", "POWER", "SIZE", "PROTECTION", "POINTS", "LAST BACKUP"]
        found = table(head, rows, right=[3, 5])
        document = {"items": vms, "total": len(vms)}
        remote.runtime.screen.result(document, found if rows else "No VMs.")


@app.command("show")
def show(
    name: Name, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """One VM with its disks and restore points."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        vm = remote.server.get(f"/vms/{find_vm(remote.server, name)['id']}")
        timeline = remote.server.get(f"/vms/{vm['id']}/timeline")
        power = vm["power"].replace("_", " ")
        lines = [
            f"{vm['name']} on {vm['platform_name']}: {power}, {vm['protection']}",
            "",
            table(
                ["DISK", "SIZE", "FORMAT", ""],
                [
                    [
                        disk["key"],
                        format_bytes(disk["size_bytes"]),
                        disk["format"],
                        disk["excluded_reason"],
                    ]
                    for disk in vm["disks"]
                ],
                right=[1],
            ),
            "",
            table(
                ["POINT", "TIME", "CAPTURED AS", "STORED", "REPOSITORY"],
                [
                    [
                        point["backup_id"],
                        short_time(point["captured_at"]),
                        point["captured_as"],
                        format_bytes(point["stored_bytes"]),
                        point["repository_name"],
                    ]
                    for point in timeline["points"]
                ],
                right=[3],
            )
            if timeline["points"]
            else "No restore points yet.",
        ]
        document: dict[str, Any] = {**vm, "timeline": timeline}
        remote.runtime.screen.result(document, "\n".join(lines))


@app.command("add")
def add(
    platform: Annotated[str, typer.Argument(help="Name or id of the platform.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of its VMs.", metavar="[VM]...")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="To give them.")] = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Have the service look after VMs of a platform."""
    if everything == bool(names):
        raise InvalidInput(what="vm add", problem="name the VMs, or say --all")
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        where = find_platform(remote.server, platform)
        seen: list[Document] = remote.server.post(f"/platforms/{where['id']}/discover")["vms"]
        known = [{**vm, "id": vm["platform_vm_id"]} for vm in seen]
        chosen = known if everything else [pick(known, name, kind="VM") for name in names or []]
        if not chosen:
            raise InvalidInput(what=str(where["name"]), problem="has no VMs")
        added = remote.server.post(
            f"/platforms/{where['id']}/vms",
            {"platform_vm_ids": [vm["id"] for vm in chosen], "tags": tags or []},
        )
        text = f"Added {added['added']}, known before {added['already_known']}."
        for vm in added["vms"]:
            if vm["problem"]:
                remote.runtime.screen.message(f"{vm['name']}: {vm['problem']}")
        remote.runtime.screen.result(added, text)
        if added["failed"]:
            raise typer.Exit(1)


@app.command("remove")
def remove(
    name: Name, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """No longer look after a VM. Its restore points stay."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        vm = find_vm(remote.server, name)
        remote.server.delete(f"/vms/{vm['id']}")
        remote.runtime.screen.result({"removed": vm["id"]}, f"Removed {vm['name']}.")


def find_vm(server: Server, name: str) -> Document:
    """Raises InvalidInput."""
    by_text = [vm for vm in server.every("/vms", q=name) if name in (vm["name"], vm["id"])]
    return pick(by_text or server.every("/vms"), name, kind="VM")


def short_time(text: str | None) -> str:
    """`2026-01-31 12:00 UTC` of an RFC 3339 time in UTC."""
    return f"{text[:10]} {text[11:16]} UTC" if text else ""
