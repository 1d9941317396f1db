"""Query parameters of every list, and a part of one that is at hand as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from holdfast.catalog.paging import MAXIMUM_LIMIT, PageOf, PageRequest, encode_cursor

Item = TypeVar("Item")


def _page(
    limit: Annotated[int, Query(ge=1, le=MAXIMUM_LIMIT, description="Rows at most.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=100, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    return PageRequest(limit=limit, cursor=cursor)


Page = Annotated[PageRequest, Depends(_page)]


def _short_list(
    limit: Annotated[
        int, Query(ge=1, le=MAXIMUM_LIMIT, description="Rows at most.")
    ] = MAXIMUM_LIMIT,
    cursor: Annotated[
        str | None, Query(max_length=100, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    return PageRequest(limit=limit, cursor=cursor)


ShortPage = Annotated[PageRequest, Depends(_short_list)]
"""Of lists that are short as a rule: in one page unless a smaller one is asked for."""


def part_of(items: Sequence[Item], page: PageRequest) -> PageOf[Item]:
    """Raises InvalidInput for a cursor that no list gave."""
    rows = items[page.offset : page.offset + page.limit]
    end = page.offset + len(rows)
    more = bool(rows) and end < len(items)
    return PageOf(rows=rows, total=len(items), next_cursor=encode_cursor(end) if more else None)
