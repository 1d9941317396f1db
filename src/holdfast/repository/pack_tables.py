"""Reading the table at the end of a pack: what the index is a copy of."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from holdfast.core.units import KIB
from holdfast.repository.data_keys import DataKeys
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.index import PackTable
from holdfast.repository.format.pack import (
    FOOTER_BYTES,
    HEADER_BYTES,
    ChunkCipher,
    decode_footer,
    decode_header,
    decode_table,
    pack_name,
)
from holdfast.repository.reading import each, side_by_side
from holdfast.repository.store.store import ObjectInfo, ObjectStore

_TAIL_BYTES = 16 * KIB
"""Holds the table of 340 chunks, which is more than most packs have."""
_PACK_KEY = re.compile(r"packs/(?P<start>[0-9a-f]{2})/(?P<name>(?P=start)[0-9a-f]{62})")


class PackTables:
    """Reads pack tables of one repository. Thread-safe."""

    def __init__(self, store: ObjectStore, repository_id: bytes, data_keys: DataKeys) -> None:
        self._store = store
        self._repository_id = repository_id
        self._data_keys = data_keys

    def packs(self) -> Iterator[tuple[bytes, ObjectInfo]]:
        """`(pack hash, object)` of every pack in the store. Raises ObjectDamaged for an object
        there whose name is not that of a pack."""
        for info in self._store.list("packs/"):
            match = _PACK_KEY.fullmatch(info.key)
            if match is None:
                raise ObjectDamaged(key=info.key, problem="its name is not that of a pack")
            yield bytes.fromhex(match["name"]), info

    def read(self, pack_hash: bytes, pack_bytes: int) -> PackTable:
        """The table of one pack, checked. Raises ObjectDamaged, ObjectMissing."""
        key = pack_name(pack_hash)
        if pack_bytes < HEADER_BYTES + FOOTER_BYTES:
            raise ObjectDamaged(key=key, problem=f"it is only {pack_bytes} bytes long")
        # Table and footer with one request, unless the table is larger than most.
        header, tail = side_by_side(
            self._store,
            lambda: self._store.get_range(key, 0, HEADER_BYTES),
            lambda: self._store.get_range(key, *_last(pack_bytes, _TAIL_BYTES)),
        )
        names = decode_header(header, self._repository_id, key=key)
        table_bytes, count = decode_footer(tail[-FOOTER_BYTES:], pack_bytes, key=key)
        end_bytes = table_bytes + FOOTER_BYTES
        if end_bytes > len(tail):
            tail = self._store.get_range(key, *_last(pack_bytes, end_bytes))
        stored = tail[len(tail) - end_bytes : len(tail) - FOOTER_BYTES]
        cipher = self._data_keys.cipher(names, key=key)
        entries = decode_table(cipher, header, stored, count, pack_bytes, key=key)
        return PackTable(pack_hash=pack_hash, pack_bytes=pack_bytes, entries=entries)

    def generation(self, pack_hash: bytes) -> int:
        """Number of the data key of one pack. Raises ObjectDamaged, ObjectMissing."""
        key = pack_name(pack_hash)
        header = self._store.get_range(key, 0, HEADER_BYTES)
        return decode_header(header, self._repository_id, key=key).generation

    def parse(self, pack_hash: bytes, stored: memoryview) -> tuple[PackTable, ChunkCipher]:
        """The table of a whole pack in memory, checked, and the cipher of its chunks. Raises
        ObjectDamaged."""
        key = pack_name(pack_hash)
        pack_bytes = len(stored)
        if pack_bytes < HEADER_BYTES + FOOTER_BYTES:
            raise ObjectDamaged(key=key, problem=f"it is only {pack_bytes} bytes long")
        header = bytes(stored[:HEADER_BYTES])
        names = decode_header(header, self._repository_id, key=key)
        table_bytes, count = decode_footer(bytes(stored[-FOOTER_BYTES:]), pack_bytes, key=key)
        end = pack_bytes - FOOTER_BYTES
        cipher = self._data_keys.cipher(names, key=key)
        sealed = bytes(stored[end - table_bytes : end])
        entries = decode_table(cipher, header, sealed, count, pack_bytes, key=key)
        return PackTable(pack_hash=pack_hash, pack_bytes=pack_bytes, entries=entries), cipher

    def unknown(self, stored: Mapping[bytes, int], known: Collection[bytes]) -> Iterator[PackTable]:
        """Tables of the `stored` packs (sizes by hash) outside `known`; damaged packs are passed
        over, for whoever needs a chunk of theirs will find it missing."""
        strange = [(pack, size) for pack, size in stored.items() if pack not in known]
        for table in each(self._look, strange):
            if table is not None:
                yield table

    def _look(self, pack: tuple[bytes, int]) -> PackTable | None:
        try:
            return self.read(*pack)
        except (ObjectDamaged, ObjectMissing):
            return None


def _last(pack_bytes: int, length: int) -> tuple[int, int]:
    """Offset and length of the last `length` bytes, or of all if there are fewer."""
    length = min(length, pack_bytes)
    return pack_bytes - length, length
