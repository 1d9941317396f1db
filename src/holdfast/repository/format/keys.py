"""Keys: one random master key a repository, derived keys for each purpose, and key slots that wrap
the master key for a passphrase or a recovery key. Pure apart from the random source."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import threading
from dataclasses import dataclass
from typing import cast

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from holdfast.repository.errors import ObjectDamaged

KEY_BYTES = 32
_CONTEXT = "holdfast repository v1 "
_ARGON2_MEMORY_KIB = 64 * 1024
_ARGON2_PASSES = 3
_ARGON2_LANES = 4
_ARGON2_LIMITS = {"memory_kib": 1024 * 1024, "passes": 16, "lanes": 16}
"""A slot asking for more is refused: a hostile slot must not exhaust the reader."""
_ARGON2_KIB_PER_LANE = 8
"""The least memory Argon2 can work with (RFC 9106, 3.1)."""
_ONE_DERIVATION = threading.Lock()
"""OpenSSL gives Argon2's lanes threads of one pool a process: of two derivations at a time each may
wait for ever for what the other holds, or fail. It also keeps the memory to that of one."""
_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KINDS = {"passphrase", "recovery"}


def derive(master: bytes, purpose: str, salt: bytes = b"") -> bytes:
    """A 32-byte key for one purpose: BLAKE3 in derive-key mode over master key and salt."""
    return blake3(master + salt, derive_key_context=_CONTEXT + purpose).digest()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credential:
    """What a person has: a passphrase, or the 32 bytes of a recovery key. Never logged."""

    kind: str
    """`passphrase` or `recovery`."""
    secret: bytes

    @classmethod
    def passphrase(cls, text: str) -> Credential:
        return cls(kind="passphrase", secret=text.encode())

    def __repr__(self) -> str:
        return f"Credential({self.kind})"


def new_slot(repository_id: bytes, slot: str, master: bytes, credential: Credential) -> bytes:
    """The stored bytes of key slot `slot`: the master key wrapped under `credential`."""
    salt = os.urandom(_SALT_BYTES)
    nonce = os.urandom(_NONCE_BYTES)
    kdf: dict[str, object] = {"name": "blake3", "salt": _b64(salt)}
    if credential.kind == "passphrase":
        kdf = {
            "name": "argon2id",
            "salt": _b64(salt),
            "memory_kib": _ARGON2_MEMORY_KIB,
            "passes": _ARGON2_PASSES,
            "lanes": _ARGON2_LANES,
        }
    header: dict[str, object] = {"version": 1, "slot": slot, "kind": credential.kind, "kdf": kdf}
    wrapping = _wrapping_key(kdf, credential.secret, slot)
    sealed = AESGCM(wrapping).encrypt(nonce, master, _slot_aad(repository_id, header))
    document = {**header, "nonce": _b64(nonce), "wrapped": _b64(sealed)}
    text = json.dumps(document, sort_keys=True, indent=1).encode()
    return text + b"\n" + hashlib.sha256(text).hexdigest().encode() + b"\n"


def open_slot(
    repository_id: bytes, slot: str, stored: bytes, credential: Credential
) -> bytes | None:
    """The master key, or None when this slot is not for this credential.

    Raises ObjectDamaged when the slot's bytes are not what was written.
    """
    document = _read_slot(slot, stored)
    if document["kind"] != credential.kind:
        return None
    header = {name: document[name] for name in ("version", "slot", "kind", "kdf")}
    nonce = _unb64(document["nonce"], slot, _NONCE_BYTES)
    wrapped = _unb64(document["wrapped"], slot, KEY_BYTES + _TAG_BYTES)
    kdf = cast(dict[str, object], document["kdf"])
    wrapping = _wrapping_key(kdf, credential.secret, slot)
    try:
        return AESGCM(wrapping).decrypt(nonce, wrapped, _slot_aad(repository_id, header))
    except InvalidTag:
        return None


def _read_slot(slot: str, stored: bytes) -> dict[str, object]:
    text, _, checksum = stored.removesuffix(b"\n").rpartition(b"\n")
    if not stored.endswith(b"\n") or hashlib.sha256(text).hexdigest().encode() != checksum:
        raise ObjectDamaged(key=f"keys/{slot}", problem="its checksum does not match")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ObjectDamaged(key=f"keys/{slot}", problem="it is not JSON") from error
    if not isinstance(document, dict):
        raise ObjectDamaged(key=f"keys/{slot}", problem="it is not an object")
    fields = cast(dict[str, object], document)
    expected = {"version", "slot", "kind", "kdf", "nonce", "wrapped"}
    if set(fields) != expected or fields["slot"] != slot or fields["version"] != 1:
        raise ObjectDamaged(key=f"keys/{slot}", problem="its fields are not those of this slot")
    _check_kdf(fields["kind"], fields["kdf"], slot)
    return fields


def _check_kdf(kind: object, kdf: object, slot: str) -> None:
    """Raise ObjectDamaged unless `kdf` is one that a slot of this kind may have. A fast hash for
    a passphrase is none: it would let a copied slot be searched."""
    if kind not in _KINDS or not isinstance(kdf, dict):
        raise ObjectDamaged(key=f"keys/{slot}", problem="its fields are not those of this slot")
    fields = cast(dict[str, object], kdf)
    costs = {} if fields.get("name") == "blake3" and kind == "recovery" else _ARGON2_LIMITS
    if fields.get("name") != ("argon2id" if costs else "blake3"):
        raise ObjectDamaged(key=f"keys/{slot}", problem="unknown key derivation")
    if set(fields) != {"name", "salt", *costs}:
        raise ObjectDamaged(key=f"keys/{slot}", problem="wrong fields of its key derivation")
    for name, limit in costs.items():
        value = fields[name]
        if type(value) is not int or not 1 <= value <= limit:
            raise ObjectDamaged(key=f"keys/{slot}", problem=f"unreasonable {name}")


def _wrapping_key(kdf: dict[str, object], secret: bytes, slot: str) -> bytes:
    """`kdf` as `_check_kdf` passed it."""
    salt = _unb64(kdf["salt"], slot, _SALT_BYTES)
    if kdf["name"] == "blake3":
        return derive(secret, "recovery key wrap", salt)
    memory_kib, lanes = cast(int, kdf["memory_kib"]), cast(int, kdf["lanes"])
    if memory_kib < _ARGON2_KIB_PER_LANE * lanes:
        raise ObjectDamaged(key=f"keys/{slot}", problem="unreasonable memory_kib")
    derivation = Argon2id(
        salt=salt,
        length=KEY_BYTES,
        iterations=cast(int, kdf["passes"]),
        lanes=lanes,
        memory_cost=memory_kib,
    )
    with _ONE_DERIVATION:
        return derivation.derive(secret)


def _slot_aad(repository_id: bytes, header: dict[str, object]) -> bytes:
    return b"holdfast key slot" + repository_id + json.dumps(header, sort_keys=True).encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: object, slot: str, size: int) -> bytes:
    if not isinstance(text, str):
        raise ObjectDamaged(key=f"keys/{slot}", problem="a field is not text")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ObjectDamaged(key=f"keys/{slot}", problem="a field is not base64") from error
    if len(data) != size:
        raise ObjectDamaged(key=f"keys/{slot}", problem="a field has a wrong length")
    return data
