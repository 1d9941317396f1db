"""`holdfast api`: any call of a service's API, for what has no command of its own."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.options import Json, ServerUrl, TokenFile
from holdfast.cli.remote.server import connected
from holdfast.core.errors import InvalidInput

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def api(
    method: Annotated[str, typer.Argument(help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(help="Such as /vms or /backup/list?status=failed.")],
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="File with the JSON to send; - for stdin."),
    ] = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Call the API of a service and print what it answers.

    What can be called is at /api/docs of the service. A body comes from a file, because arguments
    can be read by everybody on this machine.
    """
    with connected(as_json=True, server=server, token_file=token_file) as remote:
        verb = method.upper()
        if verb not in _METHODS:
            raise InvalidInput(what=method, problem=f"is none of {', '.join(_METHODS)}")
        if not path.startswith("/"):
            raise InvalidInput(what=path, problem="begin with a slash, as in /vms")
        del json  # it prints nothing else anyway
        body = None if data is None else _read(data)
        answer = remote.server.ask(verb, path.removeprefix("/api/v1"), body=body)
        text = answer.text.rstrip("\n")
        if text:
            print(text)


def _read(source: str) -> object:
    what = "standard input" if source == "-" else source
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text()
        return json_module.loads(text)
    except OSError as error:
        raise InvalidInput(what=what, problem=f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(what=what, problem="is not JSON") from error
