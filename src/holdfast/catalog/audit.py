"""The audit trail: append-only, each entry's hash covering the one before, written in the
transaction that does what it tells of. Enter at `record`; `verify` follows the chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from holdfast.catalog.database import serialise
from holdfast.catalog.models import AuditEntry
from holdfast.catalog.paging import PageOf, PageRequest, read_page
from holdfast.core.clock import Clock

Outcome = Literal["done", "denied", "failed"]
_NOTHING_BEFORE = "0" * 64
_LONGEST_TEXT = 2000


class Actor(Protocol):
    """Who did it."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainActor:
    """For what no signed-in principal did: the service itself, or somebody unknown."""

    kind: str = "service"
    id: str = ""
    name: str = "service"
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    intact: bool
    entries: int
    first_broken_seq: int | None
    head_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    actor: str | None = None
    action: str | None = None
    """The whole action, or its beginning up to a dot: `auth`."""
    object_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def lock_journal(session: Session) -> None:
    """Until the transaction ends, nobody else appends: entries become visible in their order."""
    serialise(session, "journal")


def record(
    session: Session,
    actor: Actor,
    action: str,
    *,
    clock: Clock,
    object_kind: str = "",
    object_id: str = "",
    outcome: Outcome = "done",
    details: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Append an entry. Call it last in a writing transaction: it holds others up until the end.
    `details` must be free of secrets."""
    session.flush()
    lock_journal(session)
    last = session.execute(
        select(AuditEntry.seq, AuditEntry.hash).order_by(AuditEntry.seq.desc()).limit(1)
    ).first()
    entry = AuditEntry(
        seq=last[0] + 1 if last else 1,
        at=clock.now(),
        actor_kind=actor.kind,
        actor_id=_clean(actor.id, 36),
        actor_name=_clean(actor.name, 200),
        address=_clean(actor.address, 64),
        action=action,
        object_kind=object_kind,
        object_id=_clean(object_id, 200),
        outcome=outcome,
        details={str(name): _plain(value) for name, value in (details or {}).items()},
        previous_hash=last[1] if last else _NOTHING_BEFORE,
        hash="",
    )
    entry.hash = hash_of(entry)
    session.add(entry)
    session.flush()
    return entry


def hash_of(entry: AuditEntry) -> str:
    """SHA-256 over everything in the entry but the hash itself, which includes the one before."""
    fields = [
        entry.seq,
        entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.actor_kind,
        entry.actor_id,
        entry.actor_name,
        entry.address,
        entry.action,
        entry.object_kind,
        entry.object_id,
        entry.outcome,
        entry.details,
        entry.previous_hash,
    ]
    document = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(document.encode()).hexdigest()


def verify(session: Session) -> Verification:
    """Follow the chain from its beginning. A changed, removed or inserted entry breaks it there;
    that the newest ones were cut off shows only beside a `head_hash` kept elsewhere."""
    previous, count = _NOTHING_BEFORE, 0
    for entry in iterate(session):
        count += 1
        if entry.seq != count or entry.previous_hash != previous or entry.hash != hash_of(entry):
            total = session.scalar(select(func.count()).select_from(AuditEntry)) or 0
            return Verification(
                intact=False, entries=total, first_broken_seq=entry.seq, head_hash=previous
            )
        previous = entry.hash
    return Verification(intact=True, entries=count, first_broken_seq=None, head_hash=previous)


def iterate(session: Session, *, after_seq: int = 0) -> Iterator[AuditEntry]:
    """All entries in their order, some hundreds in memory at a time."""
    while True:
        rows = session.scalars(
            select(AuditEntry).where(AuditEntry.seq > after_seq).order_by(AuditEntry.seq).limit(500)
        ).all()
        yield from rows
        if not rows:
            return
        after_seq = rows[-1].seq
        session.expunge_all()


def list_entries(session: Session, wanted: AuditFilter, page: PageRequest) -> PageOf[AuditEntry]:
    """Newest first."""
    query = select(AuditEntry)
    if wanted.actor:
        query = query.where(AuditEntry.actor_name == wanted.actor)
    if wanted.action:
        beginning = wanted.action.rstrip(".") + "."
        query = query.where(
            (AuditEntry.action == wanted.action)
            | AuditEntry.action.startswith(beginning, autoescape=True)
        )
    if wanted.object_id:
        query = query.where(AuditEntry.object_id == wanted.object_id)
    if wanted.outcome:
        query = query.where(AuditEntry.outcome == wanted.outcome)
    if wanted.since:
        query = query.where(AuditEntry.at >= wanted.since)
    if wanted.until:
        query = query.where(AuditEntry.at < wanted.until)
    return read_page(session, query, [AuditEntry.seq.desc()], page)


def _clean(value: str, longest: int) -> str:
    """Names come from outside: what steers a terminal or splits a line does not get in."""
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in value)
    return shown.encode("utf-8", "replace").decode()[:longest]


def _plain(value: Any) -> Any:
    """Values that both databases give back exactly as they were."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        return {_clean(str(name), 100): _plain(item) for name, item in items.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("Sequence[Any]", value)]
    return _clean(str(value), _LONGEST_TEXT)
