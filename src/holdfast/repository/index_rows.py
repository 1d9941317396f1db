"""The rows of the index in memory: for each place of a chunk one of 48 bytes, its prefix included,
sorted by the first eight bytes of the ids. Reading many index objects takes hardly more memory than
what comes of it: rows gather in arrays that grow where they are, and are sorted in place. Enter at
`RowsBuilder`, or at `merged`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.repository.format.index import PackTable
from holdfast.repository.format.pack import ID_BYTES

ROW = np.dtype(
    [
        ("rest", "u1", (ID_BYTES - 8,)),
        ("pack", "<u4"),
        ("offset", "<u4"),
        ("stored", "<u4"),
        ("plain", "<u4"),
    ]
)
WORDS = ROW.itemsize // 8
TYPE_SHIFT = 30
CODEC_SHIFT = 29
_LEAST_GROWTH = 4096
_GROWTH = 16
"""A sixteenth of the rows is room for more at most, until they are sorted."""


@dataclass(frozen=True, slots=True)
class SortedRows:
    """Rows in the order of their ids' first eight bytes (big-endian)."""

    prefixes: NDArray[np.uint64]
    rows: NDArray[Any]

    def without(self, packs: NDArray[np.bool_]) -> SortedRows:
        """The rows that are not in one of `packs` (by pack number)."""
        kept = ~packs[self.rows["pack"]]
        return SortedRows(self.prefixes[kept], self.rows[kept])


def no_rows() -> SortedRows:
    return SortedRows(np.empty(0, dtype=np.uint64), np.empty(0, dtype=ROW))


def merged(old: SortedRows, new: SortedRows) -> SortedRows:
    """Both as one, in arrays of its own; of equal prefixes the old come first. Takes the memory of
    the answer and a byte or two a row."""
    if not len(old.rows):
        return new
    if not len(new.rows):
        return old
    places = np.searchsorted(old.prefixes, new.prefixes, side="right")
    places += np.arange(len(places))
    is_old = np.ones(len(old.rows) + len(new.rows), dtype=np.bool_)
    is_old[places] = False
    prefixes = np.empty(len(is_old), dtype=np.uint64)
    prefixes[is_old], prefixes[places] = old.prefixes, new.prefixes
    rows = np.empty(len(is_old), dtype=ROW)
    rows[is_old], rows[places] = old.rows, new.rows
    return SortedRows(prefixes, rows)


class RowsBuilder:
    """Rows of packs, each pack once. Numbers the packs from 0 in the order they come."""

    def __init__(self) -> None:
        self.packs: dict[bytes, int] = {}
        """Hash and size of each; a row's pack number is its place in here."""
        self._prefixes = np.empty(0, dtype=np.uint64)
        self._rows = np.empty(0, dtype=ROW)
        self._count = 0

    def add(self, tables: Iterable[PackTable]) -> None:
        fresh: dict[bytes, PackTable] = {}
        for table in tables:
            if table.pack_hash not in self.packs:
                fresh.setdefault(table.pack_hash, table)
        if not fresh:
            return
        entries = np.concatenate([table.entries for table in fresh.values()])
        first = len(self.packs)
        numbers = np.arange(first, first + len(fresh), dtype=np.uint32)
        start, end = self._count, self._count + len(entries)
        self._reserve(end)
        ids = np.ascontiguousarray(entries["id"])
        self._prefixes[start:end] = ids.view(">u8")[:, 0]
        rows = self._rows[start:end]
        rows["rest"] = ids[:, 8:]
        rows["pack"] = np.repeat(numbers, [len(table.entries) for table in fresh.values()])
        rows["offset"] = entries["offset"]
        rows["stored"] = (
            entries["stored_bytes"].astype(np.uint32)
            | entries["codec"].astype(np.uint32) << np.uint32(CODEC_SHIFT)
            | entries["type"].astype(np.uint32) << np.uint32(TYPE_SHIFT)
        )
        rows["plain"] = entries["plain_bytes"]
        # Known no sooner than its rows are there: memory may run out before.
        self._count = end
        self.packs.update((pack_hash, table.pack_bytes) for pack_hash, table in fresh.items())

    def finish(self) -> SortedRows:
        """All rows, in arrays that are the caller's. Nothing may be added any more."""
        self._resize(self._count)
        order = np.argsort(self._prefixes, kind="stable")
        self._prefixes[:] = self._prefixes[order]
        words = self._rows.view("<u8").reshape(-1, WORDS)
        for column in range(WORDS):  # one after the other: a copy of all rows is as large as they
            words[:, column] = words[order, column]
        return SortedRows(self._prefixes, self._rows)

    def _reserve(self, count: int) -> None:
        if count > len(self._rows):
            self._resize(count + max(_LEAST_GROWTH, count // _GROWTH))

    def _resize(self, count: int) -> None:
        """The allocator moves large arrays by their pages, without a copy. Nobody else has them."""
        self._prefixes.resize(count, refcheck=False)
        self._rows.resize(count, refcheck=False)
