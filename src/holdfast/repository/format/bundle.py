"""A bundle: the contents of the manifests of many points, repeated in one object so that a list of
points costs few reads. A cache: everything in it is also in the manifests, which never change."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping

import zstandard

from holdfast.core.units import MIB
from holdfast.repository.errors import ObjectDamaged

LONGEST_BUNDLE_BYTES = 64 * MIB
"""Of rows and contents together; more is refused."""
_HEAD = struct.Struct("<II")
_ROW = struct.Struct("<16sI")


def encode_bundle(manifests: Mapping[str, bytes]) -> bytes:
    """`manifests`: at least one content of a manifest object, as it was before it was sealed, by
    the id of its point. Together below `LONGEST_BUNDLE_BYTES`."""
    rows = [_ROW.pack(uuid.UUID(point).bytes, len(text)) for point, text in manifests.items()]
    plain = b"".join([*rows, *manifests.values()])
    return _HEAD.pack(len(manifests), len(plain)) + zstandard.ZstdCompressor().compress(plain)


def decode_bundle(content: bytes, *, key: str) -> dict[str, bytes]:
    """Inverse of `encode_bundle`. What a manifest says is for its decoder to judge."""
    try:
        count, plain_bytes = _HEAD.unpack_from(content)
        if not 0 < count * _ROW.size <= plain_bytes <= LONGEST_BUNDLE_BYTES:
            raise ObjectDamaged(key=key, problem="its sizes are not those of a bundle")
        frame = content[_HEAD.size :]
        if zstandard.frame_content_size(frame) not in {-1, plain_bytes}:
            raise ObjectDamaged(key=key, problem="its length is not the declared one")
        plain = zstandard.ZstdDecompressor().decompress(frame, max_output_size=plain_bytes)
    except (struct.error, zstandard.ZstdError) as error:
        raise ObjectDamaged(key=key, problem="it does not decompress") from error
    manifests: dict[str, bytes] = {}
    position = count * _ROW.size
    for point, size_bytes in _ROW.iter_unpack(plain[:position]):
        name = point.hex()
        name = f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}"
        manifests[name] = plain[position : position + size_bytes]
        position += size_bytes
    if not position == len(plain) == plain_bytes or len(manifests) != count:
        raise ObjectDamaged(key=key, problem="its rows do not describe its contents")
    return manifests
