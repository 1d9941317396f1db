"""An index object: the tables of some packs, copied out so that opening a repository does not
touch every pack. A cache: everything in it can be read again from the packs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ENTRY, Entries, check_entries

_PACK = struct.Struct("<32sQI")
_COUNT = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackTable:
    """One pack and its rows."""

    pack_hash: bytes
    """BLAKE3 of the pack's stored bytes: its name."""
    pack_bytes: int
    entries: Entries


def encode_index(tables: Sequence[PackTable]) -> bytes:
    parts = [_COUNT.pack(len(tables))]
    for table in tables:
        parts.append(_PACK.pack(table.pack_hash, table.pack_bytes, len(table.entries)))
        parts.append(table.entries.tobytes())
    return b"".join(parts)


def decode_index(plain: bytes, *, key: str) -> list[PackTable]:
    """Inverse of `encode_index`; every table is checked against the size of its pack."""
    tables: list[PackTable] = []
    try:
        (count,) = _COUNT.unpack_from(plain)
        position = _COUNT.size
        for _ in range(count):
            pack_hash, pack_bytes, rows = _PACK.unpack_from(plain, position)
            position += _PACK.size
            entries = cast(Entries, np.frombuffer(plain, dtype=ENTRY, count=rows, offset=position))
            position += rows * ENTRY.itemsize
            check_entries(entries, pack_bytes, key=key)
            tables.append(PackTable(pack_hash=pack_hash, pack_bytes=pack_bytes, entries=entries))
    except (struct.error, ValueError) as error:
        raise ObjectDamaged(key=key, problem="it ends too early") from error
    if position != len(plain):
        raise ObjectDamaged(key=key, problem="it has bytes beyond its end")
    return tables
