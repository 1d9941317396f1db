"""`holdfast demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    lab_dir: Annotated[
        Path | None, typer.Option("--lab-dir", help="Folder of the lab.", metavar="FOLDER")
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where its service listens.")
    ] = "127.0.0.1:8470",
    no_service: Annotated[
        bool, typer.Option("--no-service", help="End without starting the service.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Stop the service, remove the lab and its VMs.")
    ] = False,
) -> None:
    """Back up a small real guest, change it, back it up again, and give it back.

    Ends with the service running on what was made; the address and the password are shown.
    """
    from rich.console import Console

    from holdfast.cli.demo.lab import default_lab_dir
    from holdfast.cli.demo.run import remove_lab, run_demo

    folder = lab_dir or default_lab_dir()
    console = Console(highlight=False)
    if remove:
        raise typer.Exit(remove_lab(lab_dir=folder, console=console))
    where = None if no_service else listen
    raise typer.Exit(run_demo(lab_dir=folder, console=console, listen=where))
