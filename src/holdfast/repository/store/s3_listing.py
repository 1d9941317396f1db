"""A listing that is complete or an error, on top of one that may end early without a word.

obstore takes any answer without a continuation token for the last page: a page cut short by its
server, and an HTML page of a proxy (seen as no key at all). So the end is never believed but
proven: the server is asked once more from before the last key, and must show that key and nothing
behind it, so that two whole answers agree; a folder is empty when the store's top level shows
others but not this one, or when several answers in a row say so, more of them when the top level
shows it. Costs one more request a listing, in constant memory.

Of a folder that fits into one page the two answers are asked for side by side, and are to be the
same; of one that seems empty, also the top level. When they prove nothing, the listing begins anew,
and must not miss what was shown.

A folder of which most keys are known from before is listed in stretches at once, each from one
known key to another: a stretch is whole when the server has shown something at or behind its end,
for within one answer nothing is left out. What is known only says where to cut, and may be wrong.

Enter at `list_all`, `list_small` and `list_stretches`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, pairwise
from typing import TypedDict

from holdfast.repository.store.s3_faults import (
    S3_ERRORS,
    Attempts,
    Fault,
    Kind,
    RequestFailed,
    RetryPolicy,
    fault_of,
)


class ListedObject(TypedDict):
    path: str
    size: int
    last_modified: datetime


_EMPTY = 2
_ALL_EMPTY = 4
"""Answers without a key in a row that are believed: while the top level shows something, and when
it shows nothing at all, as before the first object, or this very folder: then something lies in
it, unless the server keeps empty folders."""

_STRETCH = 900
"""Known keys of a stretch: one page of a thousand has room for some new ones."""
_AT_ONCE = 16

Ask = Callable[[str | None], Iterable[Sequence[ListedObject]]]
"""Pages of the objects whose paths come after the given one, in the server's order."""


class _Disorder(Exception):
    pass


class _Order:
    """Paths must ascend: by bytes, as S3 says, or component by component, as servers on a file
    system do. A page that is sent twice ascends in neither way."""

    def __init__(self, after: str | None = None) -> None:
        self.last = after
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
    shown: Collection[str] = (),
) -> Iterator[ListedObject]:
    """Every object below `folder` once. `exists` is asked when the last one is not shown again, and
    of paths that were `shown` a moment ago and are not now; `top_level` (names of objects and
    folders there) when there was none. Raises RequestFailed."""
    missing = set(shown)
    for item in _list_all(ask, exists=exists, folder=folder, top_level=top_level, policy=policy):
        missing.discard(item["path"])
        yield item
    if any(exists(path) for path in missing):
        raise RequestFailed(_fault("the listing leaves out what it has shown"), unclear=False)


def _list_all(
    ask: Ask,
    *,
    exists: Callable[[str], bool],
    folder: str,
    top_level: Callable[[], Collection[str]],
    policy: RetryPolicy,
) -> Iterator[ListedObject]:
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
            is_doubtful = not shown or folder.removesuffix("/") in shown
            if empty >= (_ALL_EMPTY if is_doubtful else 1 if is_proven else _EMPTY):
                return
        elif seen_last or not exists(last):  # deleted since: legal
            if not broken:
                return
            broken = False
        else:
            attempts.failed(_fault("the listing ends early"))


@dataclass(frozen=True, slots=True)
class SmallListing:
    """What `list_small` was told."""

    found: list[ListedObject] | None
    """Everything; None when the answers prove nothing. Then `list_all` tells."""
    shown: Collection[str]
    """Paths that some answer showed: `list_all` must not miss one that is there."""


def list_small(
    ask: Ask,
    *,
    folder: str,
    before: str | None,
    top_level: Callable[[], Collection[str]] | None,
    page: int,
    proven: int,
) -> SmallListing:
    """Everything that `ask` shows when it is less than a full page of `page` objects, after one
    round trip: two answers that agree are what `list_all` waits for one after the other. The second
    is asked for with a path `before` all others, so that no cache has it for the first. Given
    `top_level`, it is asked as well, and `folder` is empty when that shows something, but not it.

    A service that ends every answer at one number of objects agrees with itself: with more than the
    `proven` ones, which an answer of it is known to hold, it must show the last and nothing behind
    it when asked from before that. Raises RequestFailed, for a refusal only."""
    with ThreadPoolExecutor(2, thread_name_prefix="listing") as pool:
        again = pool.submit(_one_page, ask, before, page)
        at_top = pool.submit(_shown, top_level) if top_level else None
        found, repeated = _one_page(ask, None, page), again.result()
        shown_at_top = (at_top.result() if at_top else None) or ()
        is_something_there = bool(found) or (
            bool(shown_at_top) and folder.removesuffix("/") not in shown_at_top
        )
    if (
        found is not None
        and found == repeated
        and is_something_there
        and (len(found) <= proven or _ends_there(ask, found, page))
    ):
        return SmallListing(found, ())
    return SmallListing(None, {item["path"] for item in (*(found or ()), *(repeated or ()))})


def _one_page(ask: Ask, after: str | None, page: int) -> list[ListedObject] | None:
    """The whole of an answer that has room for more; None for any other, and for none. Raises
    RequestFailed for a refusal, which another answer would repeat."""
    order = _Order()
    found: list[ListedObject] = []
    try:
        for items in ask(after):
            for item in items:
                order.advance(item["path"])
                found.append(item)
            if len(found) >= page:
                return None
    except (_Disorder, *S3_ERRORS) as error:
        fault = _fault_of(error)
        if fault.kind is Kind.REFUSED:
            raise RequestFailed(fault, unclear=False) from None
        return None
    return found


def _ends_there(ask: Ask, found: Sequence[ListedObject], page: int) -> bool:
    if len(found) > 1:
        return _one_page(ask, found[-2]["path"], page) == list(found[-1:])
    return _one_page(ask, found[-1]["path"], page) == []


def _shown(top_level: Callable[[], Collection[str]]) -> Collection[str] | None:
    try:
        return top_level()
    except S3_ERRORS:
        return None


def list_stretches(ask: Ask, known: Sequence[str]) -> list[ListedObject] | None:
    """Everything that `ask` shows from the first path to the last, by stretches between some of
    the `known` paths (ascending). None when that cannot be told: then `list_all` tells. Never
    fewer than there are."""
    cuts = known[_STRETCH:-1:_STRETCH]
    if not cuts or any(not _is_before(*ends) for ends in pairwise(cuts)):
        return None
    bounds: list[str | None] = [None, *cuts, None]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="listing") as pool:
        parts = list(pool.map(partial(_stretch, ask), bounds[:-1], bounds[1:]))
        found = [part for part in parts if part is not None]
        if len(found) < len(parts) or not found[-1]:
            return None
        # The end is proven as `list_all` proves it: by a second answer that shows the last again.
        last = found[-1]
        before = last[-2]["path"] if len(last) > 1 else cuts[-1]
        if _stretch(ask, before, None) != last[-1:]:
            return None
    return list(chain.from_iterable(found))


def _is_before(one: str, other: str) -> bool:
    """In whichever of the two orders."""
    return one < other and one.split("/") < other.split("/")


def _stretch(ask: Ask, after: str | None, upto: str | None) -> list[ListedObject] | None:
    """What comes after one path up to another and that included, or to the end; None when an
    answer fails, is in disorder or ends before the other was reached."""
    order = _Order(after)
    found: list[ListedObject] = []
    try:
        for page in ask(after):
            for item in page:
                path = item["path"]
                order.advance(path)
                if upto is not None and path != upto and not _is_before(path, upto):
                    # Behind it in one order of the two only: not a place to end.
                    return found if _is_before(upto, path) else None
                found.append(item)
                if path == upto:
                    return found
    except (_Disorder, *S3_ERRORS):
        return None
    return found if upto is None else None


def _fault_of(error: Exception) -> Fault:
    if isinstance(error, _Disorder):
        return _fault("the listing repeats itself or is out of order")
    return fault_of(error)


def _fault(problem: str) -> Fault:
    return Fault(kind=Kind.PASSING, problem=problem)
