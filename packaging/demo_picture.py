"""Runs the demo and keeps a picture of its middle steps for the README: docs/pictures/demo.svg."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from holdfast.cli.demo.lab import default_lab_dir
from holdfast.cli.demo.run import run_demo

_TARGET = Path(__file__).parent.parent / "docs" / "pictures" / "demo.svg"
_WIDTH = 104
_FIRST_STEP, _LAST_STEP = 4, 6
_HEADING = re.compile(r"^ *(\d+) [A-Z]")


def main() -> int:
    output = io.StringIO()
    status = run_demo(
        lab_dir=default_lab_dir(),
        listen=None,
        console=Console(file=output, width=_WIDTH, force_terminal=True, color_system="standard"),
    )
    lines = output.getvalue().splitlines()
    picture = Console(record=True, width=_WIDTH, file=io.StringIO())
    shown = False
    for line in lines:
        text = Text.from_ansi(line)
        heading = _HEADING.match(text.plain)
        if heading:
            shown = _FIRST_STEP <= int(heading.group(1)) <= _LAST_STEP
        shown = shown or text.plain.startswith("Summary")
        if shown:
            picture.print(text)
    _TARGET.write_text(picture.export_svg(title="holdfast demo"))
    return status


if __name__ == "__main__":
    sys.exit(main())
