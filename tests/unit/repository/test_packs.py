"""The write path of chunks: stored once, checked before it is put (T8), from many threads."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest
import zstandard

from holdfast.core.errors import OutOfSpace
from holdfast.repository import packs as packs_module
from holdfast.repository.chunks import ChunkReader
from holdfast.repository.data_keys import DataKey, DataKeys
from holdfast.repository.errors import ChunkCorruptedInMemory, ChunkMissing, ObjectDamaged
from holdfast.repository.format.envelope import Sealer
from holdfast.repository.format.pack import ChunkCipher, ChunkIds, ChunkType
from holdfast.repository.index import ChunkIndex
from holdfast.repository.pack_tables import PackTables
from holdfast.repository.packs import PackWriter
from holdfast.repository.store.store import ObjectStore
from tests.support.memory_store import FaultyStore, MemoryStore

REPOSITORY_ID = bytes(range(16))
MASTER = bytes(range(32))
IDS = ChunkIds(MASTER)


def _writer(
    store: ObjectStore, index: ChunkIndex | None = None, pack_bytes: int = 64 * 1024
) -> PackWriter:
    return PackWriter(
        store=store,
        index=ChunkIndex() if index is None else index,
        ids=IDS,
        repository_id=REPOSITORY_ID,
        data_key=DataKey(generation=0, secret=MASTER),
        pack_bytes=pack_bytes,
    )


def _data_keys(store: ObjectStore) -> DataKeys:
    return DataKeys(store, Sealer(REPOSITORY_ID, MASTER), REPOSITORY_ID, MASTER)


def _reader(store: ObjectStore, index: ChunkIndex) -> ChunkReader:
    return ChunkReader(
        store=store,
        index=index,
        ids=IDS,
        repository_id=REPOSITORY_ID,
        data_keys=_data_keys(store),
        recover=lambda: None,
    )


def _chunks(count: int, seed: int = 1) -> list[bytes]:
    """Half of them compress."""
    chance = random.Random(seed)
    return [
        chance.randbytes(chance.randrange(1, 6000))
        if number % 2
        else chance.randbytes(20) * chance.randrange(1, 300)
        for number in range(count)
    ]


def test_what_was_stored_is_read() -> None:
    store, index = MemoryStore(), ChunkIndex()
    writer = _writer(store, index)
    written = {
        writer.store(kind, data)[0]: (kind, data)
        for kind in ChunkType
        for data in _chunks(50, kind)
    }
    writer.flush()
    reader = _reader(store, index)
    for chunk_id, (kind, data) in written.items():
        assert reader.read(chunk_id, kind) == data
        assert chunk_id == IDS.of(kind, data)
    data_ids = [chunk for chunk, (kind, _) in written.items() if kind is ChunkType.DATA]
    many = dict(reader.read_many([*data_ids, data_ids[0]]))
    assert many == {chunk: written[chunk][1] for chunk in data_ids}


def test_the_table_of_a_pack_says_what_the_index_says() -> None:
    store = MemoryStore()
    writer = _writer(store)
    for data in _chunks(40):
        writer.store(ChunkType.DATA, data)
    written = {table.pack_hash: table for table in writer.flush()}
    tables = PackTables(store, REPOSITORY_ID, _data_keys(store))
    assert {pack_hash for pack_hash, _ in tables.packs()} == set(written)
    for pack_hash, info in tables.packs():
        table = tables.read(pack_hash, info.size_bytes)
        assert table.entries.tobytes() == written[pack_hash].entries.tobytes()
        assert table.pack_bytes == written[pack_hash].pack_bytes == info.size_bytes


def test_a_chunk_of_another_type_is_another_chunk() -> None:
    store, index = MemoryStore(), ChunkIndex()
    writer = _writer(store, index)
    as_data, _ = writer.store(ChunkType.DATA, b"the same bytes")
    as_map, _ = writer.store(ChunkType.MAP, b"the same bytes")
    writer.flush()
    assert as_data != as_map
    reader = _reader(store, index)
    with pytest.raises(ChunkMissing):
        reader.read(as_data, ChunkType.MAP)


def test_known_chunks_are_not_stored_again() -> None:
    store, index = MemoryStore(), ChunkIndex()
    for round_number in range(3):
        writer = _writer(store, index)
        sizes = [writer.store(ChunkType.DATA, data)[1] for data in _chunks(30)]
        writer.flush()
        assert all(sizes) if round_number == 0 else not any(sizes)


def test_eight_threads_store_each_chunk_once() -> None:
    store, index = MemoryStore(), ChunkIndex()
    writer = _writer(store, index, pack_bytes=20_000)
    chunks = _chunks(300)
    barrier, new = threading.Barrier(8), list[int]()

    def work(seed: int) -> None:
        mine = list(chunks)
        random.Random(seed).shuffle(mine)
        barrier.wait()
        for data in mine:
            new.append(writer.store(ChunkType.DATA, data)[1])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tables = writer.flush()
    ids = [row["id"].tobytes() for table in tables for row in table.entries]
    assert sorted(ids) == sorted({IDS.of(ChunkType.DATA, data) for data in chunks})
    assert sum(1 for size in new if size) == len(ids)
    assert sum(new) == writer.stored_bytes
    reader = _reader(store, index)
    for data in chunks:
        assert reader.read(IDS.of(ChunkType.DATA, data)) == data


def test_nothing_is_known_before_it_is_durable() -> None:
    store = FaultyStore(MemoryStore())
    index = ChunkIndex()
    writer = _writer(store, index, pack_bytes=1 << 20)
    chunk_id, _ = writer.store(ChunkType.DATA, b"x" * 1000)
    assert index.find(chunk_id) is None
    store.fail("put_new", OutOfSpace(location="memory"))
    with pytest.raises(OutOfSpace):
        writer.flush()
    assert index.find(chunk_id) is None
    assert index.unnamed == []


def test_the_buffer_is_the_callers_again() -> None:
    store, index = MemoryStore(), ChunkIndex()
    writer = _writer(store, index)
    buffer = bytearray(b"first" * 100)
    first, _ = writer.store(ChunkType.DATA, memoryview(buffer))
    random_bytes = random.Random(1).randbytes(500)
    buffer[:] = random_bytes
    second, _ = writer.store(ChunkType.DATA, memoryview(buffer))
    buffer[:] = bytes(500)
    writer.flush()
    reader = _reader(store, index)
    assert reader.read(first) == b"first" * 100
    assert reader.read(second) == random_bytes


def test_an_empty_flush_puts_nothing() -> None:
    store = MemoryStore()
    assert _writer(store).flush() == []
    assert store.objects == {}


# -- T8: one bit flips somewhere between hash and put ---------------------------------------------


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


class _FlippingCompressor:
    def __init__(self, chance: random.Random) -> None:
        self._real = zstandard.ZstdCompressor(level=1, write_content_size=False)
        self._chance = chance

    def compress(self, data: bytes) -> bytes:
        return _flip(self._real.compress(data), self._chance)


def _in_source_after_hash(patch: pytest.MonkeyPatch, chance: random.Random) -> None:
    real = packs_module.PackWriter.store_known

    def store_known(self: PackWriter, kind: ChunkType, chunk_id: bytes, data: bytes) -> int:
        return real(self, kind, chunk_id, _flip(bytes(data), chance))

    patch.setattr(packs_module.PackWriter, "store_known", store_known)


def _in_compressor(patch: pytest.MonkeyPatch, chance: random.Random) -> None:
    def codecs_init(self: packs_module.Codecs) -> None:
        vars(self)["compressor"] = _FlippingCompressor(chance)
        vars(self)["decompressor"] = zstandard.ZstdDecompressor()

    patch.setattr(packs_module.Codecs, "__init__", codecs_init)


def _in_cipher(patch: pytest.MonkeyPatch, chance: random.Random) -> None:
    real = ChunkCipher.seal

    def seal(self: ChunkCipher, *arguments: object) -> bytes:
        return _flip(real(self, *arguments), chance)  # pyright: ignore[reportArgumentType]

    patch.setattr(ChunkCipher, "seal", seal)


def _before_cipher(patch: pytest.MonkeyPatch, chance: random.Random) -> None:
    real = ChunkCipher.seal

    def seal(self: ChunkCipher, meta: object, nonce: int, payload: bytes) -> bytes:
        damaged = _flip(bytes(payload), chance)
        return real(self, meta, nonce, damaged)  # pyright: ignore[reportArgumentType]

    patch.setattr(ChunkCipher, "seal", seal)


Breaker = Callable[[pytest.MonkeyPatch, random.Random], None]


@pytest.mark.parametrize(
    "breaker", [_in_source_after_hash, _in_compressor, _before_cipher, _in_cipher]
)
def test_a_flipped_bit_is_caught_before_it_is_stored(breaker: Breaker) -> None:
    """125 flips a place, 500 in all: each must stop its pack."""
    chance, harmless = random.Random(8), 0
    with pytest.MonkeyPatch.context() as patch:
        breaker(patch, chance)
        for number in range(125):
            store = MemoryStore()
            writer = _writer(store)
            # Compressible, so that the codec is used; flips in what zstd ignores change nothing.
            data = chance.randbytes(30) * (10 + number)
            chunk_id, _ = writer.store(ChunkType.DATA, data)
            try:
                writer.flush()
            except ChunkCorruptedInMemory:
                assert store.objects == {}
                continue
            index = ChunkIndex()
            tables = PackTables(store, REPOSITORY_ID, _data_keys(store))
            stored = {pack: info.size_bytes for pack, info in tables.packs()}
            index.load(tables.unknown(stored, known=[]))
            assert breaker in (_in_compressor, _before_cipher), "the flip was not noticed"
            harmless += 1
            assert _reader(store, index).read(chunk_id) == data
    assert harmless < 40, "bits that zstd does not look at"


def test_a_flip_in_a_stored_pack_is_found_when_read() -> None:
    chance = random.Random(9)
    store, index = MemoryStore(), ChunkIndex()
    writer = _writer(store, index)
    chunk_id, _ = writer.store(ChunkType.DATA, chance.randbytes(3000))
    writer.flush()
    (key,) = store.objects
    whole = store.get(key)
    location = index.find(chunk_id)
    assert location is not None
    for _ in range(200):
        place = location.offset + chance.randrange(location.stored_bytes)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        store.replace(key, bytes(damaged))
        with pytest.raises(ObjectDamaged):
            _reader(store, index).read(chunk_id)
    store.replace(key, whole)
    assert len(_reader(store, index).read(chunk_id)) == 3000


def test_a_chunk_stored_under_the_id_of_another_is_found_when_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Well sealed and well compressed, but wrong before that, and the check before the put missed
    it: the reader's own hash is the last line."""
    _in_source_after_hash(monkeypatch, random.Random(10))

    def check(_self: PackWriter, _pack: object) -> None: ...

    monkeypatch.setattr(PackWriter, "_check", check)
    store, index = MemoryStore(), ChunkIndex()
    writer = _writer(store, index)
    chunk_id, _ = writer.store(ChunkType.DATA, b"content" * 100)
    writer.flush()
    with pytest.raises(ObjectDamaged, match="not the one it should be"):
        _reader(store, index).read(chunk_id)
