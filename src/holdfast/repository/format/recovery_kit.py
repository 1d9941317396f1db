"""The recovery key on paper: 32 random bytes as base32 in groups, with a checksum that catches
typing errors before a slot is tried."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import textwrap
import uuid

from holdfast.core.errors import InvalidInput
from holdfast.repository.format.keys import KEY_BYTES, Credential

_PREFIX = "HFK1"


def new_recovery_key() -> Credential:
    return Credential(kind="recovery", secret=os.urandom(KEY_BYTES))


def format_recovery_key(key: Credential) -> str:
    """`HFK1-XXXXXX-…`: key and a 3-byte checksum in base32 (RFC 4648), groups of seven."""
    body = base64.b32encode(key.secret + _checksum(key.secret)).decode().rstrip("=")
    return "-".join([_PREFIX, *textwrap.wrap(body, 7)])


def is_recovery_key(text: str) -> bool:
    """True when the text claims to be a recovery key rather than a passphrase."""
    return text.strip().upper().startswith(_PREFIX + "-")


def parse_recovery_key(text: str) -> Credential:
    """Case, spaces and dashes do not matter. Raises InvalidInput on a typing error."""
    body = "".join(text.upper().split()).replace("-", "").removeprefix(_PREFIX)
    try:
        raw = base64.b32decode(body + "=" * (-len(body) % 8))
    except binascii.Error as error:
        raise InvalidInput(
            what="recovery key", problem="it has a character too many or a wrong one"
        ) from error
    secret, checksum = raw[:KEY_BYTES], raw[KEY_BYTES:]
    if len(secret) != KEY_BYTES or checksum != _checksum(secret):
        raise InvalidInput(
            what="recovery key", problem="its checksum does not match: look for a typing error"
        )
    return Credential(kind="recovery", secret=secret)


def render_kit(key: Credential, repository_id: uuid.UUID, location: str, created_at: str) -> str:
    """The page to print and keep away from the repository."""
    return f"""\
HOLDFAST RECOVERY KIT
=====================
Repository  {repository_id}
Location    {location}
Created     {created_at}

Recovery key:

    {format_recovery_key(key)}

Whoever has this key and the repository can read every backup in it. Keep it where the repository
is not: printed, or in a password safe. If both the passphrase and this kit are lost, nobody can
read the backups again.

To see and restore what is in the repository with nothing but it and this page in a file, run

    holdfast rescue {location} --kit FILE
    holdfast rescue {location} --kit FILE --restore latest --to FOLDER
"""


def _checksum(secret: bytes) -> bytes:
    return hashlib.sha256(b"holdfast recovery key" + secret).digest()[:3]
