"""What a repository says of its own immutability: the rule by which new objects are locked, what
was locked until when, and what the last attempt to break a lock has shown. Contents of envelopes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from holdfast.core.clock import format_time, parse_time
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ID_BYTES, pack_name

MAX_DAYS = 3650
"""A lock cannot be taken back: ten years are long enough for a typing error."""
MODES = ("compliance", "governance")
_HEAD = struct.Struct("<QI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Immutability:
    """The rule. 0 days: nothing new is locked."""

    days: int
    mode: str = MODES[0]
    retired: tuple[str, ...] = ()
    """Object keys of key slots that are to go: their locks are not renewed."""

    def __post_init__(self) -> None:
        if not 0 <= self.days <= MAX_DAYS or self.mode not in MODES:
            raise ValueError(f"not a rule: {self.days} days, {self.mode}")

    @property
    def time(self) -> timedelta:
        """How long a point is locked."""
        return timedelta(days=self.days)

    @property
    def margin(self) -> timedelta:
        """How much longer a pack is locked, so that not every backup has to renew every lock."""
        return timedelta(days=max(1, self.days // 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRecord:
    """These objects are locked until then at least."""

    until: datetime
    keys: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of an object that was locked and attacked."""

    is_immutable: bool
    reasons: Sequence[str]
    """What worked of the attack, or why there was none; empty when immutable."""
    tested_at: datetime
    """By the storage's clock."""


def encode_rule(rule: Immutability) -> bytes:
    document = {"days": rule.days, "mode": rule.mode, "retired": list(rule.retired)}
    return json.dumps(document).encode()


def decode_rule(plain: bytes, *, key: str) -> Immutability:
    """Raises ObjectDamaged."""
    document = _document(plain, key)
    days, mode, retired = document.get("days"), document.get("mode"), document.get("retired")
    try:
        if type(days) is not int or not isinstance(mode, str):
            raise ValueError  # noqa: TRY301
        return Immutability(days=days, mode=mode, retired=_texts(retired))
    except ValueError as error:
        raise ObjectDamaged(key=key, problem="its fields are not those of a rule") from error


def encode_record(record: LockRecord) -> bytes:
    packs = [key for key in record.keys if key.startswith("packs/")]
    others = [key for key in record.keys if not key.startswith("packs/")]
    hashes = [bytes.fromhex(key.rpartition("/")[2]) for key in packs]
    head = _HEAD.pack(int(record.until.timestamp()), len(hashes))
    return b"".join([head, *hashes, "\n".join(others).encode()])


def decode_record(plain: bytes, *, key: str) -> LockRecord:
    """Raises ObjectDamaged."""
    try:
        seconds, count = _HEAD.unpack_from(plain)
        until = datetime.fromtimestamp(seconds, UTC)
        end = _HEAD.size + count * ID_BYTES
        others = plain[end:].decode("ascii")
        if end > len(plain):
            raise ValueError  # noqa: TRY301
    except (struct.error, ValueError, OverflowError, OSError) as error:
        raise ObjectDamaged(key=key, problem="it is not a record of locks") from error
    packs = [pack_name(plain[at : at + ID_BYTES]) for at in range(_HEAD.size, end, ID_BYTES)]
    return LockRecord(until=until, keys=[*packs, *(others.split("\n") if others else ())])


def encode_verdict(verdict: Verdict) -> bytes:
    document = {
        "immutable": verdict.is_immutable,
        "reasons": list(verdict.reasons),
        "tested_at": format_time(verdict.tested_at),
    }
    return json.dumps(document).encode()


def decode_verdict(plain: bytes, *, key: str) -> Verdict:
    """Raises ObjectDamaged."""
    document = _document(plain, key)
    try:
        return Verdict(
            is_immutable=document.get("immutable") is True,
            reasons=_texts(document.get("reasons")),
            tested_at=parse_time(str(document.get("tested_at"))),
        )
    except ValueError as error:
        raise ObjectDamaged(key=key, problem="its fields are not those of a verdict") from error


def _document(plain: bytes, key: str) -> dict[str, Any]:
    try:
        document: object = json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise ObjectDamaged(key=key, problem="it is not JSON") from error
    if not isinstance(document, dict):
        raise ObjectDamaged(key=key, problem="it is not an object")
    return cast("dict[str, Any]", document)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("not a list")  # noqa: TRY004 - the one error of a wrong document
    texts = tuple(item for item in cast("list[object]", value) if isinstance(item, str))
    if len(texts) != len(cast("list[object]", value)):
        raise ValueError("not a list of strings")
    return texts
