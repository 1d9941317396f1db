"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
RepositoryPath = Annotated[
    str,
    typer.Option(
        "--repository",
        "-r",
        help="Folder of the repository, or s3://bucket/prefix.",
        metavar="PATH_OR_URL",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the passphrase or recovery key in its first line "
        "(default: HOLDFAST_PASSPHRASE_FILE, or a prompt).",
        metavar="FILE",
    ),
]
Point = Annotated[
    str,
    typer.Argument(help="Restore point: its id, a unique beginning of it, or `latest`."),
]
DiskKey = Annotated[
    str, typer.Option("--disk", help="Key of the disk, as `holdfast points` lists it.")
]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="URL", help="The service (default: HOLDFAST_SERVER, or the login's)."
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File with an API token in its first line (default: HOLDFAST_TOKEN_FILE, or the "
        "login's).",
    ),
]
