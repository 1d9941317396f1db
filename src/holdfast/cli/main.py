"""Entry point of `holdfast`: the commands, and errors turned into words and exit codes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from typing import Annotated, ClassVar

import click
import typer

from holdfast import __version__
from holdfast.cli.lazy import LazyGroup
from holdfast.cli.runtime import current_screen
from holdfast.cli.screen import Screen, discard_output
from holdfast.core.errors import Category, HoldfastError, InvalidInput

EXIT_FAILED, EXIT_USAGE, EXIT_INTEGRITY, EXIT_INTERRUPTED = 1, 2, 3, 130
_EXIT_CODES = {
    Category.USAGE: EXIT_USAGE,
    Category.INTEGRITY: EXIT_INTEGRITY,
    Category.INTERRUPTED: EXIT_INTERRUPTED,
}

_AT = "holdfast.cli.commands"


class Commands(LazyGroup):
    """In the order of the help."""

    commands_by_name: ClassVar[Mapping[str, str]] = {
        "repository": f"{_AT}.repository:app",
        "key": f"{_AT}.key:app",
        "backup": f"{_AT}.backup:backup",
        "points": f"{_AT}.points:points",
        "files": f"{_AT}.files:app",
        "restore": f"{_AT}.restore:restore",
        "export": f"{_AT}.export:export",
        "delete": f"{_AT}.maintenance:delete",
        "prune": f"{_AT}.prune:prune",
        "hold": f"{_AT}.prune:hold",
        "release": f"{_AT}.prune:release",
        "compact": f"{_AT}.compact:compact",
        "check": f"{_AT}.maintenance:check",
        "verify": f"{_AT}.verify:verify",
        "repair": f"{_AT}.verify:repair",
        "rescue": f"{_AT}.rescue:rescue",
        "copy": f"{_AT}.copy:copy",
        "serve": f"{_AT}.serve:serve",
        "worker": f"{_AT}.worker:worker",
        "login": f"{_AT}.login:login",
        "logout": f"{_AT}.login:logout",
        "platform": f"{_AT}.platform:app",
        "vm": f"{_AT}.vm:app",
        "group": f"{_AT}.group:app",
        "job": f"{_AT}.job:app",
        "token": f"{_AT}.token:app",
        "user": f"{_AT}.user:app",
        "api": f"{_AT}.api:api",
        "catalogue": f"{_AT}.catalogue:app",
        "sealing": f"{_AT}.sealing:app",
        "demo": f"{_AT}.demo:demo",
    }


app = typer.Typer(
    name="holdfast",
    cls=Commands,
    help="Backup and restore of virtual machines on KVM/libvirt, deduplicated and encrypted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"holdfast {__version__}")
        raise typer.Exit


@app.callback()
def _root(  # pyright: ignore[reportUnusedFunction]
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run one command. Exit status: 0 done, 1 failed, 2 wrong usage, 3 damaged data,
    130 interrupted."""
    # A list of ten thousand points is half a million objects without a cycle: a third of its time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    sys.exit(_run())


def _run() -> int:
    try:
        status = app(standalone_mode=False)
    except click.exceptions.Abort:
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        _show_usage(error)
        return error.exit_code
    except HoldfastError as error:
        current_screen().error(error)
        return _EXIT_CODES.get(error.category, EXIT_FAILED)
    except KeyboardInterrupt:
        current_screen().message("holdfast: interrupted at once; the next run cleans up.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        discard_output()  # whoever read it has left; nothing more to say
        return EXIT_FAILED
    return status if isinstance(status, int) else 0


def _show_usage(error: click.ClickException) -> None:
    """click's own words; the options were not understood, so --json is looked for by its name."""
    if isinstance(error, click.MissingParameter) and isinstance(error.param, click.Option):
        # typer would have every option named with its variable, also where there is none.
        error.param.show_envvar = error.param.envvar is not None
    if "--json" in sys.argv[1:]:
        what = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        wrong = InvalidInput(what=what or "holdfast", problem=error.format_message())
        Screen(as_json=True).error(wrong)
    else:
        error.show()


if __name__ == "__main__":
    main()
