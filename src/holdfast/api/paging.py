"""Query parameters of every list."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from holdfast.catalog.paging import MAXIMUM_LIMIT, PageRequest


def _page(
    limit: Annotated[int, Query(ge=1, le=MAXIMUM_LIMIT, description="Rows at most.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=100, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    return PageRequest(limit=limit, cursor=cursor)


Page = Annotated[PageRequest, Depends(_page)]
