"""`config`: the one object readable without a key. Says that this is a repository, of which
format, and which features a program must know to read or to write it."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import cast

from blake3 import blake3

from holdfast.repository.errors import HeaderDamaged, RepositoryTooNew
from holdfast.repository.format import FORMAT_VERSION, MAX_CHUNK_BYTES
from holdfast.repository.format.keys import derive

KNOWN_FEATURES: frozenset[str] = frozenset()
_FIELDS = {"format", "version", "id", "created_at", "chunk_bytes", "features"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryConfig:
    repository_id: uuid.UUID
    created_at: str
    """RFC 3339, UTC."""
    chunk_bytes: int
    """Size of data chunks: a power of two."""
    features: tuple[str, ...] = ()
    """Names a reader or writer must all know, or refuse."""


def encode_config(config: RepositoryConfig, master: bytes) -> bytes:
    """JSON, its SHA-256 (for anyone), its keyed hash (for key holders), a line each."""
    text = config_text(config)
    checksum = hashlib.sha256(text).hexdigest().encode()
    return b"\n".join((text, checksum, keyed_hash(text, master), b""))


def config_text(config: RepositoryConfig) -> bytes:
    """The first line, as this program writes it."""
    return json.dumps(
        {
            "format": "holdfast repository",
            "version": FORMAT_VERSION,
            "id": str(config.repository_id),
            "created_at": config.created_at,
            "chunk_bytes": config.chunk_bytes,
            "features": list(config.features),
        },
        sort_keys=True,
    ).encode()


def decode_config(stored: bytes, *, location: str) -> RepositoryConfig:
    """Raises HeaderDamaged; RepositoryTooNew when it is whole but of a later format, whatever
    else that format may have changed below the first two lines."""
    lines = stored.split(b"\n")
    try:
        document = json.loads(lines[0])
    except (ValueError, RecursionError) as error:
        raise HeaderDamaged(key="config", problem="it is not JSON") from error
    if not isinstance(document, dict):
        raise HeaderDamaged(key="config", problem="it is not an object")
    fields = cast(dict[str, object], document)
    if len(lines) != 4 or hashlib.sha256(lines[0]).hexdigest().encode() != lines[1] or lines[3]:
        raise HeaderDamaged(key="config", problem="its checksum does not match")
    if fields.get("format") != "holdfast repository":
        raise HeaderDamaged(key="config", problem="it is not that of a repository")
    version = fields.get("version")
    if type(version) is not int or version < 1:
        raise HeaderDamaged(key="config", problem="its version is not one")
    if version > FORMAT_VERSION:
        raise RepositoryTooNew(location=location, problem=f"format {version}")
    unknown = [name for name in _features(fields) if name not in KNOWN_FEATURES]
    if unknown:
        raise RepositoryTooNew(location=location, problem="needs " + ", ".join(unknown))
    return _validated(fields)


def _features(fields: dict[str, object]) -> list[str]:
    features = fields.get("features")
    if not isinstance(features, list):
        raise HeaderDamaged(key="config", problem="its features are not a list")
    names = [name for name in cast(list[object], features) if isinstance(name, str)]
    if len(names) != len(cast(list[object], features)):
        raise HeaderDamaged(key="config", problem="its features are not names")
    return names


def _validated(fields: dict[str, object]) -> RepositoryConfig:
    chunk_bytes = fields.get("chunk_bytes")
    if set(fields) != _FIELDS or not isinstance(chunk_bytes, int):
        raise HeaderDamaged(key="config", problem="its fields are not those of a config")
    if not 4096 <= chunk_bytes <= MAX_CHUNK_BYTES or chunk_bytes & (chunk_bytes - 1):
        raise HeaderDamaged(key="config", problem=f"impossible chunk size {chunk_bytes}")
    try:
        repository_id = uuid.UUID(str(fields["id"]))
    except ValueError as error:
        raise HeaderDamaged(key="config", problem="its id is not a UUID") from error
    return RepositoryConfig(
        repository_id=repository_id,
        created_at=str(fields["created_at"]),
        chunk_bytes=chunk_bytes,
        features=tuple(_features(fields)),
    )


def check_config(stored: bytes, master: bytes) -> None:
    """Raise HeaderDamaged unless the holder of the master key wrote this config."""
    lines = stored.split(b"\n")
    if keyed_hash(lines[0], master) != lines[2]:
        raise HeaderDamaged(key="config", problem="it was altered by someone without the key")


def keyed_hash(text: bytes, master: bytes) -> bytes:
    """The third line: 64 hexadecimal digits."""
    return blake3(text, key=derive(master, "config")).hexdigest().encode()
