"""The log: newest first by pages, and what came since by number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from holdfast.api.access import Caller, Principal, requires
from holdfast.api.context import Context, ServiceContext
from holdfast.api.schemas.system import LogInfo, LogPage
from holdfast.catalog.inventory import of_visible_vms
from holdfast.catalog.models import LogEntry, VirtualMachine
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission

router = APIRouter(prefix="/logs", tags=["logs"])
Level = Literal["debug", "info", "warning", "error"]
_LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
_EXPORT_AT_ONCE = 1000
_EXPORT_MOST = 200_000


class LogQuery:
    """Filters that the list and the export share."""

    def __init__(
        self,
        level: Annotated[Level | None, Query(description="This level and above.")] = None,
        run_id: Annotated[str | None, Query(max_length=100)] = None,
        vm_id: Annotated[str | None, Query(max_length=100)] = None,
        source: Literal["service", "worker", "run"] | None = None,
        q: Annotated[str, Query(max_length=200, description="Part of the message.")] = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> None:
        for moment in (since, until):
            if moment is not None and moment.tzinfo is None:
                raise InvalidInput(what="time", problem="it has no zone: end it with Z")
        self.level, self.run_id, self.vm_id, self.source = level, run_id, vm_id, source
        self.text, self.since, self.until = q, since, until

    def select(self, caller: Principal) -> Select[LogEntry]:
        query = select(LogEntry).where(
            of_visible_vms(LogEntry.vm_id, caller.scope(Permission.LOGS_READ))
        )
        if self.level is not None:
            query = query.where(LogEntry.level.in_(_LEVELS[_LEVELS.index(self.level) :]))
        if self.run_id is not None:
            query = query.where(LogEntry.run_id == self.run_id)
        if self.vm_id is not None:
            query = query.where(LogEntry.vm_id == self.vm_id)
        if self.source is not None:
            query = query.where(LogEntry.source == self.source)
        if self.text:
            query = query.where(LogEntry.message.icontains(self.text, autoescape=True))
        if self.since is not None:
            query = query.where(LogEntry.at >= self.since)
        if self.until is not None:
            query = query.where(LogEntry.at < self.until)
        return query


Filters = Annotated[LogQuery, Depends(LogQuery)]


@router.get("", dependencies=[requires(Permission.LOGS_READ)])
def list_logs(
    context: Context,
    caller: Caller,
    filters: Filters,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    cursor: Annotated[
        str | None, Query(max_length=30, description="Older than the page before.")
    ] = None,
    after_seq: Annotated[
        int | None, Query(ge=0, description="Only what came since this number, oldest first.")
    ] = None,
) -> LogPage:
    query = filters.select(caller)
    with context.database.reading() as session:
        newest = session.scalar(select(func.max(LogEntry.seq))) or 0
        if after_seq is not None:
            query = query.where(LogEntry.seq > after_seq).order_by(LogEntry.seq)
        else:
            if cursor is not None:
                query = query.where(LogEntry.seq < _seq(cursor))
            query = query.order_by(LogEntry.seq.desc())
        rows = session.scalars(query.limit(limit)).all()
        entries = _infos(session, rows)
    full = after_seq is None and len(rows) == limit
    return LogPage(
        entries=entries,
        next_cursor=str(rows[-1].seq) if full else None,
        newest_seq=max(newest, after_seq or 0),
    )


@router.get(
    "/export",
    dependencies=[requires(Permission.LOGS_READ)],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
def export_logs(context: Context, caller: Caller, filters: Filters) -> StreamingResponse:
    """As JSON lines, oldest first, 200,000 at most."""
    return StreamingResponse(
        _lines(context, filters.select(caller)),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="holdfast-log.jsonl"'},
    )


def _lines(context: ServiceContext, query: Select[LogEntry]) -> Iterator[str]:
    last, told = 0, 0
    while told < _EXPORT_MOST:
        with context.database.reading() as session:
            rows = session.scalars(
                query.where(LogEntry.seq > last).order_by(LogEntry.seq).limit(_EXPORT_AT_ONCE)
            ).all()
            lines = [info.model_dump(mode="json") for info in _infos(session, rows)]
            text = "".join(json.dumps(line) + "\n" for line in lines)
        if not rows:
            return
        last, told = rows[-1].seq, told + len(rows)
        yield text


def _seq(cursor: str) -> int:
    if not cursor.isdigit():
        raise InvalidInput(what="cursor", problem="is not one that a list gave")
    return int(cursor)


def _infos(session: Session, rows: Sequence[LogEntry]) -> list[LogInfo]:
    ids = {row.vm_id for row in rows if row.vm_id}
    named = select(VirtualMachine.id, VirtualMachine.name).where(VirtualMachine.id.in_(ids))
    names: dict[str, str] = dict(session.execute(named).tuples().all()) if ids else {}
    return [
        LogInfo(
            seq=row.seq,
            at=row.at,
            level=cast("Level", row.level),
            source=row.source,
            run_id=row.run_id,
            vm_id=row.vm_id,
            vm_name=names.get(row.vm_id or "", ""),
            message=row.message,
            fields=row.fields,
        )
        for row in rows
    ]
