"""`holdfast points`."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer

from holdfast.cli import opening
from holdfast.cli.options import Json, PassphraseFile, RepositoryPath
from holdfast.cli.runtime import command
from holdfast.core.errors import HoldfastError


def points(
    repository: RepositoryPath,
    name: Annotated[str | None, typer.Option("--name", help="Only this VM.", metavar="VM")] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """List restore points, oldest first."""
    with command(as_json=json) as runtime, _no_collection():
        opened = opening.open_repository(
            repository, passphrase_file, runtime.settings, for_list=True
        )
        from holdfast.cli.documents import PointList, points_table  # msgspec is here by now

        damaged: list[HoldfastError] = []
        everything = opened.listed_points(damaged.append)
        found = [point for point in everything if name in (None, point.vm.name)]
        for error in damaged:
            runtime.screen.message(f"holdfast: not listed: {error.message}")
        document = PointList(
            repository_id=opened.id,
            points=found,
            total=len(found),
            damaged=[error.message for error in damaged],
        )
        whose = f" of {name}" if name else ""
        empty = f"No restore points{whose} in {opened.location} yet."
        if damaged:
            empty = f"No restore points{whose} in {opened.location} can be listed."
        text = "" if json else points_table(found)  # a second for ten thousand points
        runtime.screen.result(document, text if found else empty)


@contextmanager
def _no_collection() -> Generator[None]:
    """A list of ten thousand points is half a million objects without a cycle: to look for one in
    them takes a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # else it is looked through now
        gc.enable()
