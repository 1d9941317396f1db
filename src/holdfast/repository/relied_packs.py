"""The packs that a writer relies on instead of storing a chunk again: each is seen in the storage.

The index is a cache, and an object of it may outlive the packs that it names: a writer or a compact
that stood still past its lease puts one late, and whoever can write to the storage can put an old
one back. So a pack is looked for once a session before anything new relies on it, and one that is
missing or has another size is doubted, which makes the writer store the chunk again. After that
look the session's lease keeps it. Enter at `ReliedPacks.is_there`.
"""

from __future__ import annotations

import threading

from holdfast.repository.errors import ObjectMissing
from holdfast.repository.format.pack import pack_name
from holdfast.repository.index import ChunkIndex
from holdfast.repository.reading import is_distant
from holdfast.repository.store.store import ObjectStore

_ASKED_ONE_BY_ONE = 32
"""Packs of a distant storage that are asked for singly; for more a listing of all is sooner."""


class ReliedPacks:
    """Of one writing session, which holds its lease and has read tombstones and index since.
    Thread-safe. Memory: a hundred bytes a pack."""

    def __init__(self, store: ObjectStore, index: ChunkIndex) -> None:
        self._store = store
        self._index = index
        self._lock = threading.Lock()
        self._there: set[bytes] = set()
        self._listed: dict[str, int] = {}
        self._asked = 0

    def put(self, pack_hash: bytes) -> None:
        """This session has just made it durable."""
        with self._lock:
            self._there.add(pack_hash)

    def is_there(self, pack_hash: bytes) -> bool:
        """False for a pack of the index that is missing or cut short; it is in doubt from then on.
        Raises StoreUnavailable."""
        with self._lock:
            if pack_hash in self._there:
                return True
            if self._size_bytes(pack_name(pack_hash)) == self._index.pack_bytes(pack_hash):
                self._there.add(pack_hash)
                return True
        self._index.doubt([pack_hash])
        return False

    def _size_bytes(self, key: str) -> int | None:
        """None when there is no such object."""
        self._asked += 1
        if self._asked == _ASKED_ONE_BY_ONE and is_distant(self._store):
            self._listed = {info.key: info.size_bytes for info in self._store.list("packs/")}
        if key in self._listed:
            return self._listed[key]
        try:
            return self._store.stat(key).size_bytes
        except ObjectMissing:
            return None
