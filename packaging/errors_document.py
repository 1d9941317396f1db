"""Writes docs/errors.md from the error classes. `--check` fails when the file differs."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from pathlib import Path

import holdfast
from holdfast.core.errors import Category, HoldfastError

_TARGET = Path(__file__).parent.parent / "docs" / "errors.md"
_EXIT = {
    Category.USAGE: "2",
    Category.INTEGRITY: "3",
    Category.INTERRUPTED: "130",
}
_PROGRAMS = ("__main__", ".nbdkit_plugin.plugin", ".migrations.env")
"""Modules that only run inside another program."""
_HEAD = """\
# Errors

Every error Holdfast raises on purpose, by its stable code. Words in braces are filled in. `retry`
says whether trying again can help: `never`, `later` (the cause may pass by itself) or `now`.
Made by `make docs` from the source; do not edit.

| Code | Exit | Retry | Message | What to do |
|---|---|---|---|---|
"""


def render() -> str:
    for module in pkgutil.walk_packages(holdfast.__path__, "holdfast."):
        if not module.name.endswith(_PROGRAMS):
            importlib.import_module(module.name)
    classes = {item.code: item for item in _subclasses(HoldfastError)}
    rows = [_row(classes[code]) for code in sorted(classes)]
    return _HEAD + "\n".join(rows) + "\n"


def _subclasses(base: type[HoldfastError]) -> list[type[HoldfastError]]:
    found: list[type[HoldfastError]] = []
    for item in base.__subclasses__():
        if item.__module__.startswith("holdfast.") and item.code != "internal_error":
            found.append(item)
        found.extend(_subclasses(item))
    return found


def _row(item: type[HoldfastError]) -> str:
    cells = (item.code, _EXIT.get(item.category, "1"), item.retry.value, item.template, item.hint)
    return "| " + " | ".join(re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    text = render()
    if "--check" in sys.argv:
        if _TARGET.read_text() != text:
            sys.stderr.write("docs/errors.md is out of date: run `make docs`\n")
            return 1
        return 0
    _TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
