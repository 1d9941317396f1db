"""Retention rules: against a brute-force model, and the cases that lose data when got wrong."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.retention import (
    CLOCK_LAG,
    CLOCK_LEAD,
    LONGEST_RUN,
    PointFacts,
    RetentionRules,
    decide,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def point(name: str, captured_at: datetime, **changes: object) -> PointFacts:
    """Captured, written and stored at one instant."""
    at = captured_at.astimezone(UTC)
    facts = PointFacts(
        id=name, platform="p", vm_id="vm", captured_at=at, created_at=at, stored_at=at
    )
    return replace(facts, **changes)  # pyright: ignore[reportArgumentType]


def days(count: int, *, until: datetime = NOW) -> list[PointFacts]:
    """One point a day, oldest first: `d0` is the newest."""
    return [point(f"d{age}", until - age * DAY) for age in reversed(range(count))]


def kept(
    points: Sequence[PointFacts],
    rules: RetentionRules,
    *,
    now: datetime = NOW,
    time_zone: tzinfo = UTC,
) -> set[str]:
    return {item.id for item in decide(points, rules, now, time_zone=time_zone) if item.keep}


def reasons(points: Sequence[PointFacts], rules: RetentionRules, name: str) -> Sequence[str]:
    decisions = decide(points, rules, NOW, time_zone=UTC)
    return next(item.reasons for item in decisions if item.id == name)


# -- what each rule means -----------------------------------------------------------------------


def test_last() -> None:
    assert kept(days(10), RetentionRules(keep_last=3)) == {"d0", "d1", "d2"}


def test_newest_of_each_day_that_has_points() -> None:
    points = [
        point("old", datetime(2026, 11, 1, 23, tzinfo=UTC)),
        point("early", datetime(2026, 11, 20, 1, tzinfo=UTC)),
        point("late", datetime(2026, 11, 20, 22, tzinfo=UTC)),
        point("today", datetime(2026, 11, 22, 2, tzinfo=UTC)),
    ]
    rules = RetentionRules(keep_daily=3)
    assert kept(points, rules) == {"old", "late", "today"}
    assert reasons(points, rules, "late") == ("kept as the daily of 2026-11-20",)
    assert reasons(points, rules, "early") == ("no rule keeps it",)
    assert reasons(points, rules, "today") == (
        "newest of the VM",
        "kept as the daily of 2026-11-22",
    )


def test_weeks_are_those_of_the_calendar_also_over_new_year() -> None:
    thursday = point("thu", datetime(2026, 12, 31, 12, tzinfo=UTC))
    sunday = point("sun", datetime(2027, 1, 3, 12, tzinfo=UTC))
    monday = point("mon", datetime(2027, 1, 4, 12, tzinfo=UTC))
    now = datetime(2027, 1, 4, 13, tzinfo=UTC)
    rules = RetentionRules(keep_weekly=5)
    decisions = decide([thursday, sunday, monday], rules, now, time_zone=UTC)
    assert [item.keep for item in decisions] == [False, True, True]
    assert decisions[1].reasons == ("kept as the weekly of 2026-W53",)


def test_months_and_years() -> None:
    points = days(800)
    rules = RetentionRules(keep_monthly=2, keep_yearly=9)
    assert kept(points, rules) == {"d0", "d22", "d326", "d691"}


def test_a_point_lives_when_any_rule_keeps_it_and_all_are_told() -> None:
    points = [*days(5), point("tagged", NOW - 9 * DAY, tags=("quarter", "other"))]
    rules = RetentionRules(keep_last=1, keep_tags=("quarter", "release"))
    assert kept(points, rules) == {"d0", "tagged"}
    assert reasons(points, rules, "tagged") == ("tagged quarter",)
    assert reasons(points, rules, "d0") == ("newest of the VM", "one of the last 1")


def test_within_is_counted_from_the_newest_point() -> None:
    """A VM that was switched off does not lose its points by the passing of time."""
    points = days(10, until=NOW - 300 * DAY)
    assert kept(points, RetentionRules(keep_within=3 * DAY)) == {"d0", "d1", "d2", "d3"}
    forever = RetentionRules(keep_within=timedelta.max)
    assert len(kept(points, forever)) == 10


def test_minimum_age_is_by_the_time_in_the_storage() -> None:
    points = [point("x", NOW - 5 * DAY, stored_at=NOW - HOUR, created_at=NOW - HOUR), *days(3)]
    assert kept(points, RetentionRules(keep_last=1, minimum_age=2 * HOUR)) == {"d0", "x"}
    assert kept(points, RetentionRules(keep_last=1)) == {"d0"}


def test_no_rule_keeps_everything() -> None:
    assert RetentionRules(minimum_age=DAY).is_empty
    assert len(kept(days(4), RetentionRules())) == 4
    assert not RetentionRules(keep_within=timedelta(0)).is_empty


@pytest.mark.parametrize(
    "wrong", [{"keep_last": -1}, {"keep_yearly": -1}, {"keep_within": -DAY}, {"minimum_age": -DAY}]
)
def test_negative_rules_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="negative"):
        RetentionRules(**wrong)  # pyright: ignore[reportArgumentType]


# -- time zones ---------------------------------------------------------------------------------


def test_days_begin_in_the_time_zone_given() -> None:
    points = [
        point("a", datetime(2026, 11, 20, 22, 30, tzinfo=UTC)),  # 23:30 in Berlin
        point("b", datetime(2026, 11, 20, 23, 30, tzinfo=UTC)),  # 00:30 on the 21st
        point("c", datetime(2026, 11, 21, 9, 0, tzinfo=UTC)),
    ]
    rules = RetentionRules(keep_daily=2)
    assert kept(points, rules, time_zone=BERLIN) == {"a", "c"}
    assert kept(points, rules, time_zone=UTC) == {"b", "c"}


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    first = point("first", datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0))
    second = point("second", datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1))
    later = point("later", datetime(2026, 10, 25, 3, 30, tzinfo=BERLIN))
    assert first.captured_at < second.captured_at
    points = [first, second, later]
    three = kept(points, RetentionRules(keep_hourly=3), time_zone=BERLIN)
    assert three == {"first", "second", "later"}


@pytest.mark.parametrize("day", [datetime(2026, 3, 29), datetime(2026, 10, 25)])  # noqa: DTZ001
def test_the_days_of_23_and_25_hours_are_one_day(day: datetime) -> None:
    start = day.replace(tzinfo=BERLIN).astimezone(UTC) - 2 * HOUR
    points = [point(f"h{hour}", start + hour * HOUR) for hour in range(30)]
    chosen = kept(points, RetentionRules(keep_daily=9), time_zone=BERLIN)
    dates = [p.captured_at.astimezone(BERLIN).date() for p in points]
    assert len(chosen) == len(set(dates)) == 3


# -- what no rule can do ------------------------------------------------------------------------


def test_the_newest_of_every_vm_lives_and_vms_do_not_meet() -> None:
    mine, old = days(5), point("other", NOW - 500 * DAY, vm_id="other")
    same_id = point("elsewhere", NOW - 600 * DAY, platform="q")
    assert kept([*mine, old, same_id], RetentionRules(keep_last=1)) == {"d0", "other", "elsewhere"}
    by_tag = RetentionRules(keep_tags=("nothing",))
    assert kept([*mine, old], by_tag) == {"d0", "other"}


def test_held_points_live() -> None:
    points = [*days(3), point("h", NOW - 90 * DAY, held="court order")]
    rules = RetentionRules(keep_last=1)
    assert kept(points, rules) == {"d0", "h"}
    assert reasons(points, rules, "h") == ("held: court order",)


@pytest.mark.parametrize(
    "rules",
    [
        RetentionRules(keep_last=3),
        RetentionRules(keep_daily=3),
        RetentionRules(keep_within=2 * DAY),
    ],
)
def test_points_in_doubt_do_not_push_out_sound_ones(rules: RetentionRules) -> None:
    sound = days(6, until=NOW - 3 * DAY)
    doubted = [point(f"x{age}", NOW - age * DAY, suspect="a lying bitmap") for age in range(3)]
    without = kept(sound, rules)
    together = kept([*sound, *doubted], rules)
    assert together & {p.id for p in sound} == without == {"d0", "d1", "d2"}
    # Nor are they lost: they may be all there is of these days.
    assert together >= {"x0", "x1", "x2"}


def test_a_sound_point_stands_for_its_day_although_a_doubted_one_is_newer() -> None:
    points = [
        point("sound", NOW - DAY - 2 * HOUR),
        point("doubted", NOW - DAY - HOUR, suspect="?"),
        point("newest", NOW, suspect="?"),
    ]
    decisions = decide(points, RetentionRules(keep_daily=2), NOW, time_zone=UTC)
    assert [item.keep for item in decisions] == [True, False, True]
    assert decisions[0].reasons == (
        "newest of the VM that is not in doubt",
        "kept as the daily of 2026-11-21",
    )


@pytest.mark.parametrize(
    "times",
    [
        {"captured_at": NOW + 6 * 60 * timedelta(seconds=1)},
        {"captured_at": NOW + 400 * DAY, "created_at": NOW + 400 * DAY},
        {"created_at": datetime.max.replace(tzinfo=UTC)},
        {"captured_at": datetime.max.replace(tzinfo=UTC)},
        {"captured_at": datetime.min.replace(tzinfo=UTC)},
        {"captured_at": NOW - LONGEST_RUN - HOUR},
        {"captured_at": NOW - 30 * DAY, "created_at": NOW - 30 * DAY},
        {"created_at": NOW - CLOCK_LAG - HOUR},
        {"captured_at": NOW, "created_at": NOW - CLOCK_LEAD - timedelta(minutes=1)},
        {"stored_at": NOW + DAY},
        # The storage's clock was ahead, and so was the writer's.
        dict.fromkeys(("captured_at", "created_at", "stored_at"), NOW + DAY),
    ],
)
def test_implausible_times_count_for_nothing_and_are_never_removed(
    times: dict[str, object],
) -> None:
    real = days(60)
    strange = replace(point("strange", NOW), **times)  # pyright: ignore[reportArgumentType]
    rules = RetentionRules(keep_last=1, keep_daily=40, keep_within=3 * DAY)
    without = kept(real, rules)
    assert kept([*real, strange], rules) == without | {"strange"}
    (reason,) = reasons([*real, strange], rules, "strange")
    assert reason.startswith("its time is implausible")


@pytest.mark.parametrize(
    "times",
    [
        {"captured_at": NOW - 6 * DAY},  # a long first backup
        {"captured_at": NOW + 4 * 60 * timedelta(seconds=1)},
        {"captured_at": NOW - 50 * 60 * timedelta(seconds=1), "created_at": NOW - 0.8 * HOUR},
    ],
)
def test_long_runs_and_clocks_that_differ_a_little_are_plausible(times: dict[str, object]) -> None:
    strange = replace(point("x", NOW), **times)  # pyright: ignore[reportArgumentType]
    points = [strange, point("newer", NOW + timedelta(minutes=4.5))]
    assert kept(points, RetentionRules(keep_tags=("none",))) == {"newer"}


def test_points_added_with_times_shifted_back_push_out_nothing() -> None:
    """Whoever may add points dates one to the last second of every past day."""
    real = days(30)
    forged = [
        point(f"f{p.id}", p.captured_at.replace(hour=23, minute=59), stored_at=NOW)
        for p in real[:-1]
    ]
    rules = RetentionRules(keep_daily=30)
    assert kept([*real, *forged], rules) >= {p.id for p in real}
    trusting = replace(rules, trust_old_times=True)
    assert not kept([*real, *forged], trusting) >= {p.id for p in real}


def test_a_copied_repository_is_judged_by_its_recorded_times_only_when_told() -> None:
    copied = [replace(p, stored_at=NOW) for p in days(30)]
    rules = RetentionRules(keep_last=2)
    assert len(kept(copied, rules)) == 30
    assert kept(copied, replace(rules, trust_old_times=True)) == {"d0", "d1"}


# -- against a model ----------------------------------------------------------------------------

_ZONES = st.sampled_from(
    [UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Pacific/Apia"), ZoneInfo("Asia/Kolkata")]
)
_COUNTS = st.integers(0, 4)
_RULES = st.builds(
    RetentionRules,
    keep_last=_COUNTS,
    keep_hourly=_COUNTS,
    keep_daily=_COUNTS,
    keep_weekly=_COUNTS,
    keep_monthly=_COUNTS,
    keep_yearly=_COUNTS,
    keep_within=st.none() | st.integers(0, 90).map(lambda hours: hours * HOUR),
    keep_tags=st.sampled_from([(), ("a",), ("a", "b")]),
    minimum_age=st.sampled_from([timedelta(0), DAY]),
)


@st.composite
def histories(draw: st.DrawFn) -> list[PointFacts]:
    """Points near the changes of clocks, year and month; some in doubt, held, tagged, strange."""
    points: list[PointFacts] = []
    for number in range(draw(st.integers(1, 14))):
        anchor = draw(
            st.sampled_from(
                [
                    datetime(2025, 12, 31, 12, tzinfo=UTC),
                    datetime(2026, 3, 29, 0, tzinfo=UTC),
                    datetime(2026, 10, 25, 0, tzinfo=UTC),
                    datetime(2026, 11, 21, 12, tzinfo=UTC),
                ]
            )
        )
        at = anchor + draw(st.integers(-30 * 12, 23 * 12)) * timedelta(minutes=5)
        points.append(
            point(
                f"p{number:02}",
                at,
                vm_id=draw(st.sampled_from(["one", "one", "two"])),
                stored_at=at + draw(st.sampled_from([timedelta(0)] * 5 + [2 * HOUR, -HOUR])),
                suspect=draw(st.sampled_from(["", "", "", "doubt"])),
                held=draw(st.sampled_from(["", "", "", "", "why"])),
                tags=draw(st.sampled_from([(), (), ("a",), ("b", "c")])),
            )
        )
    return points


_PERIOD_OF: dict[str, Callable[[datetime], Hashable]] = {
    "keep_hourly": lambda at: (at.strftime("%Y-%m-%d %H"), at.utcoffset()),
    "keep_daily": lambda at: at.strftime("%Y-%m-%d"),
    "keep_weekly": lambda at: at.strftime("%G-%V"),
    "keep_monthly": lambda at: at.strftime("%Y-%m"),
    "keep_yearly": lambda at: at.strftime("%Y"),
}


def _model(
    mine: Sequence[PointFacts], rules: RetentionRules, zone: tzinfo, chosen: PointFacts
) -> bool:
    """Whether one sound point of a VM without points in doubt lives, by counting what is newer."""
    credible = [p for p in mine if timedelta(0) <= p.stored_at - p.captured_at <= CLOCK_LAG]
    if rules.is_empty or chosen.held or NOW - chosen.stored_at < rules.minimum_age:
        return True
    if chosen not in credible:
        return True
    newer = [p for p in credible if (p.captured_at, p.id) > (chosen.captured_at, chosen.id)]
    if not newer or len(newer) < rules.keep_last or set(chosen.tags) & set(rules.keep_tags):
        return True
    newest = max(p.captured_at for p in newer)
    if rules.keep_within is not None and newest - chosen.captured_at <= rules.keep_within:
        return True
    for rule, period_of in _PERIOD_OF.items():
        period = period_of(chosen.captured_at.astimezone(zone))
        periods = {period_of(p.captured_at.astimezone(zone)) for p in newer}
        if period not in periods and len(periods) < getattr(rules, rule):
            return True
    return False


@given(histories(), _RULES, _ZONES)
def test_sound_points_against_a_model(
    points: list[PointFacts], rules: RetentionRules, zone: tzinfo
) -> None:
    """Points in doubt are present and must not matter to the sound ones."""
    chosen = kept(points, rules, time_zone=zone)
    sound = [p for p in points if not p.suspect]
    for p in sound:
        mine = [other for other in sound if other.vm_id == p.vm_id]
        expected = _model(mine, rules, zone, p)
        # A point in doubt may be the newest of all; the newest sound one lives all the same.
        assert (p.id in chosen) == expected


@given(histories(), _RULES, _ZONES, st.randoms(use_true_random=False))
def test_properties(
    points: list[PointFacts], rules: RetentionRules, zone: tzinfo, chance: object
) -> None:
    decisions = decide(points, rules, NOW, time_zone=zone)
    assert [item.id for item in decisions] == [p.id for p in points]
    assert all(item.reasons for item in decisions)
    chosen = kept(points, rules, time_zone=zone)
    shuffled = list(points)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert kept(shuffled, rules, time_zone=zone) == chosen
    for vm in {p.vm_id for p in points}:
        mine = [p for p in points if p.vm_id == vm]
        assert kept(mine, rules, time_zone=zone) == chosen & {p.id for p in mine}
        assert chosen & {p.id for p in mine}
        credible = [p for p in mine if timedelta(0) <= p.stored_at - p.captured_at <= CLOCK_LAG]
        sound = [p for p in credible if not p.suspect]
        for group in (credible, sound):
            if group:
                assert max(group, key=lambda p: (p.captured_at, p.id)).id in chosen
    # Deciding again after the deletion deletes no more.
    survivors = [p for p in points if p.id in chosen]
    assert kept(survivors, rules, time_zone=zone) == chosen
