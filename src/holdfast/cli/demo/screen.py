"""What the demo shows: headed steps with their time, the commands run, check marks, a summary.

Knows no step and no VM. Text that came from elsewhere is printed as plain text, without markup and
without control characters. Enter at `Screen`.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdfast.cli.demo.errors import ComparisonFailed
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError
from holdfast.core.units import format_bytes, format_duration

_INDENT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row of the summary. A number that was not measured is None and shown as absent."""

    what: str
    duration_s: float
    disk_bytes: int | None = None
    read_bytes: int | None = None
    stored_bytes: int | None = None


class Screen:
    """Counts steps and comparisons; the only writer to the console."""

    def __init__(self, console: Console, clock: Clock, *, steps: int) -> None:
        self.console = console
        self._clock = clock
        self._steps = steps
        self._step = 0
        self._title = ""
        self.comparisons = 0

    @contextmanager
    def step(self, title: str) -> Generator[None, None, None]:
        self._step += 1
        self._title = title
        started_s = self._clock.monotonic_s()
        heading = Text.assemble((f"{self._step:>2} ", "bold cyan"), (title, "bold"))
        self.console.print()
        self.console.print(heading)
        yield
        elapsed = format_duration(self._clock.monotonic_s() - started_s)
        self._indented(Text(elapsed, style="dim"))

    def command(self, arguments: Sequence[str]) -> None:
        """The command about to run, as it can be typed."""
        line = Text.assemble(" " * _INDENT, ("$ ", "cyan"), (shlex.join(arguments), "bold"))
        # Not wrapped here: the terminal does it, and a copied line stays one line.
        self.console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        self._indented(Text(text))

    def output(self, line: str) -> None:
        """One line that a command printed."""
        shown = "".join(character for character in line if character.isprintable())
        self._indented(Text(f"│ {shown}", style="dim"))

    def passed(self, text: str) -> None:
        """A comparison that held."""
        self.comparisons += 1
        self._indented(Text.assemble(("✔ ", "bold green"), text))

    def compare(self, what: str, *, expected: object, found: object) -> None:
        """Show that both are equal. Raises `ComparisonFailed`."""
        if expected != found:
            raise ComparisonFailed(what=what, expected=_shorten(expected), found=_shorten(found))
        self.passed(what)

    def side_by_side(self, *versions: tuple[str, str]) -> None:
        """Titled texts next to each other."""
        grid = Table.grid(padding=(0, 1), expand=True)
        for _ in versions:
            grid.add_column(ratio=1)
        panels = [
            Panel(Text(text.rstrip()), title=Text(title), title_align="left", border_style="dim")
            for title, text in versions
        ]
        grid.add_row(*panels)
        self._indented(grid)

    def failed(self, error: HoldfastError, look_further: Sequence[str]) -> None:
        """The end of a demo that did not succeed: where, what, and how to go on."""
        body = Text.assemble((error.message, "bold"))
        if error.advice:
            body.append(f"\n{error.advice}")
        for line in look_further:
            body.append(f"\n  {line}", style="cyan")
        title = f"step {self._step} of {self._steps} failed: {self._title}"
        self.console.print()
        self.console.print(Panel(body, title=Text(title), title_align="left", border_style="red"))

    def summary(self, rows: Sequence[Measured], *, total_s: float) -> None:
        table = Table(title="Summary", title_justify="left", title_style="bold")
        table.add_column("")
        for heading in ("time", "disks", "read", "stored", "disks : stored"):
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(
                row.what,
                format_duration(row.duration_s),
                *(_size(size) for size in (row.disk_bytes, row.read_bytes, row.stored_bytes)),
                _ratio(row),
            )
        self.console.print()
        self.console.print(table)
        self.console.print(
            Text.assemble(
                ("✔ ", "bold green"),
                (f"all {self.comparisons} comparisons held", "bold"),
                f" in {format_duration(total_s)}",
            )
        )

    def _indented(self, renderable: Text | Table) -> None:
        self.console.print(Padding(renderable, (0, 0, 0, _INDENT)))


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else format_bytes(size_bytes)


def _ratio(row: Measured) -> str:
    if not row.disk_bytes or not row.stored_bytes:
        return ""
    return f"{row.disk_bytes / row.stored_bytes:.1f} : 1"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
