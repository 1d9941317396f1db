"""The index objects of an opened repository: which were read into the index, which are to be read.

They are a cache of the packs' tables: one that is damaged is passed over, and what it named is
found in the packs. Knows nothing of points. Enter at `IndexObjects.load`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from blake3 import blake3

from holdfast.core.errors import HoldfastError
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.index import PackTable, decode_index
from holdfast.repository.format.pack import pack_name
from holdfast.repository.index import ChunkIndex
from holdfast.repository.pack_tables import PackTables
from holdfast.repository.reading import each, is_distant
from holdfast.repository.store.store import ObjectStore

_FOLDER = "index/"
_READERS = 12
"""Index objects read at once from a distant storage: one may take some ten megabytes."""


class IndexObjects:
    """Thread-safe for reading."""

    def __init__(self, store: ObjectStore, sealer: Sealer, pack_tables: PackTables) -> None:
        self.index = ChunkIndex()
        self._store = store
        self._sealer = sealer
        self._pack_tables = pack_tables
        self._packs_of: dict[str, list[bytes]] = {}
        """The packs that each object names, of those that were read and are still there."""

    def load(self) -> ChunkIndex:
        """Read the objects that were not read yet. Raises ObjectMissing, StoreUnavailable."""
        missing = ""
        while True:
            try:
                self._load_listed()
            except ObjectMissing as error:
                if error.key == missing:
                    raise
                missing = error.key  # compact replaced it since the listing
                continue
            return self.index

    def take(self, objects: Mapping[str, Sequence[PackTable]]) -> ChunkIndex:
        """`load` for who has read the objects, each by its key, already."""
        with self.index.loading() as load:
            for key, tables in objects.items():
                load(tables)
                self._packs_of[key] = [table.pack_hash for table in tables]
        return self.index

    def complete(self) -> tuple[ChunkIndex, dict[bytes, int]]:
        """The index with every readable pack in it, named by an object or not; and the packs in the
        store by hash, with their sizes in bytes, as listed after the objects were read."""
        self.load()
        stored = {pack_hash: info.size_bytes for pack_hash, info in self._pack_tables.packs()}
        self.index.load_unnamed(self._pack_tables.unknown(stored, self.index.packs.keys()))
        return self.index, stored

    def forget_what_went(self) -> None:
        """Tell the index which packs compact has deleted since this instance read of them."""
        named = {pack for packs in self._packs_of.values() for pack in packs}
        uncertain = self.index.packs.keys() - named
        if uncertain:
            stored = {pack for pack, _ in self._pack_tables.packs()}
            self.index.forget(uncertain - stored)

    def read(self, key: str) -> bytes:
        """Plaintext of one object, its name checked against its bytes. Raises ObjectDamaged,
        ObjectMissing."""
        stored = self._store.get(key)
        if blake3(stored).hexdigest() != key.removeprefix(_FOLDER):
            raise ObjectDamaged(key=key, problem="its bytes do not hash to its name")
        return self._sealer.open(Kind.INDEX, "", stored, key=key)

    def _load_listed(self) -> None:
        listed = [info.key for info in self._store.list(_FOLDER)]
        loaded = self._packs_of
        self._packs_of = {key: loaded[key] for key in listed if key in loaded}
        absent = [key for key in listed if key not in loaded]
        is_slow = is_distant(self._store) and len(absent) > 1
        read = each(self._read_tables, absent, workers=_READERS, is_slow=is_slow)
        with self.index.loading() as load:
            for key, tables in zip(absent, read, strict=True):
                if tables is not None:
                    load(tables)
                    self._packs_of[key] = [table.pack_hash for table in tables]

    def _read_tables(self, key: str) -> list[PackTable] | None:
        try:
            return decode_index(self.read(key), key=key)
        except ObjectDamaged:
            return None  # a cache: what it names is found in the packs


def take_back_stale(store: ObjectStore, put: Mapping[str, Sequence[PackTable]]) -> None:
    """For who put these index objects, by their keys, and then found its lease lost: those that
    name a pack that is gone go again, so that nobody looks for it. The others stay, as points made
    since may need what only they name. Never raises: the lost lease is the error to tell."""
    if not put:
        return
    with suppress(HoldfastError):
        there = {info.key for info in store.list("packs/")}
        for key, tables in put.items():
            if any(pack_name(table.pack_hash) not in there for table in tables):
                store.delete(key)
