"""The write path of chunks: compress, seal, fill a pack, check it, put it.

Enter at `PackWriter.store`. Knows nothing of disks or points. Every pack is opened and every chunk
in it re-hashed from the very bytes that are about to be stored, so that a fault of memory, CPU or
codec between reading and storing is found before anything refers to it.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag

from holdfast.core.failpoints import failpoint
from holdfast.core.units import MIB
from holdfast.repository.data_keys import DataKey
from holdfast.repository.errors import ChunkCorruptedInMemory, ObjectExists
from holdfast.repository.format.index import PackTable
from holdfast.repository.format.pack import (
    ENTRY,
    HEADER_BYTES,
    SALT_BYTES,
    ChunkCipher,
    ChunkIds,
    ChunkMeta,
    ChunkType,
    Codec,
    Entries,
    encode_footer,
    encode_header,
    pack_name,
    unpack_payload,
)
from holdfast.repository.index import ChunkIndex
from holdfast.repository.relied_packs import ReliedPacks
from holdfast.repository.store.store import ObjectStore

DEFAULT_PACK_BYTES = 16 * MIB
_ZSTD_LEVEL = 1
_ZSTD_HASH_LOG, _ZSTD_MIN_MATCH, _ZSTD_WINDOW_LOG = 16, 6, 24
"""Level 1 for chunks of 256 KiB, but for a larger table: 1 % less is stored for 2 % more time
(docs/adr/0008). The window is cut to the chunk's size by zstd itself."""
_MINIMUM_GAIN = 0.97
"""Chunks that compression does not bring below this share are stored raw: cheaper to read."""


class Codecs(threading.local):
    """Compression contexts of one thread; they are not thread-safe and costly to make."""

    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters(
            compression_level=_ZSTD_LEVEL,
            window_log=_ZSTD_WINDOW_LOG,
            hash_log=_ZSTD_HASH_LOG,
            min_match=_ZSTD_MIN_MATCH,
            write_checksum=False,
            write_content_size=False,
            write_dict_id=False,
        )
        self.compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self.decompressor = zstandard.ZstdDecompressor()


@dataclass(slots=True)
class _OpenPack:
    parts: list[bytes]
    metas: list[ChunkMeta] = field(default_factory=list[ChunkMeta])
    offsets: list[int] = field(default_factory=list[int])
    size_bytes: int = HEADER_BYTES


class PackWriter:
    """Chunks in, durable packs out. Thread-safe: call `store` from as many threads as help; the
    thread that fills a pack also checks and puts it while the others go on."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        index: ChunkIndex,
        ids: ChunkIds,
        repository_id: bytes,
        data_key: DataKey,
        pack_bytes: int = DEFAULT_PACK_BYTES,
        relied: ReliedPacks | None = None,
    ) -> None:
        """`relied` is that of another writer of the same session."""
        self._store = store
        self._index = index
        self._relied = relied or ReliedPacks(store, index)
        self._ids = ids
        self._repository_id = repository_id
        self._data_key = data_key
        salt = os.urandom(SALT_BYTES)
        self._cipher = ChunkCipher(repository_id, data_key.secret, salt)
        self._header = encode_header(repository_id, salt, data_key.generation)
        self._pack_bytes = pack_bytes
        self._nonces = itertools.count()
        self._lock = threading.Lock()
        self._reserved: set[bytes] = set()
        self._open = self._new_pack()
        self._codecs = Codecs()
        self._tables: list[PackTable] = []
        self._in_flight = 0
        self.stored_bytes = 0
        """Bytes of new sealed chunks so far."""

    def store(
        self, kind: ChunkType, plaintext: bytes | bytearray | memoryview
    ) -> tuple[bytes, int]:
        """The chunk's id and the bytes newly stored for it (0 when it is known already).

        The buffer is the caller's again on return. The chunk is durable only after `flush`.
        """
        chunk_id = self._ids.of(kind, plaintext)
        return chunk_id, self.store_known(kind, chunk_id, plaintext)

    def store_known(
        self, kind: ChunkType, chunk_id: bytes, plaintext: bytes | bytearray | memoryview
    ) -> int:
        """`store` for a caller that has the id already."""
        if not self._reserve(chunk_id):
            return 0
        return self._append(*self._seal(kind, chunk_id, plaintext))

    def store_payload(self, meta: ChunkMeta, payload: bytes) -> int:
        """`store` for a chunk of another pack, compressed as it is there: sealed anew, and with
        its pack proven from its id like any other before that is put."""
        if not self._reserve(meta.chunk_id):
            return 0
        return self._append(meta, self._cipher.seal(meta, next(self._nonces), payload))

    def another(self) -> PackWriter:
        """A writer like this one with packs of its own, for a thread whose chunks are to stay
        together."""
        return PackWriter(
            store=self._store,
            index=self._index,
            ids=self._ids,
            repository_id=self._repository_id,
            data_key=self._data_key,
            pack_bytes=self._pack_bytes,
            relied=self._relied,
        )

    def _reserve(self, chunk_id: bytes) -> bool:
        """False when it is stored or about to be."""
        while (found := self._index.find_kept(chunk_id)) is not None:
            if self._relied.is_there(found.pack_hash):
                return False
        with self._lock:
            if chunk_id in self._reserved or self._index.find_kept(chunk_id) is not None:
                return False
            # Reserved before it is stored: if this chunk fails, so does the whole run.
            self._reserved.add(chunk_id)
        return True

    def _append(self, meta: ChunkMeta, sealed: bytes) -> int:
        full: _OpenPack | None = None
        with self._lock:
            pack = self._open
            pack.metas.append(meta)
            pack.offsets.append(pack.size_bytes)
            pack.parts.append(sealed)
            pack.size_bytes += len(sealed)
            self.stored_bytes += len(sealed)
            if pack.size_bytes >= self._pack_bytes:
                full, self._open = pack, self._new_pack()
                self._in_flight += 1
        if full is not None:
            self._finish(full)
        return len(sealed)

    def flush(self) -> list[PackTable]:
        """Put what is left. Returns the tables of all packs put since the last flush, every one
        of them durable. Call when no `store` is running."""
        with self._lock:
            last, self._open = self._open, self._new_pack()
            if last.metas:
                self._in_flight += 1
        if last.metas:
            self._finish(last)
        with self._lock:
            if self._in_flight:
                raise RuntimeError("flush while chunks are being stored, or after a failure")
            tables, self._tables = self._tables, []
        return tables

    def _new_pack(self) -> _OpenPack:
        return _OpenPack(parts=[self._header])

    def _seal(
        self, kind: ChunkType, chunk_id: bytes, plaintext: bytes | bytearray | memoryview
    ) -> tuple[ChunkMeta, bytes]:
        size = len(plaintext)
        payload = self._codecs.compressor.compress(plaintext)
        codec = Codec.ZSTD
        if len(payload) >= size * _MINIMUM_GAIN:
            payload, codec = bytes(plaintext), Codec.RAW
        meta = ChunkMeta(chunk_id=chunk_id, type=kind, codec=codec, plain_bytes=size)
        return meta, self._cipher.seal(meta, next(self._nonces), payload)

    def _finish(self, pack: _OpenPack) -> None:
        entries = _entries(pack)
        table = self._cipher.seal_table(entries, next(self._nonces), self._header)
        parts = [*pack.parts, table, encode_footer(len(table), len(entries))]
        digest = _digest(parts)
        self._check(pack)
        size = sum(map(len, parts))
        failpoint("pack.before_put")
        # The name is the hash of the bytes: an existing object is this one.
        _ignore_existing(lambda: self._store.put_new(pack_name(digest), parts))
        failpoint("pack.after_put")
        self._relied.put(digest)
        written = PackTable(pack_hash=digest, pack_bytes=size, entries=entries)
        self._index.add(written)
        with self._lock:
            self._tables.append(written)
            self._reserved.difference_update(meta.chunk_id for meta in pack.metas)
            self._in_flight -= 1

    def _check(self, pack: _OpenPack) -> None:
        """Open every chunk from the bytes to be stored and hash it again."""
        decompressor = self._codecs.decompressor
        for meta, part in zip(pack.metas, pack.parts[1:], strict=True):
            try:
                plain = unpack_payload(meta, self._cipher.open(meta, part), decompressor)
            except InvalidTag as error:
                raise ChunkCorruptedInMemory(problem="a sealed chunk does not open") from error
            except ValueError as error:
                raise ChunkCorruptedInMemory(problem=f"a chunk: {error}") from error
            if self._ids.of(meta.type, plain) != meta.chunk_id:
                raise ChunkCorruptedInMemory(problem="a chunk's content is not its id's")


def _entries(pack: _OpenPack) -> Entries:
    entries = np.zeros(len(pack.metas), dtype=ENTRY)
    joined = b"".join(meta.chunk_id for meta in pack.metas)
    entries["id"] = np.frombuffer(joined, dtype=np.uint8).reshape(-1, 32)
    entries["type"] = [meta.type for meta in pack.metas]
    entries["codec"] = [meta.codec for meta in pack.metas]
    entries["offset"] = pack.offsets
    entries["stored_bytes"] = [len(part) for part in pack.parts[1:]]
    entries["plain_bytes"] = [meta.plain_bytes for meta in pack.metas]
    return entries


def _digest(parts: list[bytes]) -> bytes:
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def _ignore_existing(put: Callable[[], None]) -> None:
    try:
        put()
    except ObjectExists:
        return
