"""`holdfast job`: runs of a service: backups, restores, maintenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.commands.vm import find_vm, short_time
from holdfast.cli.options import Json, ServerUrl, TokenFile
from holdfast.cli.remote.runs import follow
from holdfast.cli.remote.server import Remote, connected, pick
from holdfast.cli.screen import table
from holdfast.core.errors import InvalidInput
from holdfast.core.units import format_bytes

if TYPE_CHECKING:
    from holdfast.cli.remote.server import Document, Server

app = typer.Typer(help="Backups, restores and maintenance of a service.", no_args_is_help=True)
RunId = Annotated[str, typer.Argument(help="Id of the run, or its unique beginning.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Stay until it has ended; exit 1 if it failed.")
]
Where = Annotated[str, typer.Argument(help="Name or id of the repository.", metavar="REPOSITORY")]
_SHOWN = 50


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Backups, restores and maintenance of a service."""


@app.command("list")
def list_runs(
    state: Annotated[
        str | None,
        typer.Option("--state", help="Only: pending, running, completed, failed or cancelled."),
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only such: backup, check ...")] = None,
    vm: Annotated[str | None, typer.Option("--vm", help="Only of this VM.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = _SHOWN,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """List runs, the latest first."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        vm_id = str(find_vm(remote.server, vm)["id"]) if vm else None
        page = remote.server.get("/runs", state=state, kind=kind, vm_id=vm_id, limit=limit)
        rows = [
            [
                run["id"],
                run["kind"].replace("_", " "),
                run["vm_name"],
                run["state"],
                f"{run['progress_percent']:.0f} %",
                short_time(run["created_at"]),
                run["error_message"] or "",
            ]
            for run in page["items"]
        ]
        head = ["RUN", "KIND", "VM", "STATE", "DONE", "CREATED", ""]
        text = table(head, rows, right=[4]) if rows else "No runs."
        remote.runtime.screen.result(page, text)


@app.command("show")
def show(
    run: RunId, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """One run: plan, progress, what went wrong and what to do."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = remote.server.get(f"/runs/{_find(remote.server, run)}")
        remote.runtime.screen.result(found, _described(found))


@app.command("watch")
def watch(
    run: RunId, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """Stay with a run until it has ended. Ctrl-C leaves it running."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        ended = follow(remote, _find(remote.server, run))
        remote.runtime.screen.result(ended, _described(ended))


@app.command("backup")
def backup(
    vm: Annotated[str, typer.Argument(help="Name or id of the VM.")],
    repository: Annotated[
        str | None,
        typer.Option("--repository", "-r", help="Name or id (default: that of its last backup)."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read everything again.")] = False,
    wait: Wait = True,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Back up a VM now."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = remote.server.get(f"/vms/{find_vm(remote.server, vm)['id']}")
        if repository is None and not found["default_repository_id"]:
            raise InvalidInput(what="--repository", problem="say where to; it was not said before")
        where = (
            found["default_repository_id"]
            if repository is None
            else find_repository(remote.server, repository)["id"]
        )
        body = {
            "vm_id": found["id"],
            "repository_id": where,
            "backup_type": "full" if full else "incremental",
        }
        job = remote.server.post("/backup/start", body)
        _carry_on(remote, str(job["id"]), wait=wait)


def _maintenance(what: str, words: str) -> None:
    """A command that has a repository maintained; what differs is the route."""

    def maintain(
        repository: Where,
        wait: Wait = True,
        server: ServerUrl = None,
        token_file: TokenFile = None,
        json: Json = False,
    ) -> None:
        with connected(as_json=json, server=server, token_file=token_file) as remote:
            where = find_repository(remote.server, repository)
            answer = remote.server.post(f"/repositories/{where['id']}/{what}")
            _carry_on(remote, str(answer["run_id"]), wait=wait)

    app.command(what, help=words)(maintain)


_maintenance("check", "Check that every restore point of a repository is complete.")
_maintenance("verify", "Read every byte of a repository again and prove it.")
_maintenance("compact", "Give back the space of deleted points of a repository.")
_maintenance("repair", "Save what damage has left of a repository.")
_maintenance("lock", "Renew the locks of an immutable repository; a service does so every day.")


@app.command("cancel")
def cancel(
    run: RunId, server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """Stop a run. What it had not finished is gone without a trace."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        answer = remote.server.post(f"/runs/{_find(remote.server, run)}/cancel")
        remote.runtime.screen.result(answer, f"Asked {answer['run_id']} to stop.")


@app.command("retry")
def retry(
    run: RunId,
    wait: Wait = True,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Do a run that failed or was cancelled again."""
    with connected(as_json=json, server=server, token_file=token_file) as remote:
        answer = remote.server.post(f"/runs/{_find(remote.server, run)}/retry")
        _carry_on(remote, str(answer["run_id"]), wait=wait)


def find_repository(server: Server, name: str) -> Document:
    """Raises InvalidInput."""
    return pick(server.get("/repositories")["repositories"], name, kind="repository")


def _carry_on(remote: Remote, run_id: str, *, wait: bool) -> None:
    """To the end of a run that was just asked for, or only its id."""
    if wait:
        remote.runtime.screen.message(f"Run {run_id}. Ctrl-C leaves it running.")
        run = follow(remote, run_id)
    else:
        run = remote.server.get(f"/runs/{run_id}")
    remote.runtime.screen.result(run, _described(run))


def _find(server: Server, text: str) -> str:
    """The whole id of a run. Raises InvalidInput when several begin so."""
    latest = server.get("/runs", limit=500)["items"]
    found = [str(run["id"]) for run in latest if run["id"].startswith(text)]
    if len(found) > 1 and text not in found:
        raise InvalidInput(what=text, problem="several runs begin so")
    return found[0] if len(found) == 1 else text


def _described(run: Document) -> str:
    what = f"{run['kind'].replace('_', ' ')} of {run['vm_name']}" if run["vm_name"] else run["kind"]
    lines = [f"{run['id']}: {what}, {run['state']}"]
    if run["state"] in {"pending", "running"}:
        lines.append(
            f"{run['phase']} {run['progress_percent']:.0f} %. {run['queue_reason']}".strip()
        )
    lines += [
        f"{disk['key']}: {disk['mode']}, {format_bytes(disk['planned_bytes'])} of "
        f"{format_bytes(disk['size_bytes'])}: {disk['reason']}"
        for disk in run["plan"]
    ]
    if run["bytes_read"] or run["bytes_stored"]:
        read, stored = format_bytes(run["bytes_read"]), format_bytes(run["bytes_stored"])
        lines.append(f"{read} read, {stored} stored")
    if run["error_message"]:
        lines += [str(run["error_message"]), str(run["error_hint"] or "")]
    return "\n".join(filter(None, lines))
