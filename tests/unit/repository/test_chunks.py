"""Reading many chunks into places: what arrives was verified, from wherever it could be had."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.core.units import KIB
from holdfast.repository import LocalStore, Repository
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.pack import ChunkType, pack_name, unpack_payload
from holdfast.repository.packs import Codecs
from tests.support.damage import flip_bit
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs

_CHUNKS = 60


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """One point of a disk of which half does not compress, in several packs."""
    small_packs(monkeypatch, 32 * KIB)
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    made = Engine.create(store, disks={"vda": _CHUNKS * CHUNK_BYTES})
    chance = random.Random(5)
    for index in range(_CHUNKS):
        content = chance.randbytes(CHUNK_BYTES) if index % 2 else b"%5d" % index * 819 + b"."
        made.vm.disks["vda"].write(index * CHUNK_BYTES, content)
    made.back_up()
    return made


def _opened(engine: Engine) -> tuple[Repository, dict[bytes, bytes]]:
    """With what each chunk of the disk holds."""
    repository = Repository.open(engine.store, CREDENTIAL)
    (point,) = repository.points()
    repository.load_index()
    chunks = repository.disk_map(point.disk("vda")).data_chunks()
    return repository, {chunk_id: repository.chunks.read_known(chunk_id) for _, chunk_id in chunks}


def _places(chunk_ids: list[bytes], length: int = CHUNK_BYTES) -> dict[bytes, memoryview]:
    return {chunk_id: memoryview(bytearray(length)) for chunk_id in chunk_ids}


def test_each_chunk_arrives_in_its_place(engine: Engine) -> None:
    repository, content = _opened(engine)
    places = _places(list(content))
    arrived = dict(repository.chunks.read_into(places))
    assert arrived == content
    assert all(isinstance(data, memoryview) for data in arrived.values())
    assert {chunk_id: bytes(place) for chunk_id, place in places.items()} == content


def test_a_place_that_is_too_short_is_left_alone(engine: Engine) -> None:
    repository, content = _opened(engine)
    places = _places(list(content), CHUNK_BYTES - 1)
    assert dict(repository.chunks.read_into(places)) == content
    assert not any(map(any, places.values()))


def test_a_damaged_chunk_never_arrives(engine: Engine, tmp_path: Path) -> None:
    repository, content = _opened(engine)
    bad = list(content)[7]
    location = repository.chunks.locate(bad, ChunkType.DATA)
    pack = tmp_path / "repository" / pack_name(location.pack_hash)
    flip_bit(pack, (location.offset + location.stored_bytes // 2) * 8)
    arrived: dict[bytes, bytes | memoryview] = {}
    with pytest.raises(ObjectDamaged, match="fails authentication"):
        for chunk_id, data in repository.chunks.read_into(_places(list(content))):
            arrived[chunk_id] = data
    assert bad not in arrived
    assert all(content[chunk_id] == data for chunk_id, data in arrived.items())


def test_a_pack_that_is_gone_is_named(engine: Engine, tmp_path: Path) -> None:
    repository, content = _opened(engine)
    location = repository.chunks.locate(list(content)[7], ChunkType.DATA)
    (tmp_path / "repository" / pack_name(location.pack_hash)).unlink()
    with pytest.raises(ObjectMissing, match=pack_name(location.pack_hash)):
        list(repository.chunks.read_into(_places(list(content))))


def test_groups_are_what_one_request_fetches(engine: Engine) -> None:
    repository, content = _opened(engine)
    wanted = [*enumerate(content), (100, next(iter(content)))]  # one chunk at two places
    groups = list(repository.chunks.together(wanted, most=4))
    assert sorted(item for group in groups for item in group) == sorted(wanted)
    for group in groups:
        assert len(group) <= 4
        assert group == sorted(group)
        packs = {
            repository.chunks.locate(chunk_id, ChunkType.DATA).pack_hash for _, chunk_id in group
        }
        assert len(packs) == 1
    assert len(groups) < len(wanted) // 2


@pytest.mark.parametrize("is_distant", [False, True])
def test_payloads_come_in_order_and_none_of_a_pack_that_is_gone(
    engine: Engine, tmp_path: Path, is_distant: bool
) -> None:
    repository, content = _opened(engine)
    locations = [repository.chunks.locate(chunk_id, ChunkType.DATA) for chunk_id in content]
    locations.sort(key=lambda item: (item.pack_hash, item.offset))
    gone = locations[7].pack_hash
    (tmp_path / "repository" / pack_name(gone)).unlink()
    reader = Repository.open(engine.store, CREDENTIAL).chunks
    reader._is_distant = is_distant  # pyright: ignore[reportPrivateUsage]
    found = list(reader.payloads(locations))
    assert [item for item, _ in found] == locations
    for item, payload in found:
        assert (payload is None) == (item.pack_hash == gone)
        if payload is not None:
            plain = unpack_payload(item.meta, payload, Codecs().decompressor)
            assert plain == content[item.meta.chunk_id]
