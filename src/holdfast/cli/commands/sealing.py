"""`holdfast sealing`: the key that seals stored secrets."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import options, runtime

app = typer.Typer(help="The key that seals stored secrets.", no_args_is_help=True)


@app.command("rotate")
def rotate(json: options.Json = False) -> None:
    """Seal every stored secret again under a new key, and forget the old key.

    The service and its workers must be stopped. Killed half-way, the key file opens both old and
    new secrets; run it again.
    """
    from holdfast.catalog import sealing as sealed
    from holdfast.catalog.database import Database
    from holdfast.catalog.migrations import upgrade
    from holdfast.cli.service_lock import alone
    from holdfast.core.clock import SystemClock
    from holdfast.settings import read_service_settings

    with runtime.command(as_json=json) as running:
        settings, clock = read_service_settings(), SystemClock()
        with alone(settings.state_root):
            database = Database.open(settings.database_url)
            upgrade(database)
            with database.writing() as session:
                keys = sealed.Sealing.open_or_create(settings.sealing_key_file, session, clock)
            with database.writing() as session:
                count = sealed.rotate(session, keys, clock)
            keys.drop_old_keys()
            database.close()
        running.screen.result(
            {"secrets": count, "key_id": keys.key_id},
            f"{count} secrets are sealed with the new key {keys.key_id}. Copy {keys.path} to its "
            "safe place again.",
        )


@app.command("forget")
def forget(
    confirm: Annotated[
        str, typer.Option(help="Type `forget the secrets`.", metavar="WORDS", prompt=True)
    ],
    json: options.Json = False,
) -> None:
    """When the key file is lost: remove the secrets that nobody can read any more.

    Platforms and repositories stay and ask for their secrets again; second factors and
    notification targets have to be set up again.
    """
    from holdfast.catalog import sealing as sealed
    from holdfast.catalog.database import Database
    from holdfast.catalog.migrations import upgrade
    from holdfast.cli.service_lock import alone
    from holdfast.core.clock import SystemClock
    from holdfast.core.errors import InvalidInput
    from holdfast.settings import read_service_settings

    with runtime.command(as_json=json) as running:
        if confirm != "forget the secrets":
            raise InvalidInput(what="--confirm", problem="is not `forget the secrets`")
        settings = read_service_settings()
        with alone(settings.state_root):
            database = Database.open(settings.database_url)
            upgrade(database)
            with database.writing() as session:
                count = sealed.forget(session, SystemClock())
            database.close()
        running.screen.result({"forgotten": count}, f"{count} secrets were removed.")
