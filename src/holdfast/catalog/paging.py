"""Pages of lists. A cursor is opaque to clients: the place in the list, so that a page can be
asked for anywhere in it. New rows may shift what follows; lists that grow while they are read are
sorted so that new rows come first."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from holdfast.core.errors import InvalidInput

Row = TypeVar("Row")
MAXIMUM_LIMIT = 500
_MAXIMUM_OFFSET = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    limit: int = 50
    cursor: str | None = None

    @property
    def offset(self) -> int:
        """Raises InvalidInput for a cursor that no page of ours gave."""
        return 0 if self.cursor is None else decode_cursor(self.cursor)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOf(Generic[Row]):
    rows: Sequence[Row]
    total: int
    next_cursor: str | None


def encode_cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"o{offset}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        offset = int(text.removeprefix("o"))
    except (ValueError, binascii.Error):
        offset = -1
    if not 0 <= offset <= _MAXIMUM_OFFSET:
        raise InvalidInput(what="cursor", problem="is not one that a list gave")
    return offset


def read_page(
    session: Session,
    query: Select[Row],
    order: Sequence[Any],
    request: PageRequest,
) -> PageOf[Row]:
    """One page of the query in that order, which must be total (end it with the key)."""
    offset = request.offset
    limit = min(request.limit, MAXIMUM_LIMIT)
    total = session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0
    rows = session.scalars(query.order_by(*order).offset(offset).limit(limit)).all()
    end = offset + len(rows)
    return PageOf(
        rows=rows, total=total, next_cursor=encode_cursor(end) if rows and end < total else None
    )
