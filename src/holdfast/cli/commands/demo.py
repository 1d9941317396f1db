"""`holdfast demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    lab_dir: Annotated[
        Path | None, typer.Option("--lab-dir", help="Folder of the lab.", metavar="FOLDER")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the lab and its VMs.")] = False,
) -> None:
    """Back up a small real guest, change it, back it up again, and give it back."""
    from rich.console import Console

    from holdfast.cli.demo.lab import default_lab_dir
    from holdfast.cli.demo.run import remove_lab, run_demo

    folder = lab_dir or default_lab_dir()
    act = remove_lab if remove else run_demo
    raise typer.Exit(act(lab_dir=folder, console=Console(highlight=False)))
