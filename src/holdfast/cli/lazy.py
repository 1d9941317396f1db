"""Commands that are imported when they are run: a restore does not wait for the import of the web
server, nor a listing for that of libvirt. Knows nothing of what the commands do."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import click
import typer
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """A group whose `commands_by_name` says where each command is: `module:attribute`, either a
    function or a `typer.Typer` of sub-commands."""

    commands_by_name: ClassVar[Mapping[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        where = self.commands_by_name.get(cmd_name)
        if where is None:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name, where)
        return self.commands[cmd_name]


def _load(name: str, where: str) -> click.Command:
    module, _, attribute = where.partition(":")
    found: Any = getattr(import_module(module), attribute)
    command: click.Command
    if isinstance(found, typer.Typer):
        command = typer.main.get_group(found)
    else:
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        command = typer.main.get_command(alone)
    command.name = name
    return command
