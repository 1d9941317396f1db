"""Listings in pages from a service that leaves out, repeats and breaks off."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from obstore.exceptions import GenericError

from holdfast.repository.store import s3_listing
from holdfast.repository.store.s3_faults import RequestFailed, RetryPolicy
from holdfast.repository.store.s3_listing import ListedObject, list_all, list_small, list_stretches

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
        self.by_components = False

    def ask(self, after: str | None) -> Iterator[Sequence[ListedObject]]:
        self.asked += 1
        left = [path for path in self.paths if after is None or self._is_after(path, after)]
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

    def _is_after(self, path: str, after: str) -> bool:
        return _components(path) > _components(after) if self.by_components else path > after

    def list(self, policy: RetryPolicy = _POLICY) -> list[str]:
        found = list_all(
            self.ask,
            exists=lambda path: path in self.paths,
            folder="folder/",
            top_level=lambda: {"folder"} if self.paths else set[str](),
            policy=policy,
        )
        return [item["path"] for item in found]

    def list_small_first(self, policy: RetryPolicy = _POLICY, *, top: str = "folder") -> list[str]:
        """As a bucket does: at once if that proves anything."""
        small = list_small(
            self.ask,
            folder="folder/",
            before="",
            top_level=lambda: {top} - {""},
            page=1000,
            proven=1000,
        )
        if small.found is not None:
            return [item["path"] for item in small.found]
        found = list_all(
            self.ask,
            exists=lambda path: path in self.paths,
            folder="folder/",
            top_level=lambda: {top} - {""},
            policy=policy,
            shown=small.shown,
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
    # Two wrong ends in a row are believed, as they agree.
    kept: list[str] = []
    for fault in faults:
        kept += [""] if kept and {fault, kept[-1]} <= {"empty", "short"} else [fault]
    assert _Service(sorted(paths), kept if paths else []).list() == sorted(paths)


@pytest.mark.parametrize("second", _FAULTS)
@pytest.mark.parametrize("first", _FAULTS)
def test_two_answers_at_once_miss_nothing(first: str, second: str) -> None:
    if first == second == "short":
        return  # believed, as two in a row are
    paths = ["folder/a", "folder/b", "folder/c"]
    assert _Service(paths, [first, second]).list_small_first() == paths


def test_two_answers_at_once_cost_no_more_than_two() -> None:
    service = _Service(["folder/a", "folder/b"], [])
    assert service.list_small_first() == ["folder/a", "folder/b"]
    assert service.asked == 2


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_service_that_ends_every_answer_at_a_number_is_found_out(most: int) -> None:
    """Two answers of it agree."""
    paths = [f"folder/{number:02}" for number in range(9)]

    def ask(after: str | None) -> Iterator[Sequence[ListedObject]]:
        yield [_item(path) for path in paths if after is None or path > after][:most]

    small = list_small(ask, folder="folder/", before="", top_level=None, page=1000, proven=0)
    assert small.found is None
    assert set(small.shown) == set(paths[:most])
    whole = list_small(ask, folder="folder/", before="", top_level=None, page=1000, proven=most)
    assert whole.found is not None, "what was proven is not asked for again"


def test_an_end_is_proven_once_for_as_many_objects() -> None:
    service = _Service(["folder/a", "folder/b"], [])
    small = list_small(
        service.ask, folder="folder/", before="", top_level=None, page=1000, proven=1
    )
    assert small.found is not None
    assert service.asked == 3


def test_what_one_answer_has_shown_is_not_missed_when_all_others_are_empty() -> None:
    with pytest.raises(RequestFailed):
        _Service(["folder/a"], ["", *["empty"] * 20]).list_small_first(top="")


def test_two_empty_answers_are_not_believed_when_the_top_level_shows_nothing() -> None:
    service = _Service(["folder/a"], ["empty", "empty"])
    assert service.list_small_first(top="") == ["folder/a"]


@pytest.mark.parametrize("empty", [2, 3, 5])
def test_empty_answers_are_hardly_believed_while_the_top_level_shows_the_folder(empty: int) -> None:
    """Some pages of a proxy, taken for answers without a key, while another request came through:
    a repository's points must not seem to be gone."""
    service = _Service(["folder/a"], ["empty"] * empty)
    assert service.list_small_first() == ["folder/a"]


@pytest.mark.parametrize("count", [1000, 1001])
def test_a_full_page_is_not_small(count: int) -> None:
    service = _Service([f"folder/{number:04}" for number in range(count)], [])
    small = list_small(
        service.ask, folder="folder/", before="", top_level=None, page=1000, proven=1000
    )
    assert small.found is None


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
    ("top_level", "asked"), [({"other"}, 1), ({"other", "folder"}, 4), (set[str](), 4)]
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


_NAMES = st.text("0f-/", min_size=1, max_size=5).map(lambda name: f"folder/{name}")


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "_STRETCH", 3)


@pytest.mark.usefixtures("short_stretches")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(_NAMES, max_size=20),
    st.sets(_NAMES, max_size=20),
    st.sampled_from(_FAULTS),
    st.integers(0, 12),
    st.booleans(),
)
def test_stretches_leave_nothing_out(
    paths: set[str], gone: set[str], fault: str, position: int, by_components: bool
) -> None:
    """Whatever was known before, whatever one answer lacks, in either order of servers."""
    service = _Service([], [*[""] * position, fault])
    service.paths = sorted(paths, key=_components if by_components else None)
    service.by_components = by_components
    found = list_stretches(service.ask, sorted(paths | gone))
    assert found is None or [item["path"] for item in found] == service.paths


@pytest.mark.usefixtures("short_stretches")
def test_stretches_are_asked_for_at_once() -> None:
    """Each answer waits for the others: one after the other they would never come."""
    paths = [f"folder/{number:02}" for number in range(12)]
    barrier = threading.Barrier(4)
    service = _Service(paths, [])

    def ask(after: str | None) -> Iterator[Sequence[ListedObject]]:
        if service.asked < 4:
            service.asked += 1
            barrier.wait(10)
        return service.ask(after)

    found = list_stretches(ask, paths)
    assert found is not None
    assert [item["path"] for item in found] == paths


@pytest.mark.usefixtures("short_stretches")
def test_what_came_since_and_what_went_is_seen_by_stretches() -> None:
    known = [f"folder/{number:02}" for number in range(12)]
    now = sorted({*known, "folder/03-new", "folder/11-new"} - {"folder/06", "folder/00"})
    found = list_stretches(_Service(now, []).ask, known)
    assert found is not None
    assert [item["path"] for item in found] == now


@pytest.mark.usefixtures("short_stretches")
def test_an_end_that_changes_is_not_proven() -> None:
    paths = [f"folder/{number:02}" for number in range(12)]
    service = _Service(paths, [])

    def ask(after: str | None) -> Iterator[Sequence[ListedObject]]:
        yield from service.ask(after)
        if after is not None and after >= paths[8]:
            service.paths = [*paths, "folder/99"]

    assert list_stretches(ask, paths) is None


def _components(path: str) -> list[str]:
    return path.split("/")
