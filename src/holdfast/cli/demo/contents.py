"""The files that the demo's guest protects: documents and libraries of this host, media that does
not compress, and a small application whose table the demo changes. The same for the same host
packages. Enter at `stage_data` and `stage_files`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from holdfast.core.units import MIB

ORDERS = "shop/orders.csv"
"""Changed by the demo between its two backups; relative to the data disk."""
LETTER = "shop/letter.txt"
"""Read by a person: the demo shows both versions of it."""
ORDER_ROWS = 20_000
OBSOLETE = "shop/old-prices.csv"
"""Deleted by the demo between its two backups."""
PLAN = "projects/plan.txt"
"""Changed by the demo; relative to the files disk."""

LETTER_TEXT = """\
Dear customer,

your order left our warehouse on Monday and arrives within three days.

The shop
"""
PLAN_TEXT = "1. Measure\n2. Build\n3. Measure again\n"

_DOCUMENTS = (Path("/usr/share/doc"),)
_LIBRARIES = (Path("/usr/lib/python3"), Path("/usr/lib/python3.11"), Path("/usr/share/perl"))
_DOCUMENTS_BYTES = 64 * MIB
_LIBRARIES_BYTES = 40 * MIB
_LARGEST_FILE_BYTES = 4 * MIB
_CLIPS, _CLIP_BYTES = 4, 6 * MIB


def stage_data(folder: Path) -> None:
    """Fill an empty folder with what the guest has at /srv/data."""
    _write(folder / ORDERS, order_table(ORDER_ROWS))
    _write(folder / LETTER, LETTER_TEXT.encode())
    _write(folder / OBSOLETE, order_table(500))
    for number in range(_CLIPS):
        stream = hashlib.shake_256(f"clip {number}".encode()).digest(_CLIP_BYTES)
        _write(folder / f"media/clip-{number}.bin", stream)
    _copy_tree(_DOCUMENTS, folder / "documents", _DOCUMENTS_BYTES)


def stage_files(folder: Path) -> None:
    """Fill an empty folder with what the guest has at /srv/files."""
    _write(folder / PLAN, PLAN_TEXT.encode())
    _copy_tree(_LIBRARIES, folder / "library", _LIBRARIES_BYTES)


def order_table(rows: int) -> bytes:
    """A CSV table, the same for the same number of rows."""
    lines = ["order,customer,item,quantity,price_cents\n"]
    for order in range(rows):
        digest = hashlib.blake2s(order.to_bytes(8), digest_size=8).digest()
        customer, item = int.from_bytes(digest[:3]), int.from_bytes(digest[3:5])
        lines.append(f"{order},{customer},{item},{digest[5] % 9 + 1},{item * 7 % 99_000}\n")
    return "".join(lines).encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)


def _copy_tree(sources: tuple[Path, ...], target: Path, budget_bytes: int) -> None:
    """Copy regular files in sorted order until the budget is spent. Links are not followed."""
    target.mkdir()
    for source in sources:
        for path in _regular_files(source):
            size_bytes = path.stat().st_size
            if size_bytes > min(budget_bytes, _LARGEST_FILE_BYTES):
                continue
            budget_bytes -= size_bytes
            copy = target / source.name / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o644)


def _regular_files(source: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(source):
        # Compiled Python embeds times; a proto file of mkfs.xfs cannot express blanks in names.
        folders[:] = sorted(name for name in folders if name != "__pycache__" and _plain(name))
        for path in (Path(folder) / name for name in sorted(names) if _plain(name)):
            if stat.S_ISREG(path.lstat().st_mode) and os.access(path, os.R_OK):
                yield path


def _plain(name: str) -> bool:
    return name.isascii() and name.isprintable() and " " not in name
