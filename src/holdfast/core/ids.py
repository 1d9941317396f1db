"""Identifiers. Everything Holdfast names in the outside world is a UUIDv7, so that names sort by
time, are never reused, and can be recognised as ours by a prefix."""

from __future__ import annotations

import os
import re
import uuid
from datetime import UTC, datetime

from holdfast.core.clock import Clock

CHECKPOINT_PREFIX = "holdfast-"
"""Prefix of every snapshot and checkpoint that Holdfast creates on a hypervisor."""

_LAST_MS = 253_402_300_799_000
UUID_PATTERN = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""The canonical lower-case form."""
_UUID = re.compile(UUID_PATTERN)


def uuid7(clock: Clock) -> uuid.UUID:
    """A version 7 UUID: 48 bits of Unix milliseconds, then random bits (RFC 9562, 5.7)."""
    milliseconds = int(clock.now().timestamp() * 1000)
    random = int.from_bytes(os.urandom(10))
    value = (milliseconds & (2**48 - 1)) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def uuid7_time(value: uuid.UUID) -> datetime:
    """The time in a version 7 UUID, in whole milliseconds; of another one, anything up to the year
    9999."""
    return datetime.fromtimestamp(min(value.int >> 80, _LAST_MS) / 1000, UTC)


def is_uuid(text: str) -> bool:
    """True for the canonical lower-case form only."""
    return _UUID.fullmatch(text) is not None
