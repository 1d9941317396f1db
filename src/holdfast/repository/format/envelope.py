"""The envelope around every small object: sentinel, index, restore point, lease, mark, data key.

A 32-byte header, a random nonce, then AES-256-GCM. The associated data binds the format version,
the kind of object, the repository and the object's name, so that an object can neither be altered
nor pass for one of another kind, place or repository.
"""

from __future__ import annotations

import os
import struct
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.keys import derive

MAGIC = b"HFOBJ\r\n\x1a"
_HEADER = struct.Struct("<8sBB6x16s")
_NONCE_BYTES = 12
_TAG_BYTES = 16
OVERHEAD_BYTES = _HEADER.size + _NONCE_BYTES + _TAG_BYTES


class Kind(IntEnum):
    """What an envelope holds. Numbers are on disk: never reuse one."""

    SENTINEL = 3
    INDEX = 5
    POINT = 6
    LEASE = 7
    MARK = 8
    TOMBSTONE = 9
    VERIFIED = 10
    HOLD = 11
    DATAKEY = 12
    IMMUTABILITY = 13
    LOCKS = 14
    CANARY = 15
    BUNDLE = 16


def owner_of(stored: bytes) -> bytes | None:
    """The repository that an envelope says it belongs to, without a key and so unproven; None when
    it is no envelope."""
    if len(stored) < OVERHEAD_BYTES or not stored.startswith(MAGIC):
        return None
    return _HEADER.unpack(stored[: _HEADER.size])[3]


class Sealer:
    """Seals and opens envelopes of one repository. Thread-safe; holds derived keys only."""

    def __init__(self, repository_id: bytes, master: bytes) -> None:
        self._repository_id = repository_id
        self._ciphers = {
            kind: AESGCM(derive(master, f"envelope {kind.name.lower()}")) for kind in Kind
        }

    def seal(self, kind: Kind, name: str, plaintext: bytes) -> bytes:
        """Stored bytes of the object called `name` ("" where the name is a hash of these)."""
        header = _HEADER.pack(MAGIC, 1, kind, self._repository_id)
        nonce = os.urandom(_NONCE_BYTES)
        return (
            header + nonce + self._ciphers[kind].encrypt(nonce, plaintext, header + name.encode())
        )

    def open(self, kind: Kind, name: str, stored: bytes, *, key: str) -> bytes:
        """The plaintext. `key` is the object's key in the store, for the error.

        Raises ObjectDamaged for anything that was not sealed here under this kind and name.
        """
        if len(stored) < OVERHEAD_BYTES:
            raise ObjectDamaged(key=key, problem=f"it is only {len(stored)} bytes long")
        header = stored[: _HEADER.size]
        magic, version, stored_kind, repository_id = _HEADER.unpack(header)
        if magic != MAGIC or version != 1 or stored_kind != kind:
            raise ObjectDamaged(key=key, problem="its header is not that of such an object")
        if repository_id != self._repository_id:
            raise ObjectDamaged(key=key, problem="it belongs to another repository")
        if header != _HEADER.pack(MAGIC, 1, kind, self._repository_id):
            raise ObjectDamaged(key=key, problem="its header has been altered")
        nonce = stored[_HEADER.size : _HEADER.size + _NONCE_BYTES]
        try:
            return self._ciphers[kind].decrypt(
                nonce, stored[_HEADER.size + _NONCE_BYTES :], header + name.encode()
            )
        except InvalidTag as error:
            raise ObjectDamaged(key=key, problem="it fails authentication") from error
