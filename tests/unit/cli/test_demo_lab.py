"""The demo's folder and screen: nothing of others is touched, nothing false is shown."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from rich.console import Console

from holdfast.cli.demo.commands import HoldfastCommands
from holdfast.cli.demo.contents import order_table
from holdfast.cli.demo.errors import CommandFailed, ComparisonFailed, HostNotReady, NotTheDemos
from holdfast.cli.demo.lab import Lab
from holdfast.cli.demo.programs import run_program
from holdfast.cli.demo.screen import Measured, Screen
from holdfast.core.clock import SystemClock
from holdfast.core.errors import ToolFailed, ToolMissing


@pytest.fixture
def reachable() -> Generator[Path, None, None]:
    """A folder that QEMU's user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def new_screen() -> tuple[Screen, io.StringIO]:
    written = io.StringIO()
    return Screen(Console(file=written, width=100), SystemClock(), steps=1), written


def test_folder_with_other_things_is_refused_and_kept(reachable: Path) -> None:
    (reachable / "precious").write_text("mine")

    with pytest.raises(NotTheDemos):
        Lab.open(reachable)
    with pytest.raises(NotTheDemos):
        Lab(folder=reachable).remove()

    assert (reachable / "precious").read_text() == "mine"


def test_removal_keeps_an_empty_folder_that_no_demo_made(reachable: Path) -> None:
    with pytest.raises(NotTheDemos):
        Lab(folder=reachable).remove()

    assert reachable.is_dir()


def test_lab_folder_is_used_again(reachable: Path) -> None:
    first = Lab.open(reachable / "lab")
    first.repository.mkdir()

    assert Lab.open(reachable / "lab") == first


def test_folder_closed_to_qemu_is_refused_and_stays_closed(reachable: Path) -> None:
    closed = reachable / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(HostNotReady, match="closed"):
        Lab.open(closed / "lab")

    assert closed.stat().st_mode & 0o777 == 0o700


def test_comparison_that_does_not_hold_is_an_error_and_no_check_mark() -> None:
    screen, written = new_screen()

    with pytest.raises(ComparisonFailed) as caught, screen.step("a step"):
        screen.compare("the letter", expected=b"new", found=b"old")

    assert "expected b'new', found b'old'" in str(caught.value)
    assert "✔" not in written.getvalue()
    assert screen.comparisons == 0


def test_foreign_output_is_shown_without_control_characters_or_markup() -> None:
    screen, written = new_screen()

    screen.output("\x1b[31m[bold]name[/bold]\x07")

    assert "[31m[bold]name[/bold]" in written.getvalue()
    assert "\x1b" not in written.getvalue()
    assert "\x07" not in written.getvalue()


def test_summary_leaves_out_what_was_not_measured() -> None:
    screen, written = new_screen()
    screen.passed("one")

    screen.summary(
        [
            Measured(
                what="full", duration_s=2, disk_bytes=4096, read_bytes=2048, stored_bytes=1024
            ),
            Measured(what="started", duration_s=1),
        ],
        total_s=3,
    )

    full, started = (line for line in written.getvalue().splitlines() if line.startswith("│"))
    assert "4.0 : 1" in full
    assert "B" not in started
    assert "all 1 comparisons held" in written.getvalue()


def test_command_that_fails_is_named_as_it_can_be_typed(tmp_path: Path) -> None:
    screen, written = new_screen()
    commands = HoldfastCommands(
        screen=screen, passphrase_file=tmp_path / "passphrase", repository=tmp_path / "a folder"
    )

    with pytest.raises(CommandFailed) as caught:
        commands.run("no-such-command")

    assert caught.value.status != 0
    assert caught.value.command.startswith("holdfast no-such-command --repository '")
    assert f"$ {caught.value.command}" in written.getvalue()


def test_program_that_hangs_is_ended() -> None:
    with pytest.raises(ToolFailed, match="no end after"):
        run_program(["busybox", "sleep", "60"], timeout_s=0.1)


def test_missing_program_names_its_package() -> None:
    with pytest.raises(ToolMissing, match="apt-get install no-such-program"):
        run_program(["no-such-program"], timeout_s=1)


def test_order_table_is_the_same_each_time_and_grows_at_its_end() -> None:
    assert order_table(50) == order_table(50)
    assert order_table(60).startswith(order_table(50))
