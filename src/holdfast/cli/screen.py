"""What a command prints: one JSON document or text on standard output; messages, progress and
errors on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from holdfast.core.errors import HoldfastError
from holdfast.core.units import format_bytes, format_rate

if TYPE_CHECKING:
    from msgspec import Struct
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from holdfast.core.progress import Progress

_REFRESH_S = 0.1


@dataclass(kw_only=True, eq=False)
class OutputFailed(HoldfastError):
    code = "output_failed"
    template = "what there is to print could not be written: {problem}"
    hint = (
        "The command had come to its result; only the output is lost. Look at what is there before"
        " you run it again"
    )
    problem: str


def discard_output() -> None:
    """Nobody gets what is left of standard output; the interpreter would try again at its end."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def printing() -> Generator[None]:
    """What is printed in here has reached the reader. Raises OutputFailed, BrokenPipeError."""
    try:
        yield
        if sys.stdout is not None:  # closed by whoever started it
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise OutputFailed(problem=error.strerror or str(error)) from error


class Screen:
    """One command's output."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._has_document = False

    def result(self, document: Mapping[str, Any] | Struct, text: str) -> None:
        """The outcome: `document` with --json, otherwise `text`. One of a megabyte is a `Struct`:
        it is written in a third of the time."""
        if self.as_json:
            self._document(document)
        elif text:
            with printing():
                print(_safe(text))

    def flush(self) -> None:
        """Let whoever waits for the result have it now."""
        with printing():
            pass

    def message(self, text: str) -> None:
        print(_safe(text), file=sys.stderr)

    def error(self, error: HoldfastError) -> None:
        """What failed and what to do, in words; with --json also as a document, unless the result
        was shown before it failed: there is only ever one."""
        if self.as_json and not self._has_document:
            try:
                self._document(_described(error))
            except (OutputFailed, BrokenPipeError):
                discard_output()  # it is said in words below
        self.message(f"holdfast: {_sentence(error.message)}")
        if error.advice:
            self.message(_sentence(error.advice))

    def _document(self, document: Mapping[str, Any] | Struct) -> None:
        self._has_document = True
        if sys.stdout is None:
            return
        # Indented only for eyes: that takes five times as long, seconds for ten thousand points.
        indent = 2 if sys.stdout.isatty() else None
        encoded = None if isinstance(document, Mapping) or indent else _quickly(document)
        with printing():
            if encoded is None:
                print(_with_json(document, indent))
                return
            sys.stdout.flush()
            sys.stdout.buffer.write(encoded)
            sys.stdout.buffer.write(b"\n")


def _described(error: HoldfastError) -> Mapping[str, Any]:
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.advice,
            "retry": error.retry.value,
            "params": {name: _plain(value) for name, value in error.params.items()},
        }
    }


class ProgressBar:
    """A progress sink: a bar on a terminal, only the kept lines elsewhere. A context manager."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._shown_s = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _new_bar()
            self._task = self._bar.add_task("starting", total=None, detail="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if self._bar is None or self._task is None or now_s - self._shown_s < _REFRESH_S:
            return
        self._shown_s = now_s
        detail = f"{format_bytes(progress.done_bytes)} of {format_bytes(progress.total_bytes)}"
        self._bar.update(
            self._task,
            description=progress.phase,
            completed=progress.done_bytes,
            total=progress.total_bytes or None,
            detail=detail if progress.total_bytes else "",
        )

    def message(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(_safe(text), markup=False, highlight=False)
        else:
            self._screen.message(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Aligned columns; `right` names the columns of numbers."""
    cells = [list(head), *(list(map(_safe_cell, row)) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines: list[str] = []
    for row in cells:
        parts = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def throughput(size_bytes: int, duration_s: float) -> str:
    """Empty when too short to say."""
    return format_rate(size_bytes / duration_s) if duration_s > 0.05 else ""


def _with_json(document: Mapping[str, Any] | Struct, indent: int | None) -> str:
    if not isinstance(document, Mapping):
        from msgspec import to_builtins

        document = to_builtins(document)
    return json.dumps(document, indent=indent, ensure_ascii=True, check_circular=False)


def _quickly(document: Struct) -> bytes | None:
    """What `_with_json` writes on one line, or None where something is to be escaped that msgspec
    does not escape."""
    import msgspec

    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    if not encoded.isascii() or b"\x7f" in encoded:
        return None
    return msgspec.json.format(encoded, indent=0)


def _new_bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _safe_cell(text: str) -> str:
    return _safe(text).replace("\n", " ")


def _safe(text: str) -> str:
    """Names come from guests and hypervisors: nothing of them may steer the terminal."""
    if text.isprintable():  # as good as always; letter by letter takes forty times as long
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else f"\\x{ord(letter):02x}"
        for letter in text
    )
