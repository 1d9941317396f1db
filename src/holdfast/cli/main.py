"""Entry point of `holdfast`: the commands, and errors turned into words and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import click
import typer

from holdfast import __version__
from holdfast.cli.commands import backup, compact, demo, export, files, maintenance, points, restore
from holdfast.cli.commands import copy as copy_commands
from holdfast.cli.commands import key as key_commands
from holdfast.cli.commands import prune as prune_commands
from holdfast.cli.commands import repository as repository_commands
from holdfast.cli.commands import rescue as rescue_commands
from holdfast.cli.commands import sealing as sealing_commands
from holdfast.cli.commands import serve as serve_commands
from holdfast.cli.commands import user as user_commands
from holdfast.cli.commands import verify as verify_commands
from holdfast.cli.commands import worker as worker_commands
from holdfast.cli.runtime import current_screen
from holdfast.cli.screen import Screen
from holdfast.core.errors import Category, HoldfastError, InvalidInput

EXIT_FAILED, EXIT_USAGE, EXIT_INTEGRITY, EXIT_INTERRUPTED = 1, 2, 3, 130
_EXIT_CODES = {
    Category.USAGE: EXIT_USAGE,
    Category.INTEGRITY: EXIT_INTEGRITY,
    Category.INTERRUPTED: EXIT_INTERRUPTED,
}

app = typer.Typer(
    name="holdfast",
    help="Backup and restore of virtual machines on KVM/libvirt, deduplicated and encrypted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(repository_commands.app, name="repository")
app.add_typer(key_commands.app, name="key")
app.add_typer(files.app, name="files")
app.add_typer(user_commands.app, name="user")
app.add_typer(sealing_commands.app, name="sealing")
app.command("backup")(backup.backup)
app.command("points")(points.points)
app.command("restore")(restore.restore)
app.command("export")(export.export)
app.command("delete")(maintenance.delete)
app.command("prune")(prune_commands.prune)
app.command("hold")(prune_commands.hold)
app.command("release")(prune_commands.release)
app.command("compact")(compact.compact)
app.command("check")(maintenance.check)
app.command("verify")(verify_commands.verify)
app.command("repair")(verify_commands.repair)
app.command("rescue")(rescue_commands.rescue)
app.command("worker")(worker_commands.worker)
app.command("copy")(copy_commands.copy)
app.command("serve")(serve_commands.serve)
app.command("demo")(demo.demo)


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
        sys.stderr.close()  # whoever read the output has left; nothing more to say
        return EXIT_FAILED
    return status if isinstance(status, int) else 0


def _show_usage(error: click.ClickException) -> None:
    """click's own words; the options were not understood, so --json is looked for by its name."""
    if "--json" in sys.argv[1:]:
        what = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        wrong = InvalidInput(what=what or "holdfast", problem=error.format_message())
        Screen(as_json=True).error(wrong)
    else:
        error.show()


if __name__ == "__main__":
    main()
