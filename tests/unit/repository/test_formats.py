"""Every stored format: what is written is read, and anything else is ObjectDamaged or
RepositoryTooNew, never another error."""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import InvalidInput
from holdfast.repository.errors import ObjectDamaged, RepositoryTooNew
from holdfast.repository.format import FORMAT_VERSION
from holdfast.repository.format.config import (
    RepositoryConfig,
    check_config,
    decode_config,
    encode_config,
)
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.index import PackTable, decode_index, encode_index
from holdfast.repository.format.keys import Credential, new_slot, open_slot
from holdfast.repository.format.pack import (
    CHUNK_OVERHEAD_BYTES,
    ENTRY,
    FOOTER_BYTES,
    HEADER_BYTES,
    ChunkCipher,
    ChunkMeta,
    ChunkType,
    Codec,
    decode_footer,
    decode_header,
    decode_table,
    encode_footer,
    encode_header,
    unpack_into,
    unpack_payload,
)
from holdfast.repository.format.point import Manifest, decode_manifest, encode_manifest
from holdfast.repository.format.recovery_kit import (
    format_recovery_key,
    is_recovery_key,
    new_recovery_key,
    parse_recovery_key,
    render_kit,
)
from tests.support.format_samples import MANIFESTS, mutations, sample_manifest

REPOSITORY_ID = bytes(range(16))
MASTER = bytes(range(32))
SLOT = "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000"

# -- samples --------------------------------------------------------------------------------------


def _config() -> RepositoryConfig:
    return RepositoryConfig(
        repository_id=uuid.UUID(bytes=REPOSITORY_ID),
        created_at="2026-01-31T12:00:00.000Z",
        chunk_bytes=65536,
    )


def _table() -> PackTable:
    entries = np.zeros(3, dtype=ENTRY)
    offset = HEADER_BYTES
    for place in range(3):
        chunk_id = np.full(32, place, dtype=np.uint8)
        entries[place] = (chunk_id, ChunkType.DATA, Codec.ZSTD, 0, offset, 100, 4096)
        offset += 100
    size = offset + 3 * ENTRY.itemsize + CHUNK_OVERHEAD_BYTES + FOOTER_BYTES
    return PackTable(pack_hash=bytes(range(32)), pack_bytes=size, entries=entries)


# -- round trips ----------------------------------------------------------------------------------


@given(MANIFESTS)
def test_manifest_round_trip(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest), key="points/x") == manifest


@given(st.binary(max_size=300), st.sampled_from(list(Kind)), st.text(max_size=20))
def test_envelope_round_trip(plain: bytes, kind: Kind, name: str) -> None:
    sealer = Sealer(REPOSITORY_ID, MASTER)
    stored = sealer.seal(kind, name, plain)
    assert sealer.open(kind, name, stored, key="k") == plain
    assert len(plain) < 8 or plain not in stored[32:]
    others = [
        (
            Sealer(REPOSITORY_ID, MASTER),
            Kind.SENTINEL if kind is not Kind.SENTINEL else Kind.MARK,
            name,
        ),
        (Sealer(REPOSITORY_ID, MASTER), kind, name + "x"),
        (Sealer(bytes(16), MASTER), kind, name),
        (Sealer(REPOSITORY_ID, bytes(32)), kind, name),
    ]
    for other, other_kind, other_name in others:
        with pytest.raises(ObjectDamaged):
            other.open(other_kind, other_name, stored, key="k")


@pytest.mark.parametrize("chunk_bytes", [4096, 65536, 16 * 1024 * 1024])
def test_config_round_trip(chunk_bytes: int) -> None:
    config = RepositoryConfig(
        repository_id=uuid.uuid4(), created_at="2026-01-31T12:00:00.000Z", chunk_bytes=chunk_bytes
    )
    stored = encode_config(config, MASTER)
    assert decode_config(stored, location="x") == config
    check_config(stored, MASTER)
    with pytest.raises(ObjectDamaged):
        check_config(stored, bytes(32))


@given(
    st.binary(min_size=1, max_size=500),
    st.sampled_from(list(ChunkType)),
    st.integers(0, 2**64 - 1),
)
def test_sealed_chunk_round_trip(plain: bytes, kind: ChunkType, nonce: int) -> None:
    cipher = ChunkCipher(REPOSITORY_ID, MASTER, bytes(32))
    payload = zstandard.ZstdCompressor().compress(plain)
    for codec, content in ((Codec.RAW, plain), (Codec.ZSTD, payload)):
        meta = ChunkMeta(chunk_id=bytes(32), type=kind, codec=codec, plain_bytes=len(plain))
        opened = cipher.open(meta, cipher.seal(meta, nonce, content))
        assert unpack_payload(meta, opened, zstandard.ZstdDecompressor()) == plain
        area = memoryview(bytearray(b"\xff" * 600))
        placed = unpack_into(meta, opened, zstandard.ZstdDecompressor(), area)
        assert placed == plain == area[: len(plain)]
        assert set(area[len(plain) :]) == {0xFF}


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("length", [99, 101])
def test_a_chunk_of_another_length_than_declared(codec: Codec, length: int) -> None:
    plain = bytes(range(length))
    payload = plain if codec is Codec.RAW else zstandard.ZstdCompressor().compress(plain)
    meta = ChunkMeta(chunk_id=bytes(32), type=ChunkType.DATA, codec=codec, plain_bytes=100)
    area = memoryview(bytearray(b"\xff" * 200))
    with pytest.raises(ValueError, match=r"decompress|length"):
        unpack_payload(meta, payload, zstandard.ZstdDecompressor())
    with pytest.raises(ValueError, match=r"decompress|length"):
        unpack_into(meta, payload, zstandard.ZstdDecompressor(), area)
    assert set(area[100:]) == {0xFF}


def test_what_is_no_frame_is_not_unpacked() -> None:
    meta = ChunkMeta(chunk_id=bytes(32), type=ChunkType.DATA, codec=Codec.ZSTD, plain_bytes=100)
    with pytest.raises(ValueError, match="decompress"):
        unpack_into(meta, b"x" * 80, zstandard.ZstdDecompressor(), memoryview(bytearray(100)))


def test_a_bomb_is_not_unpacked_beyond_its_declared_length() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(200 * 1024 * 1024))
    meta = ChunkMeta(chunk_id=bytes(32), type=ChunkType.DATA, codec=Codec.ZSTD, plain_bytes=4096)
    with pytest.raises(ValueError, match=r"decompress|length"):
        unpack_payload(meta, bomb, zstandard.ZstdDecompressor())


# -- garbled input --------------------------------------------------------------------------------


def _sealed_table() -> tuple[bytes, bytes]:
    header = encode_header(REPOSITORY_ID, bytes(32))
    cipher = ChunkCipher(REPOSITORY_ID, MASTER, bytes(32))
    return header, cipher.seal_table(_table().entries, 9, header)


def _open_table(stored: bytes) -> object:
    header, _ = _sealed_table()
    cipher = ChunkCipher(REPOSITORY_ID, MASTER, bytes(32))
    return decode_table(cipher, header, stored, 3, _table().pack_bytes, key="k")


def _open_config(stored: bytes) -> object:
    config = decode_config(stored, location="x")
    check_config(stored, MASTER)
    return config


_RECOVERY = Credential(kind="recovery", secret=bytes(32))
_FOOTER = encode_footer(3 * ENTRY.itemsize + CHUNK_OVERHEAD_BYTES, 3)
_SEALER = Sealer(REPOSITORY_ID, MASTER)
_DECODERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "config": (encode_config(_config(), MASTER), _open_config),
    "manifest": (encode_manifest(sample_manifest()), lambda data: decode_manifest(data, key="k")),
    "index": (encode_index([_table(), _table()]), lambda data: decode_index(data, key="k")),
    "envelope": (
        _SEALER.seal(Kind.POINT, "n", b"plain"),
        lambda data: _SEALER.open(Kind.POINT, "n", data, key="k"),
    ),
    "pack_header": (
        encode_header(REPOSITORY_ID, bytes(32)),
        lambda data: decode_header(data, REPOSITORY_ID, key="k"),
    ),
    "pack_footer": (_FOOTER, lambda data: decode_footer(data, 10_000, key="k")),
    "pack_table": (_sealed_table()[1], _open_table),
    "key_slot": (
        new_slot(REPOSITORY_ID, SLOT, MASTER, _RECOVERY),
        lambda data: open_slot(REPOSITORY_ID, SLOT, data, _RECOVERY),
    ),
}
_AUTHENTIC = {"config", "envelope", "pack_table", "key_slot"}
"""Formats in which no changed byte goes unnoticed; the others lie inside an envelope or pack."""


@pytest.mark.parametrize("name", sorted(_DECODERS))
@given(data=st.data())
def test_garbled_bytes_are_damage_and_nothing_else(name: str, data: st.DataObject) -> None:
    valid, decode = _DECODERS[name]
    decode(valid)
    garbled = data.draw(mutations(valid))
    try:
        decode(garbled)
    except (ObjectDamaged, RepositoryTooNew):
        return
    assert garbled == valid or name not in _AUTHENTIC


@pytest.mark.parametrize("name", sorted(_DECODERS))
def test_every_truncation_is_damage(name: str) -> None:
    valid, decode = _DECODERS[name]
    for length in range(len(valid)):
        with pytest.raises(ObjectDamaged):
            decode(valid[:length])


@pytest.mark.parametrize("name", sorted(_AUTHENTIC))
def test_every_flipped_bit_is_found(name: str) -> None:
    valid, decode = _DECODERS[name]
    for place in range(len(valid)):
        garbled = bytearray(valid)
        garbled[place] ^= 1 << place % 8
        with pytest.raises((ObjectDamaged, RepositoryTooNew)):
            decode(bytes(garbled))


@pytest.mark.parametrize(
    "text",
    [b"1e400", b"-1", b"[]", b'"many"', b"null", b"{}", b"NaN", b"Infinity", b"[" * 100_000],
    ids=lambda text: text[:9].decode(),
)
@pytest.mark.parametrize("field", [b"5242880", b"65536", b'"vda"', b"true", b"[{", b"1"])
def test_a_manifest_of_wrong_values_is_damage(text: bytes, field: bytes) -> None:
    """Only whoever has the key can make one, but a reader must end in an error it knows."""
    garbled = encode_manifest(sample_manifest()).replace(field, text, 1)
    with suppress(ObjectDamaged):
        decode_manifest(garbled, key="k")


def test_a_later_format_is_told_apart_from_damage() -> None:
    text = encode_config(_config(), MASTER).split(b"\n")[0]
    document = json.loads(text)
    for changes in ({"version": FORMAT_VERSION + 1}, {"features": ["time-travel"]}):
        later = json.dumps({**document, **changes}).encode()
        stored = b"\n".join((later, hashlib.sha256(later).hexdigest().encode(), b"x", b""))
        with pytest.raises(RepositoryTooNew) as raised:
            decode_config(stored, location="here")
        assert raised.value.location == "here"


def test_an_index_that_promises_too_much_is_damage() -> None:
    valid = encode_index([_table()])
    for count in (2, 2**31, 2**32 - 1):
        with pytest.raises(ObjectDamaged):
            decode_index(struct.pack("<I", count) + valid[4:], key="k")


# -- keys -----------------------------------------------------------------------------------------


def test_a_passphrase_opens_its_slot_only() -> None:
    right, wrong = Credential.passphrase("correct horse"), Credential.passphrase("Correct horse")
    slot = new_slot(REPOSITORY_ID, SLOT, MASTER, right)
    assert MASTER not in slot
    assert open_slot(REPOSITORY_ID, SLOT, slot, right) == MASTER
    assert open_slot(REPOSITORY_ID, SLOT, slot, wrong) is None
    assert open_slot(bytes(16), SLOT, slot, right) is None
    assert open_slot(REPOSITORY_ID, SLOT, slot, new_recovery_key()) is None
    with pytest.raises(ObjectDamaged):
        open_slot(REPOSITORY_ID, SLOT.replace("0", "1"), slot, right)


def test_a_recovery_key_opens_its_slot_only() -> None:
    right, wrong = new_recovery_key(), new_recovery_key()
    slot = new_slot(REPOSITORY_ID, SLOT, MASTER, right)
    assert open_slot(REPOSITORY_ID, SLOT, slot, right) == MASTER
    assert open_slot(REPOSITORY_ID, SLOT, slot, wrong) is None
    assert open_slot(REPOSITORY_ID, SLOT, slot, Credential.passphrase("x")) is None


def test_a_credential_shows_no_secret() -> None:
    credential = Credential.passphrase("hunter2")
    assert "hunter2" not in f"{credential!r} {credential}"


@given(st.binary(min_size=32, max_size=32))
def test_recovery_key_text_round_trip(secret: bytes) -> None:
    key = Credential(kind="recovery", secret=secret)
    text = format_recovery_key(key)
    assert is_recovery_key(text)
    for spelling in (text, text.lower(), text.replace("-", ""), f"  {text.replace('-', ' - ')}\n"):
        assert parse_recovery_key(spelling) == key


@given(st.binary(min_size=32, max_size=32), st.data())
def test_a_typing_error_in_a_recovery_key_is_noticed(secret: bytes, data: st.DataObject) -> None:
    """One wrong character, one missing, or two neighbours swapped."""
    text = format_recovery_key(Credential(kind="recovery", secret=secret))
    body = list(text.removeprefix("HFK1-").replace("-", ""))
    place = data.draw(st.integers(0, len(body) - 2))
    kind = data.draw(st.sampled_from(["wrong", "missing", "swapped", "doubled"]))
    before = list(body)
    if kind == "wrong":
        body[place] = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ2345670189!"))
    elif kind == "missing":
        del body[place]
    elif kind == "doubled":
        body.insert(place, body[place])
    else:
        body[place], body[place + 1] = body[place + 1], body[place]
    if body == before:
        return
    with pytest.raises(InvalidInput):
        parse_recovery_key("HFK1-" + "".join(body))


def test_the_kit_holds_the_key() -> None:
    key = new_recovery_key()
    kit = render_kit(key, uuid.uuid4(), "/backups", "2026-01-31T12:00:00.000Z")
    line = next(line for line in kit.splitlines() if is_recovery_key(line))
    assert parse_recovery_key(line) == key
