"""`holdfast key`: who may open a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import opening
from holdfast.cli.commands.repository import save_kit
from holdfast.cli.options import Json, PassphraseFile, RepositoryPath
from holdfast.cli.runtime import command
from holdfast.cli.screen import table
from holdfast.core.clock import SystemClock, format_time
from holdfast.core.errors import InvalidInput, TargetExists
from holdfast.repository.format.recovery_kit import new_recovery_key, render_kit

app = typer.Typer(help="Passphrases and recovery kits of a repository.", no_args_is_help=True)

NewPassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--new-passphrase-file",
        help="File with the new passphrase in its first line (default: a prompt).",
        metavar="FILE",
    ),
]
_OLD_COPIES = (
    "Whoever copied the repository before can still open that copy with what was removed here."
)


@app.command("list")
def list_slots(
    repository: RepositoryPath, passphrase_file: PassphraseFile = None, json: Json = False
) -> None:
    """List the key slots: each opens the repository by itself."""
    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        slots = opened.key_slots.all()
        document = {
            "slots": [
                {
                    "id": slot.id,
                    "kind": slot.kind or None,
                    "created_at": slot.created_at and format_time(slot.created_at),
                }
                for slot in slots
            ],
            "data_key_generation": opened.data_keys.newest().generation,
        }
        rows = [
            (
                slot.id,
                slot.kind or "cannot be read",
                f"{slot.created_at:%Y-%m-%d %H:%M:%S}" if slot.created_at else "",
            )
            for slot in slots
        ]
        runtime.screen.result(document, table(("SLOT", "KIND", "CREATED (UTC)"), rows))


@app.command("add")
def add(
    repository: RepositoryPath,
    new_passphrase_file: NewPassphraseFile = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Let a further passphrase open the repository."""
    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        slot = opened.key_slots.add(opening.new_passphrase(new_passphrase_file))
        runtime.screen.result({"added": slot}, f"Added key slot {slot}.")


@app.command("change")
def change(
    repository: RepositoryPath,
    new_passphrase_file: NewPassphraseFile = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Replace the passphrase. The new one works before the old one ends; no data is rewritten."""
    with command(as_json=json) as runtime:
        opened, old = opening.open_with_credential(repository, passphrase_file, runtime.settings)
        if old.kind != "passphrase":
            problem = "a recovery key is not changed: use `key add`, then `key remove`"
            raise InvalidInput(what="key change", problem=problem)
        new = opening.new_passphrase(new_passphrase_file)
        with opened.begin_maintenance():
            added, removed = opened.key_slots.change(old, new)
        text = f"The passphrase was changed (key slot {added}). {_OLD_COPIES}"
        runtime.screen.result({"added": added, "removed": removed}, text)


@app.command("rotate")
def rotate(
    repository: RepositoryPath, passphrase_file: PassphraseFile = None, json: Json = False
) -> None:
    """Seal new data under a new data key. No stored data is rewritten; all of it stays readable,
    with the passphrases and kits of today."""
    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        with opened.begin_maintenance():
            generation = opened.data_keys.rotate()
        text = (
            f"Runs that begin from now on seal under data key {generation}. Stored packs keep "
            "theirs; `holdfast compact --old-data-keys` rewrites them.\n"
            "This keeps nobody out who knows a passphrase, a recovery key or the master key: see "
            "`docs/runbooks/lost-passphrase.md`."
        )
        runtime.screen.result({"generation": generation}, text)


@app.command("remove")
def remove(
    repository: RepositoryPath,
    slot: Annotated[str, typer.Argument(help="Id of the slot, or a unique beginning of it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Remove a key slot: its passphrase or recovery kit no longer opens the repository."""
    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        going = opened.key_slots.find(slot)
        if not yes:
            runtime.confirm(f"Remove key slot {going} for good?")
        with opened.begin_maintenance():
            removed = opened.key_slots.remove(going)
        text = f"Removed key slot {removed}. {_OLD_COPIES}"
        runtime.screen.result({"removed": removed}, text)


@app.command("new-recovery-kit")
def new_recovery_kit(
    repository: RepositoryPath,
    recovery_kit: Annotated[
        Path | None,
        typer.Option(
            "--recovery-kit", help="Write it to this file instead of showing it.", metavar="FILE"
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Make a further recovery kit. Older ones stay valid until their slots are removed."""
    with command(as_json=json) as runtime:
        if recovery_kit is not None and recovery_kit.exists():
            raise TargetExists(path=str(recovery_kit))
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        key = new_recovery_key()
        slot = opened.key_slots.add(key)
        made_at = format_time(SystemClock().now())
        kit = render_kit(key, opened.config.repository_id, opened.location, made_at)
        if recovery_kit is not None:
            save_kit(recovery_kit, kit)
        document = {
            "added": slot,
            "recovery_kit": None if recovery_kit else kit,
            "recovery_kit_file": str(recovery_kit) if recovery_kit else None,
        }
        where = f"The recovery kit is in {recovery_kit}: move it away." if recovery_kit else kit
        text = (
            f"Added key slot {slot}.\n\n{where}\n\nOlder kits still open the repository; "
            "`holdfast key list` and `holdfast key remove` end them."
        )
        runtime.screen.result(document, text)
