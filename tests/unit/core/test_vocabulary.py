"""The vocabulary: units, extents, ids, clock, cancellation, failpoints, errors."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import SystemClock, format_time, parse_time
from holdfast.core.errors import Cancelled, HoldfastError, InjectedFault
from holdfast.core.extents import Extent, clip_extents, merge_extents, total_length
from holdfast.core.failpoints import FAILPOINTS, arm, disarm, failpoint
from holdfast.core.ids import is_uuid, uuid7
from holdfast.core.units import (
    GIB,
    KIB,
    MIB,
    TIB,
    ceil_div,
    format_bytes,
    format_count,
    format_duration,
    parse_size,
)

# -- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64K", 64 * KIB),
        ("64 KiB", 64 * KIB),
        ("64kb", 64 * KIB),
        ("1.5GiB", 3 * GIB // 2),
        ("3t", 3 * TIB),
        (" 16 MiB ", 16 * MIB),
    ],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "nan", "inf", "1e999", "12 apples", "0x10"])
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


def test_sizes_for_a_person() -> None:
    sizes = [0, 1023, KIB, 1536, MIB, 5 * GIB, 3 * TIB]
    texts = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "3.0 TiB"]
    assert [format_bytes(size) for size in sizes] == texts


def test_counts_for_a_person() -> None:
    counts = [format_count(number, "restore point") for number in (0, 1, 2)]
    assert counts == ["0 restore points", "1 restore point", "2 restore points"]


def test_durations_for_a_person() -> None:
    seconds = [0, 9.94, 10, 59.4, 75.3, 3600, 7260]
    texts = ["0.0 s", "9.9 s", "10 s", "59 s", "1 min 15 s", "1 h 0 min", "2 h 1 min"]
    assert [format_duration(value) for value in seconds] == texts


@given(st.integers(0, 2**70), st.integers(1, 2**40))
def test_ceil_div(dividend: int, divisor: int) -> None:
    blocks = ceil_div(dividend, divisor)
    assert (blocks - 1) * divisor < dividend <= blocks * divisor


# -- extents --------------------------------------------------------------------------------------


@st.composite
def _extents(draw: st.DrawFn) -> list[Extent]:
    position, extents = 0, list[Extent]()
    for gap, length, zero in draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=15)
    ):
        extents.append(Extent(offset=position + gap, length=length, zero=zero))
        position += gap + length
    return extents


def _bytes(extents: list[Extent]) -> dict[int, bool]:
    return {byte: extent.zero for extent in extents for byte in range(extent.offset, extent.end)}


@given(_extents())
def test_merging_keeps_every_byte(extents: list[Extent]) -> None:
    merged = list(merge_extents(extents))
    assert _bytes(merged) == _bytes(extents)
    assert total_length(merged) == total_length(extents)
    for before, after in zip(merged, merged[1:], strict=False):  # noqa: RUF007
        assert before.end < after.offset or before.zero != after.zero
    assert all(extent.length for extent in merged)


@given(_extents(), st.integers(0, 60))
def test_clipping_keeps_what_is_inside(extents: list[Extent], size: int) -> None:
    clipped = list(clip_extents(extents, size))
    inside = {byte: zero for byte, zero in _bytes(extents).items() if byte < size}
    assert _bytes(clipped) == inside


# -- ids and clock --------------------------------------------------------------------------------


class _FixedClock(SystemClock):
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def test_ids_sort_by_time_and_are_version_7() -> None:
    start = datetime(2026, 1, 31, tzinfo=UTC)
    ids = [str(uuid7(_FixedClock(start + timedelta(milliseconds=ms)))) for ms in range(50)]
    assert ids == sorted(ids)
    assert all(is_uuid(text) and text[14] == "7" and text[19] in "89ab" for text in ids)
    assert len({str(uuid7(_FixedClock(start))) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", ["", "x", "0190AAAA-BBBB-7CCC-8DDD-EEEEFFFF0000", "0190aaaa"])
def test_what_is_not_an_id(text: str) -> None:
    assert not is_uuid(text)


def test_times_are_utc_with_milliseconds() -> None:
    moment = datetime(2026, 1, 31, 13, 0, 0, 1500, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(moment) == "2026-01-31T12:00:00.001Z"
    assert parse_time("2026-01-31T12:00:00.001Z") == moment.replace(microsecond=1000)
    with pytest.raises(ValueError, match="without an offset"):
        parse_time("2026-01-31T12:00:00")


# -- cancellation ---------------------------------------------------------------------------------


def test_cancellation_is_for_good() -> None:
    token = CancelToken()
    token.check()
    token.cancel("Ctrl-C")
    assert token.is_cancelled
    with pytest.raises(Cancelled, match="Ctrl-C"):
        token.check()


# -- failpoints -----------------------------------------------------------------------------------


@pytest.fixture
def _disarmed() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    disarm()


@pytest.mark.usefixtures("_disarmed")
def test_a_failpoint_acts_on_its_hit_and_once() -> None:
    arm("pack.before_put:error:2,pack.after_put:error")
    failpoint("pack.before_put")
    with pytest.raises(InjectedFault, match=r"pack\.before_put"):
        failpoint("pack.before_put")
    failpoint("pack.before_put")
    with pytest.raises(InjectedFault):
        failpoint("pack.after_put")


@pytest.mark.usefixtures("_disarmed")
def test_unknown_failpoints_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        arm("no.such_step:kill")
    with pytest.raises(ValueError, match="explode"):
        arm("pack.before_put:explode")
    arm("pack.before_put:error")
    with pytest.raises(ValueError, match="unknown"):
        failpoint("no.such_step")


def test_names_of_failpoints() -> None:
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", name) for name in FAILPOINTS)


# -- errors ---------------------------------------------------------------------------------------


for _module in pkgutil.walk_packages(holdfast.__path__, "holdfast."):
    if _module.name.endswith(".errors"):
        importlib.import_module(_module.name)


def _error_classes(base: type[HoldfastError] = HoldfastError) -> list[type[HoldfastError]]:
    found: list[type[HoldfastError]] = []
    for kind in base.__subclasses__():
        if kind.__module__.startswith("holdfast."):
            found.extend([kind, *_error_classes(kind)])
    return found


@pytest.mark.parametrize("kind", _error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_can_be_told(kind: type[HoldfastError]) -> None:
    """Its code is its own, its text and its hint need no field that it lacks."""
    names = [item.name for item in fields(kind)]
    error = kind(**dict.fromkeys(names, 1))
    assert error.message
    assert "{" not in str(error)
    assert re.fullmatch(r"[a-z0-9_]+", error.code)
    assert error.params == dict.fromkeys(names, 1)


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in _error_classes()]
    assert len(codes) == len(set(codes))
