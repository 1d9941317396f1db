"""Answers to repeated requests. An unsafe request with an `Idempotency-Key` is carried out once:
the same request again within a day gets the stored answer, the same key with another request is
refused, and a duplicate of one that is still being answered is told to wait.

Answers may hold what is shown once (a new token), so they are sealed like secrets. Only success is
stored: what failed changed nothing and may be tried again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from sqlalchemy import delete

from holdfast.catalog.database import Database, serialise
from holdfast.catalog.models import IdempotentRequest
from holdfast.catalog.sealing import Sealing
from holdfast.core.clock import Clock
from holdfast.core.errors import Category, HoldfastError, Retry

LONGEST_KEY = 200
LONGEST_ANSWER = 512 * 1024
_KEEP = timedelta(days=1)
_ABANDONED = timedelta(minutes=5)
_KEPT_HEADERS = ("content-type", "location")


class IdempotencyKeyReused(HoldfastError):
    code = "idempotency_key_reused"
    category = Category.USAGE
    template = "this Idempotency-Key was used for another request"
    hint = "Use a new key for a new request"


class RequestInProgress(HoldfastError):
    code = "request_in_progress"
    category = Category.CONFLICT
    retry = Retry.LATER
    template = "the same request is being carried out already"
    hint = "Wait a moment and send it again with the same key to get its answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One request under one key, ours to carry out."""

    principal: str
    key: str
    request_hash: str


def request_hash(method: str, target: str, body: bytes) -> str:
    digest = hashlib.sha256()
    for part in (method.encode(), target.encode("utf-8", "surrogateescape"), body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


class IdempotentRequests:
    """Thread-safe; blocking."""

    def __init__(self, database: Database, sealing: Sealing, clock: Clock) -> None:
        self._database = database
        self._sealing = sealing
        self._clock = clock

    def claim(self, principal: str, key: str, hash_: str) -> Claim | Answer:
        """The right to carry it out, or the stored answer. Raises IdempotencyKeyReused,
        RequestInProgress."""
        claim = Claim(principal=principal, key=key, request_hash=hash_)
        now = self._clock.now()
        with self._database.writing() as session:
            serialise(session, f"idempotency:{principal}:{key}")
            session.execute(
                delete(IdempotentRequest).where(IdempotentRequest.created_at < now - _KEEP)
            )
            row = session.get(IdempotentRequest, (principal, key))
            if row is None:
                session.add(
                    IdempotentRequest(
                        principal=principal, key=key, request_hash=hash_, created_at=now
                    )
                )
                return claim
            if row.request_hash != hash_:
                raise IdempotencyKeyReused
            if row.status is None:
                if now - row.created_at < _ABANDONED:
                    raise RequestInProgress
                row.created_at = now
                return claim
            return self._stored(row)

    def settle(self, claim: Claim, answer: Answer) -> None:
        """Keep the answer if it is a success of bearable size; else the key is free again."""
        keep = 200 <= answer.status < 300 and len(answer.body) <= LONGEST_ANSWER
        with self._database.writing() as session:
            row = session.get(IdempotentRequest, (claim.principal, claim.key))
            if row is None or row.request_hash != claim.request_hash:
                return
            if not keep:
                session.delete(row)
                return
            headers = {
                name: value for name, value in answer.headers.items() if name in _KEPT_HEADERS
            }
            head = json.dumps(headers).encode()
            plain = len(head).to_bytes(4, "big") + head + answer.body
            row.status = answer.status
            row.body = self._sealing.seal("idempotent_request", _row_id(row), "body", plain)

    def release(self, claim: Claim) -> None:
        """It was not carried out to an answer."""
        self.settle(claim, Answer(status=500, headers={}, body=b""))

    def _stored(self, row: IdempotentRequest) -> Answer:
        plain = self._sealing.unseal("idempotent_request", _row_id(row), "body", row.body or b"")
        size = int.from_bytes(plain[:4], "big")
        headers = cast("dict[str, str]", json.loads(plain[4 : 4 + size]))
        return Answer(status=row.status or 200, headers=headers, body=plain[4 + size :])


def _row_id(row: IdempotentRequest) -> str:
    return f"{row.principal}:{row.key}"
