"""`holdfast repository`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import opening
from holdfast.cli.commands import immutability
from holdfast.cli.commands.immutability import (
    ImmutableMode,
    rule_document,
    rule_of,
)
from holdfast.cli.options import Json, PassphraseFile, ServerUrl, TokenFile
from holdfast.cli.runtime import command
from holdfast.cli.screen import table
from holdfast.core.errors import InvalidInput, TargetExists
from holdfast.core.units import KIB, format_bytes, parse_size
from holdfast.repository import LocalStore, Repository
from holdfast.repository.canary import described, test_immutability
from holdfast.repository.errors import ObjectExists
from holdfast.repository.format.immutability import MAX_DAYS, MODES
from holdfast.repository.repository import DEFAULT_CHUNK_BYTES

_HELP = "Create repositories; keep them from being deleted; list those of a service."

app = typer.Typer(help=_HELP, no_args_is_help=True)
app.command("immutable")(immutability.immutable)
app.command("lock")(immutability.lock)
app.command("info")(immutability.info)
app.command("unhide")(immutability.unhide_objects)


@app.command("create")
def create(
    location: Annotated[
        str,
        typer.Argument(
            help="Folder for the repository, or s3://bucket/prefix.", metavar="PATH_OR_URL"
        ),
    ],
    recovery_kit: Annotated[
        Path | None,
        typer.Option(
            "--recovery-kit",
            help="Write the recovery kit to this file instead of showing it.",
            metavar="FILE",
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    chunk_size: Annotated[
        str, typer.Option(help="Deduplication unit, a power of two; fixed for good.")
    ] = f"{DEFAULT_CHUNK_BYTES // KIB}KiB",
    immutable_days: Annotated[
        int,
        typer.Option(
            "--immutable-days",
            min=0,
            max=MAX_DAYS,
            help="Nobody can delete a point for so many days, with whatever credentials.",
            metavar="N",
        ),
    ] = 0,
    immutable_mode: ImmutableMode = MODES[0],
    json: Json = False,
) -> None:
    """Create a repository.

    The recovery kit opens the repository when the passphrase is lost; it is shown only now.
    """
    with command(as_json=json) as runtime:
        chunk_bytes = _chunk_bytes(chunk_size)
        rule = rule_of(immutable_days, immutable_mode) if immutable_days else None
        if recovery_kit is not None and recovery_kit.exists():
            raise TargetExists(path=str(recovery_kit))
        credential = opening.new_repository_credential(passphrase_file, runtime.settings)
        store = opening.new_store(location, runtime.settings)
        try:
            repository, kit = Repository.create(
                store,
                credential,
                chunk_bytes=chunk_bytes,
                immutability=rule,
                hand_over=partial(save_kit, recovery_kit) if recovery_kit else None,
            )
        except ObjectExists as error:
            raise TargetExists(path=store.location) from error
        if isinstance(store, LocalStore):
            store.keep_reserve()
        document: dict[str, Any] = {
            "repository_id": repository.id,
            "location": repository.location,
            "chunk_bytes": chunk_bytes,
            "recovery_kit": None if recovery_kit else kit,
            "recovery_kit_file": str(recovery_kit) if recovery_kit else None,
        }
        tested = ""
        if rule is not None:
            verdict = test_immutability(repository)
            document["immutability"] = rule_document(rule, verdict)
            tested = f"\n\n{described(rule, verdict)}"
        where = (
            f"The recovery kit is in {recovery_kit}: move it away from here."
            if recovery_kit
            else kit
        )
        text = (
            f"Created repository {repository.id} in {repository.location}.\n\n{where}\n\n"
            "A lost passphrase cannot be recovered or reset by anybody. Without it and without the "
            "recovery kit\nevery backup in this repository is lost: keep both, in different places."
            f"{tested}"
        )
        runtime.screen.result(document, text)


def _chunk_bytes(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise InvalidInput(what="--chunk-size", problem=f"{text!r} is not a size") from error
    if not 4 * KIB <= size <= 16 * 1024 * KIB or size & (size - 1):
        problem = f"{format_bytes(size)} is not a power of two between 4 KiB and 16 MiB"
        raise InvalidInput(what="--chunk-size", problem=problem)
    return size


def save_kit(path: Path, kit: str) -> None:
    """To a new file that only its owner may read."""
    folder = path.absolute().parent
    LocalStore(folder).prepare()
    with open(path, "x", opener=_private) as file:
        file.write(kit)
        file.flush()
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@app.command("list")
def list_repositories(
    server: ServerUrl = None, token_file: TokenFile = None, json: Json = False
) -> None:
    """List the repositories that a service knows."""
    from holdfast.cli.remote.server import connected

    with connected(as_json=json, server=server, token_file=token_file) as remote:
        found = remote.server.get("/repositories")
        rows = [
            [
                item["name"],
                item["location"],
                item["state"],
                _size(item["used_bytes"]),
                _size(item["available_bytes"]),
                str(item["backup_count"]),
            ]
            for item in found["repositories"]
        ]
        head = ["NAME", "LOCATION", "STATE", "USED", "FREE", "POINTS"]
        text = table(head, rows, right=[3, 4, 5]) if rows else "No repositories yet."
        remote.runtime.screen.result(found, text)


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else format_bytes(size_bytes)
