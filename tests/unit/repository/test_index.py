"""The index in memory against a dictionary."""

from __future__ import annotations

import os
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.repository import index as index_module
from holdfast.repository.format.index import PackTable, decode_index, encode_index
from holdfast.repository.format.pack import (
    CHUNK_OVERHEAD_BYTES,
    ENTRY,
    FOOTER_BYTES,
    HEADER_BYTES,
    ID_BYTES,
    ChunkType,
    Codec,
)
from holdfast.repository.index import ChunkIndex, locations_of

_Row = tuple[bytes, ChunkType, Codec, int, int]


def _table(number: int, rows: list[_Row]) -> PackTable:
    """A pack's table with chunks end to end. A row: id, type, codec, stored and plain bytes."""
    entries = np.zeros(len(rows), dtype=ENTRY)
    offset = HEADER_BYTES
    for place, (chunk_id, kind, codec, stored, plain) in enumerate(rows):
        id_column = np.frombuffer(chunk_id, dtype=np.uint8)
        entries[place] = (id_column, kind, codec, 0, offset, stored, plain)
        offset += stored
    table_bytes = len(rows) * ENTRY.itemsize + CHUNK_OVERHEAD_BYTES
    return PackTable(
        pack_hash=number.to_bytes(32, "big"),
        pack_bytes=offset + table_bytes + FOOTER_BYTES,
        entries=entries,
    )


def _id(prefix: int, rest: int) -> bytes:
    return bytes([prefix]) * 8 + rest.to_bytes(ID_BYTES - 8, "big")


# Few prefixes, so that many ids share their first eight bytes.
_rows: st.SearchStrategy[_Row] = st.tuples(
    st.builds(_id, st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), st.integers(0, 30)),
    st.sampled_from(list(ChunkType)),
    st.sampled_from(list(Codec)),
    st.integers(CHUNK_OVERHEAD_BYTES + 1, 100_000),
    st.integers(1, 100_000),
)
_tables: st.SearchStrategy[list[list[_Row]]] = st.lists(
    st.lists(_rows, min_size=1, max_size=12), max_size=8
)


def _assert_known(index: ChunkIndex, tables: list[PackTable]) -> None:
    model: dict[bytes, set[object]] = {}
    for table in tables:
        for location in locations_of(table):
            model.setdefault(location.meta.chunk_id, set()).add(location)
    for chunk_id, locations in model.items():
        assert index.find(chunk_id) in locations
    for chunk_id in (bytes(ID_BYTES), b"\xff" * ID_BYTES, b"\x01" * ID_BYTES):
        assert (index.find(chunk_id) is None) == (chunk_id not in model)
    assert index.packs == {table.pack_hash: table.pack_bytes for table in tables}


@pytest.mark.parametrize("limit", [0, 5, 1000])
@given(data=st.data())
def test_index_equals_a_dictionary(limit: int, data: st.DataObject) -> None:
    """Tables come from index objects and from packs just put, with few or many merges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "_RECENT_LIMIT", limit)
        index, known = ChunkIndex(), list[PackTable]()
        for number, rows in enumerate(data.draw(_tables)):
            table = _table(number, rows)
            if data.draw(st.booleans()):
                index.add(table)
            else:
                index.load([table])
            if data.draw(st.booleans()):
                index.load([table])
            known.append(table)
            _assert_known(index, known)


@given(data=st.data(), limit=st.sampled_from([0, 5, 1000]))
def test_loading_many_equals_a_dictionary(data: st.DataObject, limit: int) -> None:
    """Several index objects name the same packs, and packs are put or loaded meanwhile."""
    tables = [_table(number, rows) for number, rows in enumerate(data.draw(_tables))]
    some = st.lists(st.sampled_from(tables), max_size=5) if tables else st.just(list[PackTable]())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "_RECENT_LIMIT", limit)
        index, known = ChunkIndex(), dict[bytes, PackTable]()
        for _ in range(3):
            with index.loading() as load:
                for group in data.draw(st.lists(some, max_size=3)):
                    load(group)
                    known |= {table.pack_hash: table for table in group}
                for table in data.draw(some):
                    index.add(table) if data.draw(st.booleans()) else index.load([table])
                    known[table.pack_hash] = table
            _assert_known(index, list(known.values()))
            view = index.view()
            assert (
                len(view.rows)
                == len(view.prefixes)
                >= sum(
                    len({row["id"].tobytes() for row in table.entries}) for table in known.values()
                )
            )
            assert bool((view.prefixes[1:] >= view.prefixes[:-1]).all())


def test_loading_takes_hardly_more_memory_than_what_comes_of_it() -> None:
    objects, packs, chunks = 40, 10, 500
    index = ChunkIndex()
    tracemalloc.start()
    try:
        with index.loading() as load:
            for number in range(objects):
                entries = np.zeros((packs, chunks), dtype=ENTRY)
                entries["id"] = np.frombuffer(
                    os.urandom(packs * chunks * ID_BYTES), np.uint8
                ).reshape(packs, chunks, ID_BYTES)
                load(
                    PackTable(
                        pack_hash=(number * packs + place).to_bytes(32, "big"),
                        pack_bytes=1,
                        entries=entries[place],
                    )
                    for place in range(packs)
                )
        most = tracemalloc.get_traced_memory()[1] / len(index)
    finally:
        tracemalloc.stop()
    assert len(index) == objects * packs * chunks
    assert most < 1.6 * 48, "bytes a chunk"


@given(_tables)
def test_encoded_index_round_trip(rows: list[list[_Row]]) -> None:
    tables = [_table(number, part) for number, part in enumerate(rows)]
    decoded = decode_index(encode_index(tables), key="index/x")
    assert [(item.pack_hash, item.pack_bytes) for item in decoded] == [
        (item.pack_hash, item.pack_bytes) for item in tables
    ]
    for ours, theirs in zip(tables, decoded, strict=True):
        assert np.array_equal(ours.entries, theirs.entries)


def test_packs_stay_unnamed_until_an_index_object_names_them() -> None:
    index = ChunkIndex()
    row = (b"\x01" * ID_BYTES, ChunkType.DATA, Codec.RAW, 100, 72)
    put, recovered, listed = (_table(number, [row]) for number in range(3))
    index.add(put)
    index.load_unnamed([recovered])
    index.load([listed])
    assert {table.pack_hash for table in index.unnamed} == {put.pack_hash, recovered.pack_hash}
    index.now_named([put])
    index.load([recovered])
    assert index.unnamed == []


def test_a_reader_never_misses_a_chunk_while_others_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_RECENT_LIMIT", 40)
    index, errors = ChunkIndex(), list[bytes]()
    known: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            errors.extend(chunk for chunk in list(known) if index.find(chunk) is None)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        chunk_id = number.to_bytes(ID_BYTES, "big")
        index.add(_table(number, [(chunk_id, ChunkType.DATA, Codec.ZSTD, 50, 70)]))
        known.append(chunk_id)
    done.set()
    reader.join()
    assert not errors
