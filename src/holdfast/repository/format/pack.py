"""A pack: many sealed chunks in one object named by the hash of its bytes.

Header, sealed chunks end to end, a sealed table of them, a footer. Each chunk and the table are
sealed under a key derived for the writing session (its salt is in the header) with a nonce that
is never used twice in that session. The key is derived from the data key that the header names.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

import numpy as np
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format import MAX_CHUNK_BYTES
from holdfast.repository.format.keys import derive

MAGIC = b"HFPACK1\n"
_FOOTER_MAGIC = b"HFPKEND\n"
_HEADER = struct.Struct("<8sHI2x16s32s")
_FOOTER = struct.Struct("<II8s")
_AAD = struct.Struct("<16sBBBI32s")
HEADER_BYTES = _HEADER.size
FOOTER_BYTES = _FOOTER.size
SALT_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
CHUNK_OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES
ID_BYTES = 32
MAX_PACK_BYTES = 256 * 1024 * 1024
_PACK_KIND = 4
_VERSION, _ROTATED_VERSION = 1, 2
"""Version 2 has the generation of a data key where version 1 has reserved bytes."""

ZERO_ID = bytes(ID_BYTES)
"""Stands in a map for a chunk (or a whole subtree) of zeroes, which is stored nowhere."""


class ChunkType(IntEnum):
    """What a chunk means. Each type has its own id key, so that guest data can never pass for
    structure. Numbers are on disk."""

    DATA = 1
    MAP = 2
    ARTIFACT = 3


class Codec(IntEnum):
    RAW = 0
    ZSTD = 1


ENTRY = np.dtype(
    [
        ("id", "u1", (ID_BYTES,)),
        ("type", "u1"),
        ("codec", "u1"),
        ("reserved", "<u2"),
        ("offset", "<u4"),
        ("stored_bytes", "<u4"),
        ("plain_bytes", "<u4"),
    ]
)
"""One row of a pack's table, 48 bytes. `offset` and `stored_bytes` include nonce and tag."""

Entries = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkMeta:
    """What is needed to open a sealed chunk besides its bytes."""

    chunk_id: bytes
    type: ChunkType
    codec: Codec
    plain_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackHeader:
    """What a pack says of the key that it is sealed under."""

    salt: bytes
    """Of the writing session: the same in all its packs."""
    generation: int
    """Number of the data key; 0 for the master key itself, as in a repository whose data key was
    never rotated."""


class ChunkIds:
    """Keyed BLAKE3 of the plaintext, one key a chunk type. Thread-safe."""

    def __init__(self, master: bytes) -> None:
        self._keys = {kind: derive(master, f"chunk id {kind.name.lower()}") for kind in ChunkType}

    def of(self, kind: ChunkType, plaintext: bytes | memoryview | bytearray) -> bytes:
        return blake3(plaintext, key=self._keys[kind]).digest()


class ChunkCipher:
    """Seals and opens the chunks of one writing session. Thread-safe."""

    def __init__(self, repository_id: bytes, data_key: bytes, salt: bytes) -> None:
        self._repository_id = repository_id
        self.salt = salt
        self._cipher = AESGCM(derive(data_key, "pack session", salt))

    def seal(self, meta: ChunkMeta, nonce: int, payload: bytes | memoryview) -> bytes:
        """Nonce, ciphertext, tag. `nonce` must never repeat under this cipher's salt."""
        raw = nonce.to_bytes(NONCE_BYTES, "little")
        return raw + self._cipher.encrypt(raw, payload, self._aad(meta))

    def open(self, meta: ChunkMeta, stored: bytes | memoryview) -> bytes:
        """The payload (still compressed). Raises InvalidTag."""
        return self._cipher.decrypt(
            bytes(stored[:NONCE_BYTES]), stored[NONCE_BYTES:], self._aad(meta)
        )

    def seal_table(self, entries: Entries, nonce: int, header: bytes) -> bytes:
        raw = nonce.to_bytes(NONCE_BYTES, "little")
        aad = header + b"table" + struct.pack("<I", len(entries))
        return raw + self._cipher.encrypt(raw, entries.tobytes(), aad)

    def open_table(self, stored: bytes, count: int, header: bytes) -> bytes:
        aad = header + b"table" + struct.pack("<I", count)
        return self._cipher.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], aad)

    def _aad(self, meta: ChunkMeta) -> bytes:
        return _AAD.pack(
            self._repository_id,
            _PACK_KIND,
            meta.type,
            meta.codec,
            meta.plain_bytes,
            meta.chunk_id,
        )


def pack_name(stored_hash: bytes) -> str:
    """Key of the pack whose bytes hash to `stored_hash` (BLAKE3, no key)."""
    name = stored_hash.hex()
    return f"packs/{name[:2]}/{name}"


def encode_header(repository_id: bytes, salt: bytes, generation: int = 0) -> bytes:
    version = _ROTATED_VERSION if generation else _VERSION
    return _HEADER.pack(MAGIC, version, generation, repository_id, salt)


def encode_footer(table_bytes: int, count: int) -> bytes:
    return _FOOTER.pack(table_bytes, count, _FOOTER_MAGIC)


def decode_header(header: bytes, repository_id: bytes, *, key: str) -> PackHeader:
    """Raises ObjectDamaged."""
    if len(header) < HEADER_BYTES:
        raise ObjectDamaged(key=key, problem="it is shorter than a pack's header")
    magic, version, generation, owner, salt = _HEADER.unpack(header[:HEADER_BYTES])
    is_version = version == (_ROTATED_VERSION if generation else _VERSION)
    if magic != MAGIC or not is_version or header[14:16] != bytes(2):
        raise ObjectDamaged(key=key, problem="its header is not that of a pack")
    if owner != repository_id:
        raise ObjectDamaged(key=key, problem="it belongs to another repository")
    return PackHeader(salt=salt, generation=generation)


def decode_footer(footer: bytes, pack_bytes: int, *, key: str) -> tuple[int, int]:
    """`(table_bytes, count)`, checked against the size of the pack. Raises ObjectDamaged."""
    if len(footer) != FOOTER_BYTES:
        raise ObjectDamaged(key=key, problem="it is shorter than a pack's footer")
    table_bytes, count, magic = _FOOTER.unpack(footer)
    if magic != _FOOTER_MAGIC:
        raise ObjectDamaged(key=key, problem="its end is not that of a pack")
    if table_bytes != count * ENTRY.itemsize + CHUNK_OVERHEAD_BYTES or (
        table_bytes + HEADER_BYTES + FOOTER_BYTES > pack_bytes
    ):
        raise ObjectDamaged(key=key, problem="its table has an impossible length")
    return table_bytes, count


def decode_table(
    cipher: ChunkCipher, header: bytes, stored: bytes, count: int, pack_bytes: int, *, key: str
) -> Entries:
    """The rows, checked to cover the pack without gap or overlap. Raises ObjectDamaged."""
    try:
        plain = cipher.open_table(stored, count, header)
    except (InvalidTag, ValueError) as error:  # ValueError: too short for a nonce
        raise ObjectDamaged(key=key, problem="its table fails authentication") from error
    entries = cast(Entries, np.frombuffer(plain, dtype=ENTRY))
    check_entries(entries, pack_bytes, key=key)
    return entries


_LAST_CODEC = int(max(Codec))
_FIRST_TYPE, _LAST_TYPE = int(min(ChunkType)), int(max(ChunkType))


def check_entries(entries: Entries, pack_bytes: int, *, key: str) -> None:
    """Raise ObjectDamaged unless the rows tile the pack between header and table."""
    offsets = entries["offset"].astype(np.int64)
    lengths = entries["stored_bytes"].astype(np.int64)
    ends = offsets + lengths
    table_start = pack_bytes - FOOTER_BYTES - len(entries) * ENTRY.itemsize - CHUNK_OVERHEAD_BYTES
    tiled = (
        len(entries) > 0
        and offsets[0] == HEADER_BYTES
        and bool((ends[:-1] == offsets[1:]).all())
        and ends[-1] == table_start
    )
    sane = (
        bool((entries["plain_bytes"] <= MAX_CHUNK_BYTES).all())
        and bool((entries["plain_bytes"] > 0).all())
        and bool((entries["codec"] <= _LAST_CODEC).all())
        and bool((entries["type"] >= _FIRST_TYPE).all())
        and bool((entries["type"] <= _LAST_TYPE).all())
        and not bool(entries["reserved"].any())
        and bool((lengths > CHUNK_OVERHEAD_BYTES).all())
    )
    if not tiled or not sane:
        raise ObjectDamaged(key=key, problem="its table does not describe its contents")


def unpack_payload(
    meta: ChunkMeta, payload: bytes, decompressor: zstandard.ZstdDecompressor
) -> bytes:
    """The plaintext of an opened chunk, never more than its declared length. `unpack_into` is the
    same without memory of its own.

    `decompressor` is one thread's. Raises ValueError when the payload is not that of the chunk.
    """
    if meta.codec is Codec.RAW:
        plain = payload
    else:
        try:
            plain = decompressor.decompress(payload, max_output_size=meta.plain_bytes)
        except zstandard.ZstdError as error:
            raise ValueError("it does not decompress") from error
    if len(plain) != meta.plain_bytes:
        raise ValueError("its length is not the declared one")
    return plain


def unpack_into(
    meta: ChunkMeta, payload: bytes, decompressor: zstandard.ZstdDecompressor, area: memoryview
) -> memoryview:
    """The plaintext of an opened chunk, as the part of `area` that now holds it. `area` is at
    least as long as the chunk; what it holds after an error is not defined.

    `decompressor` is one thread's. Raises ValueError when the payload is not that of the chunk.
    """
    plain = area[: meta.plain_bytes]
    if meta.codec is Codec.RAW:
        if len(payload) != len(plain):
            raise ValueError("its length is not the declared one")
        plain[:] = payload
        return plain
    try:
        stream = cast(Any, decompressor.stream_reader(payload))  # its stub lacks readinto's type
        is_whole: bool = stream.readinto(plain) == len(plain) and not stream.read(1)
    except zstandard.ZstdError as error:
        raise ValueError("it does not decompress") from error
    if not is_whole:
        raise ValueError("its length is not the declared one")
    return plain
