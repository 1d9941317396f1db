"""The index in memory: for each known chunk, where it lies. 48 bytes a chunk in sorted arrays,
plus a small dictionary of what this process has added lately. A cache of the packs' own tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.repository.format.index import PackTable
from holdfast.repository.format.pack import ChunkMeta, ChunkType, Codec
from holdfast.repository.index_rows import (
    CODEC_SHIFT,
    TYPE_SHIFT,
    WORDS,
    RowsBuilder,
    merged,
    no_rows,
)

_STORED_MASK = (1 << CODEC_SHIFT) - 1
_RECENT_LIMIT = 65536
"""Chunks kept in the dictionary before they are sorted in; about 30 MiB of memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLocation:
    """Where a chunk's sealed bytes are, and what is needed to open them."""

    pack_hash: bytes
    offset: int
    stored_bytes: int
    meta: ChunkMeta


@dataclass(frozen=True, slots=True)
class IndexView:
    """All rows, sorted by the first eight bytes of their ids; `packs` by the rows' pack number."""

    prefixes: NDArray[np.uint64]
    rows: NDArray[Any]
    packs: Sequence[tuple[bytes, int]]

    def types(self, positions: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The chunk type in each of these rows."""
        found: NDArray[np.uint32] = self.rows["stored"][positions] >> np.uint32(TYPE_SHIFT)
        return found

    def positions(self, ids: NDArray[np.uint8], usable: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Row of each id (n x 32 bytes) in a pack that is `usable` (by pack number); -1 where there
        is none. Ask for a million at a time: they are looked up in the order of the rows, so the
        more there are, the closer together are the rows that are read."""
        words = np.ascontiguousarray(ids).view("<u8")
        wanted = words[:, 0].byteswap()
        order = np.argsort(wanted)
        found = np.empty(len(ids), dtype=np.int64)
        found[order] = self._positions_of_sorted(wanted[order], words[order, 1:], usable)
        return found

    def _positions_of_sorted(
        self, wanted: NDArray[np.uint64], rest: NDArray[np.uint64], usable: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        position = np.searchsorted(self.prefixes, wanted)
        found = np.full(len(wanted), -1, dtype=np.int64)
        rows = self.rows.view("<u8").reshape(-1, WORDS)
        open_ones = np.arange(len(wanted))
        while len(open_ones):
            here = position[open_ones]
            inside = here < len(self.prefixes)
            open_ones, here = open_ones[inside], here[inside]
            same = self.prefixes[here] == wanted[open_ones]
            open_ones, here = open_ones[same], here[same]
            row, ends = rows[here], rest[open_ones]
            # Eight bytes at a time: the 24 after the prefix, then the pack's number and the offset.
            hit = (row[:, 0] == ends[:, 0]) & (row[:, 1] == ends[:, 1]) & (row[:, 2] == ends[:, 2])
            hit &= usable[row[:, 3] & np.uint64(0xFFFFFFFF)]
            found[open_ones[hit]] = here[hit]
            open_ones = open_ones[~hit]
            position[open_ones] += 1
        return found


class ChunkIndex:
    """Thread-safe. The sorted part is replaced as a whole, so that look-ups need no lock."""

    def __init__(self) -> None:
        self._sorted = no_rows()
        self._packs: list[tuple[bytes, int]] = []
        self._pack_numbers: dict[bytes, int] = {}
        self._recent: dict[bytes, ChunkLocation] = {}
        self._recent_tables: list[PackTable] = []
        self._unnamed: dict[bytes, PackTable] = {}
        self._doubtful: frozenset[bytes] = frozenset()
        self._leaving: frozenset[bytes] = frozenset()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sorted.rows) + len(self._recent)

    def load(self, tables: Iterable[PackTable]) -> None:
        """Sort in the tables that an index object names; those sorted in already are skipped."""
        named = list(tables)
        with self._lock:
            self._merge(named)
            self._forget_unnamed(table.pack_hash for table in named)

    @contextmanager
    def loading(self) -> Generator[Callable[[Iterable[PackTable]], None]]:
        """`load` for many index objects one after the other, sorted in together on leaving,
        whatever the way: what a caller was given is in. Not to be called from several threads."""
        builder = RowsBuilder()
        try:
            yield builder.add
        finally:
            with self._lock:
                self._sort_in(builder)
                self._forget_unnamed(builder.packs)

    def load_unnamed(self, tables: Iterable[PackTable]) -> None:
        """Sort in the tables of packs that no index object names."""
        found = list(tables)
        with self._lock:
            self._merge(found)
            self._unnamed.update((table.pack_hash, table) for table in found)

    def add(self, table: PackTable) -> None:
        """A pack has just become durable."""
        locations = {location.meta.chunk_id: location for location in locations_of(table)}
        with self._lock:
            self._unnamed[table.pack_hash] = table
            self._recent_tables.append(table)
            self._recent.update(locations)
            if len(self._recent) > _RECENT_LIMIT:
                self._merge(self._recent_tables)
                self._recent, self._recent_tables = {}, []

    def find(self, chunk_id: bytes) -> ChunkLocation | None:
        """Where to read the chunk: a pack that is not doubtful if there is one."""
        doubtful: ChunkLocation | None = None
        for location in self.find_all(chunk_id):
            if location.pack_hash not in self._doubtful:
                return location
            doubtful = doubtful or location
        return doubtful

    def find_kept(self, chunk_id: bytes) -> ChunkLocation | None:
        """Where the chunk is for certain: a writer stores it again when it is in doubtful packs
        only."""
        found = self.find(chunk_id)
        return None if found is None or found.pack_hash in self._doubtful else found

    def find_all(self, chunk_id: bytes) -> Iterator[ChunkLocation]:
        """Every place of the chunk, the latest first."""
        found = self._recent.get(chunk_id)
        if found is not None:
            yield found
        index = self._sorted
        prefix = int.from_bytes(chunk_id[:8], "big")
        position = int(np.searchsorted(index.prefixes, np.uint64(prefix)))
        while position < len(index.prefixes) and int(index.prefixes[position]) == prefix:
            row = index.rows[position]
            if row["rest"].tobytes() == chunk_id[8:]:
                yield _location(self._packs, row, chunk_id)
            position += 1
        if index is not self._sorted:
            # It may have moved from the dictionary to the rows between the two looks.
            yield from self.find_all(chunk_id)

    def doubt(self, packs: Iterable[bytes]) -> None:
        """These packs may go away (tombstones) or are damaged: nothing new may rely on them."""
        self._doubtful = self._doubtful | frozenset(packs)

    def forget(self, packs: Iterable[bytes]) -> None:
        """These packs are gone or about to go: nothing new may rely on them, and no index object
        may name them again, or writers to come would rely on them."""
        leaving = frozenset(packs)
        self._leaving = self._leaving | leaving
        self.doubt(leaving)

    @property
    def has_doubts(self) -> bool:
        return bool(self._doubtful)

    def view(self) -> IndexView:
        """Everything known as arrays, for going through all of it at once."""
        with self._lock:
            self._merge(self._recent_tables)
            self._recent, self._recent_tables = {}, []
            return IndexView(
                prefixes=self._sorted.prefixes, rows=self._sorted.rows, packs=tuple(self._packs)
            )

    @property
    def packs(self) -> dict[bytes, int]:
        """Hash and size of every known pack."""
        with self._lock:
            known = dict(self._packs)
            known.update((table.pack_hash, table.pack_bytes) for table in self._recent_tables)
        return known

    def pack_bytes(self, pack_hash: bytes) -> int | None:
        """Size of a known pack."""
        with self._lock:
            number = self._pack_numbers.get(pack_hash)
            if number is not None:
                return self._packs[number][1]
            recent = (table for table in self._recent_tables if table.pack_hash == pack_hash)
            return next((table.pack_bytes for table in recent), None)

    @property
    def unnamed(self) -> list[PackTable]:
        """Packs whose chunks are found here although no index object names them: put by this
        process, by whichever run, or read from the packs themselves. A point may refer to any of
        them, so they go into the next index object."""
        with self._lock:
            return [table for pack, table in self._unnamed.items() if pack not in self._leaving]

    def now_named(self, tables: Iterable[PackTable]) -> None:
        """An index object that names these packs is durable."""
        with self._lock:
            self._forget_unnamed(table.pack_hash for table in tables)

    def _forget_unnamed(self, packs: Iterable[bytes]) -> None:
        for pack_hash in packs:
            self._unnamed.pop(pack_hash, None)

    def _merge(self, tables: Iterable[PackTable]) -> None:
        builder = RowsBuilder()
        builder.add(table for table in tables if table.pack_hash not in self._pack_numbers)
        self._sort_in(builder)

    def _sort_in(self, builder: RowsBuilder) -> None:
        """With the lock held. A pack is known no sooner than its chunks are about to be found."""
        if not builder.packs:
            return
        rows = builder.finish()
        known = [pack_hash in self._pack_numbers for pack_hash in builder.packs]
        if any(known):  # sorted in by another thread since
            rows = rows.without(np.array(known))
        numbers: list[int] = []
        for pack_hash, pack_bytes in builder.packs.items():
            number = self._pack_numbers.setdefault(pack_hash, len(self._packs))
            if number == len(self._packs):
                self._packs.append((pack_hash, pack_bytes))
            numbers.append(number)
        if numbers[-1] != len(numbers) - 1 or any(known):
            rows.rows["pack"] = np.array(numbers, dtype=np.uint32)[rows.rows["pack"]]
        self._sorted = merged(self._sorted, rows)


def location_at(view: IndexView, position: int) -> ChunkLocation:
    """The chunk in one row of a view."""
    row = view.rows[position]
    chunk_id = int(view.prefixes[position]).to_bytes(8, "big") + row["rest"].tobytes()
    return _location(view.packs, row, chunk_id)


def _location(packs: Sequence[tuple[bytes, int]], row: Any, chunk_id: bytes) -> ChunkLocation:
    stored = int(row["stored"])
    return ChunkLocation(
        pack_hash=packs[int(row["pack"])][0],
        offset=int(row["offset"]),
        stored_bytes=stored & _STORED_MASK,
        meta=ChunkMeta(
            chunk_id=chunk_id,
            type=ChunkType(stored >> TYPE_SHIFT),
            codec=Codec(stored >> CODEC_SHIFT & 1),
            plain_bytes=int(row["plain"]),
        ),
    )


def locations_of(table: PackTable) -> Sequence[ChunkLocation]:
    """The chunks of one pack, in the order they lie in it."""
    entries = table.entries
    columns = zip(
        entries["id"],
        entries["type"].tolist(),
        entries["codec"].tolist(),
        entries["offset"].tolist(),
        entries["stored_bytes"].tolist(),
        entries["plain_bytes"].tolist(),
        strict=True,
    )
    return [
        ChunkLocation(
            pack_hash=table.pack_hash,
            offset=offset,
            stored_bytes=stored,
            meta=ChunkMeta(
                chunk_id=chunk_id.tobytes(),
                type=ChunkType(kind),
                codec=Codec(codec),
                plain_bytes=plain,
            ),
        )
        for chunk_id, kind, codec, offset, stored, plain in columns
    ]
