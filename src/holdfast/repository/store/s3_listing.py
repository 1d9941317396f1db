"""A listing that is complete or an error, on top of one that may end early without a word.

obstore takes any answer without a continuation token for the last page: a page cut short by its
server, and an HTML page of a proxy (seen as no key at all). So the end is never believed but
proven: the server is asked once more from before the last key, and must show that key and nothing
behind it, so that two whole answers agree; a folder is empty when the store's top level shows
others but not this one, or when several answers in a row say so. Costs one more request a listing,
in constant memory.

Enter at `list_all`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypedDict

from holdfast.repository.store.s3_faults import (
    S3_ERRORS,
    Attempts,
    Fault,
    Kind,
    RetryPolicy,
    fault_of,
)


class ListedObject(TypedDict):
    path: str
    size: int
    last_modified: datetime


_EMPTY = 2
_ALL_EMPTY = 4
"""Answers without a key in a row that are believed: while the top level shows something (also this
folder: it may lie deeper, and some servers keep empty folders), and when it shows nothing at all,
as before the first object."""

Ask = Callable[[str | None], Iterable[Sequence[ListedObject]]]
"""Pages of the objects whose paths come after the given one, in the server's order."""


class _Disorder(Exception):
    pass


class _Order:
    """Paths must ascend: by bytes, as S3 says, or component by component, as servers on a file
    system do. A page that is sent twice ascends in neither way."""

    def __init__(self) -> None:
        self.last: str | None = None
        self._bytes = True
        self._components = True

    def is_after(self, path: str) -> bool:
        last = self.last
        if last is None:
            return True
        return (self._bytes and path > last) or (
            self._components and path.split("/") > last.split("/")
        )

    def advance(self, path: str) -> None:
        if self.last is not None:
            self._bytes = self._bytes and path > self.last
            self._components = self._components and path.split("/") > self.last.split("/")
        if not (self._bytes or self._components):
            raise _Disorder
        self.last = path


def list_all(
    ask: Ask,
    *,
    exists: Callable[[str], bool],
    folder: str,
    top_level: Callable[[], Collection[str]],
    policy: RetryPolicy,
) -> Iterator[ListedObject]:
    """Every object below `folder` once. `exists` is asked when the last one is not shown again,
    `top_level` (names of objects and folders there) when there was none. Raises RequestFailed."""
    order = _Order()
    attempts = Attempts(policy)
    before: str | None = None
    empty = 0
    broken = False
    """The answer before broke off, so it did not say where the end is."""
    while True:
        last, seen_last, progress = order.last, order.last is None, False
        round_order = _Order()
        try:
            for page in ask(before):
                for item in page:
                    path = item["path"]
                    round_order.advance(path)
                    seen_last = seen_last or path == last
                    if not order.is_after(path):
                        continue  # shown already, or created since
                    before = order.last
                    order.advance(path)
                    progress = True
                    yield item
        except (_Disorder, *S3_ERRORS) as error:
            broken, empty = True, 0
            if progress:
                attempts.restart()
            attempts.failed(_fault_of(error))
            continue
        if progress:
            attempts.restart()
            broken = False
        elif last is None:
            empty += 1
            shown = top_level()
            is_proven = folder and folder.partition("/")[0] not in shown
            if empty >= (_ALL_EMPTY if not shown else 1 if is_proven else _EMPTY):
                return
        elif seen_last or not exists(last):  # deleted since: legal
            if not broken:
                return
            broken = False
        else:
            attempts.failed(_fault("the listing ends early"))


def _fault_of(error: Exception) -> Fault:
    if isinstance(error, _Disorder):
        return _fault("the listing repeats itself or is out of order")
    return fault_of(error)


def _fault(problem: str) -> Fault:
    return Fault(kind=Kind.PASSING, problem=problem)
