"""`holdfast login`, `holdfast logout`."""

from __future__ import annotations

import getpass
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.options import Json
from holdfast.cli.runtime import command
from holdfast.core.errors import InvalidInput
from holdfast.settings import read_passphrase, read_server_settings

if TYPE_CHECKING:
    from holdfast.cli.remote.server import Document, Server

_DEFAULT_SERVER = "http://127.0.0.1:8470"


def login(
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help=f"The service (default: HOLDFAST_SERVER, or {_DEFAULT_SERVER}).",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="USER", help="Sign-in name (default: asked).")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="File with the password (or asked)."),
    ] = None,
    new_password_file: Annotated[
        Path | None,
        typer.Option(
            "--new-password-file",
            metavar="FILE",
            help="File with the next password, for when this one must be changed (or asked).",
        ),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=1, max=3650, help="How long the login lasts.")
    ] = 90,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", metavar="FILE", help="Certificates to trust (HOLDFAST_CA_FILE)."),
    ] = None,
    json: Json = False,
) -> None:
    """Sign in to a service, so that the commands after this one may ask it.

    Makes a token with what you may do, and keeps it in ~/.config/holdfast/login.json, which only
    you may read. `holdfast logout` ends it.
    """
    from holdfast.cli.remote.login_file import Login, write_login
    from holdfast.cli.remote.server import Server

    with command(as_json=json) as runtime:
        settings = read_server_settings()
        authorities = str(ca_file or settings.ca_file)
        with Server(server or settings.server or _DEFAULT_SERVER, ca_file=authorities) as asked:
            user = name or _ask("Name: ", "name", "--name", secret=False)
            password = (
                read_passphrase(password_file)
                if password_file
                else _ask("Password: ", "password", "--password-file", secret=True)
            )
            session = _sign_in(asked, user, password, new_password_file)
            made = asked.post(
                "/tokens",
                {
                    "name": f"holdfast login on {platform.node()}"[:100],
                    "expires_in_days": days,
                    "grants": session["user"]["grants"],
                },
            )
            asked.post_nothing("/auth/logout")
        write_login(
            settings.login_file,
            Login(
                server=asked.url,
                token=str(made["token"]),
                token_id=str(made["id"]),
                ca_file=authorities,
            ),
        )
        document: dict[str, Any] = {
            "server": asked.url,
            "user": session["user"]["name"],
            "expires_at": made["expires_at"],
            "login_file": str(settings.login_file),
        }
        runtime.screen.result(
            document, f"Logged in to {asked.url} as {document['user']} for {days} days."
        )


def logout(json: Json = False) -> None:
    """End the login of this account on this machine: its token is revoked and removed."""
    from holdfast.cli.remote.errors import NotLoggedIn, ServerRefused
    from holdfast.cli.remote.login_file import read_login, remove_login
    from holdfast.cli.remote.server import Server

    with command(as_json=json) as runtime:
        path = read_server_settings().login_file
        saved = read_login(path)
        if saved is None:
            raise NotLoggedIn
        with (
            Server(saved.server, token=saved.token, ca_file=saved.ca_file) as asked,
            suppress(ServerRefused),  # it has ended already
        ):
            asked.delete(f"/tokens/{saved.token_id}")
        remove_login(path)
        runtime.screen.result({"server": saved.server}, f"Logged out of {saved.server}.")


def _sign_in(server: Server, name: str, password: str, new_password_file: Path | None) -> Document:
    """The session, complete. Raises ServerRefused for wrong answers."""
    session = server.post("/auth/login", {"name": name, "password": password})
    if session["state"] == "second_factor_required":
        code = _ask("Code of the second factor: ", "second factor", "a terminal", secret=False)
        session = server.post("/auth/second-factor", {"code": code.replace(" ", "")})
    if session["state"] == "password_change_required":
        new = _new_password(new_password_file)
        server.post_nothing("/auth/password", {"current_password": password, "new_password": new})
        return _sign_in(server, name, new, None)
    return session


def _new_password(file: Path | None) -> str:
    if file is not None:
        return read_passphrase(file)
    other = "--new-password-file"
    new = _ask("This password must be changed. New one: ", "new password", other, secret=True)
    if new != _ask("The same again: ", "new password", other, secret=True):
        raise InvalidInput(what="new password", problem="the two are not the same")
    return new


def _ask(prompt: str, what: str, otherwise: str, *, secret: bool) -> str:
    if not sys.stdin.isatty():
        raise InvalidInput(what=what, problem=f"none given, and nobody to ask: use {otherwise}")
    answer = getpass.getpass(prompt) if secret else input(prompt)
    if not answer:
        raise InvalidInput(what=what, problem="it must not be empty")
    return answer
