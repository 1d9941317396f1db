"""Listings in pages from a service that leaves out, repeats and breaks off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from obstore.exceptions import GenericError

from holdfast.repository.store.s3_faults import RequestFailed, RetryPolicy
from holdfast.repository.store.s3_listing import ListedObject, list_all

_POLICY = RetryPolicy(patience_s=5.0, first_delay_s=0.0, longest_delay_s=0.0)
_IMPATIENT = RetryPolicy(patience_s=0.0)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_FAULTS = ("", "", "short", "twice", "broken", "empty")


class _Service:
    """Answers listings in pages of three, each answer with the next fault."""

    def __init__(self, paths: Sequence[str], faults: Sequence[str]) -> None:
        self.paths = list(paths)
        self._faults = list(faults)
        self.asked = 0

    def ask(self, after: str | None) -> Iterator[Sequence[ListedObject]]:
        self.asked += 1
        left = [path for path in self.paths if after is None or path > after]
        for start in range(0, max(len(left), 1), 3):
            page = [_item(path) for path in left[start : start + 3]]
            fault = self._faults.pop(0) if self._faults else ""
            if fault == "empty":
                return  # taken for the last page
            if fault == "broken":
                raise GenericError("Generic S3 error: Got invalid list response")
            if fault == "twice":
                yield page
            yield page[:-1] if fault == "short" else page
            if fault == "short":
                return

    def list(self, policy: RetryPolicy = _POLICY) -> list[str]:
        found = list_all(
            self.ask,
            exists=lambda path: path in self.paths,
            folder="folder/",
            top_level=lambda: {"folder"} if self.paths else set[str](),
            policy=policy,
        )
        return [item["path"] for item in found]


def _item(path: str) -> ListedObject:
    return ListedObject(path=path, size=1, last_modified=_NOW)


@example({"-", "/", "a", "a/", "aa", "aaa", "aaaa", "b"}, ["", "short", "twice", "short"])
@given(
    st.sets(st.text("ab/-", min_size=1, max_size=4), max_size=12),
    st.lists(st.sampled_from(_FAULTS), max_size=20),
)
def test_every_object_is_listed_once(paths: set[str], faults: list[str]) -> None:
    # Two answers in a row without a key are believed, for an empty folder is said no otherwise.
    kept: list[str] = []
    for fault in faults:
        kept += [""] if kept and {fault, kept[-1]} <= {"empty", "short"} else [fault]
    assert _Service(sorted(paths), kept if paths else []).list() == sorted(paths)


def test_a_listing_costs_one_request_more() -> None:
    service = _Service(["a", "b", "c"], [])
    assert service.list() == ["a", "b", "c"]
    assert service.asked == 2


def test_order_by_components_is_an_order() -> None:
    """As servers on a file system list: `points/one` before `points-old`."""
    paths = ["config", "points/one", "points-old/two"]

    def ask(after: str | None) -> Iterator[Sequence[ListedObject]]:
        start = 0 if after is None else paths.index(after) + 1
        yield [_item(path) for path in paths[start:]]

    found = list_all(
        ask, exists=lambda path: True, folder="", top_level=lambda: {"other"}, policy=_IMPATIENT
    )
    assert [item["path"] for item in found] == paths


def test_the_last_object_may_be_deleted_meanwhile() -> None:
    service = _Service(["a", "b"], [])
    found = list_all(
        service.ask,
        exists=lambda path: path in service.paths,
        folder="",
        top_level=lambda: {"other"},
        policy=_IMPATIENT,
    )
    assert next(found)["path"] == "a"
    service.paths.remove("b")
    assert [item["path"] for item in found] in ([], ["b"])


@pytest.mark.parametrize("fault", ["twice", "broken", "empty"])
def test_what_stays_broken_is_an_error(fault: str) -> None:
    service = _Service(["a", "b", "c"], ["", *[fault] * 100])
    with pytest.raises(RequestFailed):
        service.list(_IMPATIENT)


@pytest.mark.parametrize(
    ("top_level", "asked"), [({"other"}, 1), ({"other", "folder"}, 2), (set[str](), 4)]
)
def test_how_much_it_takes_to_be_empty(top_level: set[str], asked: int) -> None:
    service = _Service([], [])
    found = list_all(
        service.ask,
        exists=lambda path: False,
        folder="folder/",
        top_level=lambda: top_level,
        policy=_IMPATIENT,
    )
    assert not list(found)
    assert service.asked == asked
