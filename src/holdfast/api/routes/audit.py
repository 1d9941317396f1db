"""The audit trail: look through, verify, export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context, ServiceContext
from holdfast.api.schemas.access import AuditInfo, AuditVerification
from holdfast.api.schemas.common import Page
from holdfast.catalog import audit
from holdfast.catalog.audit import AuditFilter
from holdfast.catalog.paging import PageRequest
from holdfast.policy.access import Permission

router = APIRouter(prefix="/audit", tags=["audit"], dependencies=[requires(Permission.AUDIT_READ)])


@router.get("")
def list_audit(
    context: Context,
    actor: Annotated[str | None, Query(max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=100)] = None,
    object_id: Annotated[str | None, Query(max_length=200)] = None,
    outcome: Literal["done", "denied", "failed"] | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[AuditInfo]:
    """Newest first. `action` may be a beginning, such as `auth`."""
    wanted = AuditFilter(
        actor=actor,
        action=action,
        object_id=object_id,
        outcome=outcome,
        since=since,
        until=until,
    )
    with context.database.reading() as session:
        page = audit.list_entries(session, wanted, PageRequest(limit=limit, cursor=cursor))
        items = [AuditInfo.model_validate(entry) for entry in page.rows]
    return Page[AuditInfo](items=items, total=page.total, next_cursor=page.next_cursor)


@router.get("/verify")
def verify_audit(context: Context) -> AuditVerification:
    """Follow the hash chain from its beginning. Keep `head_hash` elsewhere to notice a cut end."""
    with context.database.reading() as session:
        found = audit.verify(session)
    return AuditVerification(
        intact=found.intact,
        entries=found.entries,
        first_broken_seq=found.first_broken_seq,
        head_hash=found.head_hash,
    )


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}},
)
def export_audit(caller: Caller, context: Context) -> StreamingResponse:
    """Everything, one JSON document a line, oldest first."""
    with context.database.writing() as session:
        audit.record(session, caller, "audit.export", clock=context.clock)
    return StreamingResponse(
        _lines(context),
        media_type="application/jsonl",
        headers={"Content-Disposition": 'attachment; filename="holdfast-audit.jsonl"'},
    )


def _lines(context: ServiceContext) -> Iterator[bytes]:
    with context.database.reading() as session:
        for entry in audit.iterate(session):
            document = AuditInfo.model_validate(entry).model_dump(mode="json")
            document["previous_hash"] = entry.previous_hash
            yield json.dumps(document, sort_keys=True).encode() + b"\n"
