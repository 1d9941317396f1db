"""Which restore points of a VM live, by the rules an administrator gives, and why.

Owns the meaning of the rules. Must not know repositories, clocks or files: the caller brings facts
and the present time. Enter at `decide`.

Meaning of the rules, as users of restic and Proxmox Backup Server expect: each rule looks at all
points of one VM by itself, a point lives when any rule keeps it, and of each period (hour, day,
week, month, year in the given time zone) that has points the newest one is kept, for the newest N
such periods.

What no rule can do:

- remove the newest point of a VM, the newest sound one, a held one, or one younger than the
  minimum age;
- let a point in doubt push out a sound one: sound points are chosen as if the others did not
  exist, and a point in doubt stands for a period only when the period has no sound one;
- judge a point by an implausible time. Such a point is never removed by rule and counts for
  nothing. Whoever may add points could otherwise push out the real ones with points dated into the
  future or one second later than theirs; a wrong clock does the same by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

LONGEST_RUN = timedelta(days=7)
"""A capture is taken to be written down within this time. Rather too long than too short: what is
older is kept, and a first full backup of a large VM over a slow line takes days."""
CLOCK_LEAD = timedelta(minutes=5)
"""How far a writer's clock may be ahead of the storage's."""
CLOCK_LAG = timedelta(hours=1)
"""How far it may be behind, or the last write of a run may take."""
_EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
"""Also far enough from the first year of `datetime` to be moved to any time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFacts:
    """What retention needs to know of a point. All times are aware."""

    id: str
    platform: str
    vm_id: str
    captured_at: datetime
    """The instant of the content, by the clock of whoever captured it. Periods go by this."""
    created_at: datetime
    """When the point was written down, by the writer's clock."""
    stored_at: datetime
    """When the storage received it, by the storage's clock: the only one the writer cannot set."""
    suspect: str = ""
    """Why its content is in doubt; empty when it is sound."""
    held: str = ""
    """Why it is held; empty when it is not."""
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """Counts of 0 keep nothing by themselves."""

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    """Weeks of ISO 8601: from Monday to Sunday."""
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within: timedelta | None = None
    """Everything up to this much older than the VM's newest point: a VM that is not backed up any
    more does not lose its points by the passing of time."""
    keep_tags: Sequence[str] = ()
    """Points with any of these tags."""
    minimum_age: timedelta = timedelta(0)
    """Nothing goes that has been in the storage for less."""
    trust_old_times: bool = False
    """Take points at their word that are stored long after their recorded times. Right for a
    repository whose objects were copied or moved, where all are; it lets whoever adds points date
    them back. Times ahead of the storage's are never believed."""

    def __post_init__(self) -> None:
        if min(self._counts()) < 0:
            raise ValueError("a count of points to keep is negative")
        if min(self.keep_within or timedelta(0), self.minimum_age) < timedelta(0):
            raise ValueError("a time to keep points is negative")

    @property
    def is_empty(self) -> bool:
        """True when no rule would keep anything."""
        return not (any(self._counts()) or self.keep_within is not None or self.keep_tags)

    def _counts(self) -> Sequence[int]:
        return (self.keep_last, *(period.wanted(self) for period in _PERIODS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one point, and all reasons for it, in words."""

    id: str
    keep: bool
    reasons: Sequence[str]


def decide(
    points: Sequence[PointFacts], rules: RetentionRules, now: datetime, *, time_zone: tzinfo
) -> Sequence[Decision]:
    """One decision for each point, in the order given. VMs do not influence each other.

    `now` is the storage's present time, aware. With no rule given, everything is kept.
    """
    groups: dict[tuple[str, str], list[PointFacts]] = {}
    for point in points:
        groups.setdefault((point.platform, point.vm_id), []).append(point)
    kept: dict[str, list[str]] = {}
    for group in groups.values():
        kept.update(_Vm(group, rules, now, time_zone).decide())
    return [
        Decision(id=point.id, keep=True, reasons=tuple(kept[point.id]))
        if kept[point.id]
        else Decision(id=point.id, keep=False, reasons=("no rule keeps it",))
        for point in points
    ]


def implausible(point: PointFacts, now: datetime, *, trust_old_times: bool = False) -> str:
    """Why the times of a point are not to be believed; empty when they are.

    `captured_at` is an instant, the object is written at the end of a run that may have taken
    days, and `created_at` is read right before. So the last two must agree within what clocks and
    one write allow, and the first may precede them by the length of a run, but not follow.
    """
    captured, created, stored = point.captured_at, point.created_at, point.stored_at
    if min(captured, created) < _EARLIEST:
        return "there were no backups then"
    long_before = not trust_old_times
    findings = (
        (stored - now > CLOCK_LEAD, "it was stored in the future"),
        (max(captured, created) - stored > CLOCK_LEAD, "it was stored before the time it gives"),
        (captured - created > CLOCK_LEAD, "it was captured after it was written"),
        (
            long_before and stored - created > CLOCK_LAG,
            "it was stored long after it says that it was written",
        ),
        (
            long_before and created - captured > LONGEST_RUN,
            f"it was written more than {_in_words(LONGEST_RUN)} after its capture",
        ),
    )
    return next((finding for is_so, finding in findings if is_so), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Period:
    adjective: str
    wanted: Callable[[RetentionRules], int]
    """How many of them to keep."""
    of: Callable[[datetime], Hashable]
    """The period that a local time lies in."""
    label: Callable[[datetime], str]


_PERIODS = (
    _Period(
        adjective="hourly",
        wanted=lambda rules: rules.keep_hourly,
        # With the offset: when clocks go back, the same hour comes twice.
        of=lambda at: (at.date(), at.hour, at.utcoffset()),
        label=lambda at: f"{at:%Y-%m-%d %H}:00",
    ),
    _Period(
        adjective="daily",
        wanted=lambda rules: rules.keep_daily,
        of=lambda at: at.date(),
        label=lambda at: f"{at:%Y-%m-%d}",
    ),
    _Period(
        adjective="weekly",
        wanted=lambda rules: rules.keep_weekly,
        of=lambda at: at.isocalendar()[:2],
        label=lambda at: f"{at:%G-W%V}",
    ),
    _Period(
        adjective="monthly",
        wanted=lambda rules: rules.keep_monthly,
        of=lambda at: (at.year, at.month),
        label=lambda at: f"{at:%Y-%m}",
    ),
    _Period(
        adjective="yearly",
        wanted=lambda rules: rules.keep_yearly,
        of=lambda at: at.year,
        label=lambda at: f"{at:%Y}",
    ),
)


@dataclass(slots=True)
class _Vm:
    """The decisions for one VM: reasons to live, by point."""

    points: Sequence[PointFacts]
    rules: RetentionRules
    now: datetime
    time_zone: tzinfo
    reasons: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def decide(self) -> dict[str, list[str]]:
        self.reasons = {point.id: [] for point in self.points}
        credible = [point for point in self.points if not self._keep_implausible(point)]
        credible.sort(key=lambda point: (point.captured_at, point.id), reverse=True)
        self._keep_always(credible)
        self._keep_last(credible)
        for period in _PERIODS:
            self._keep_periods(credible, period)
        self._keep_within(credible)
        self._keep_tagged(credible)
        return self.reasons

    def _keep_implausible(self, point: PointFacts) -> bool:
        why = implausible(point, self.now, trust_old_times=self.rules.trust_old_times)
        if why:
            self._keep([point], f"its time is implausible ({why}): never removed by rule")
        return bool(why)

    def _keep_always(self, newest_first: Sequence[PointFacts]) -> None:
        self._keep(newest_first[:1], "newest of the VM")
        sound = [point for point in newest_first if not point.suspect]
        if newest_first[:1] != sound[:1]:
            self._keep(sound[:1], "newest of the VM that is not in doubt")
        for point in self.points:
            if point.held:
                self._keep([point], f"held: {point.held}")
            minimum = self.rules.minimum_age
            if minimum and self.now - point.stored_at < minimum:
                self._keep([point], f"younger than the minimum age of {_in_words(minimum)}")
        if self.rules.is_empty:
            self._keep(self.points, "no rule was given")

    def _keep_last(self, newest_first: Sequence[PointFacts]) -> None:
        count = self.rules.keep_last
        sound = [point for point in newest_first if not point.suspect]
        # Those in doubt among the last live too, besides the sound ones and not in their place.
        doubted = [point for point in newest_first[:count] if point.suspect]
        self._keep([*sound[:count], *doubted], f"one of the last {count}")

    def _keep_periods(self, newest_first: Sequence[PointFacts], period: _Period) -> None:
        count = period.wanted(self.rules)
        sound = [point for point in newest_first if not point.suspect]
        chosen = self._newest_of_each(sound, period)[:count]
        # A period counts for the points in doubt as if all were sound, so that a run of them is
        # thinned out and not lost.
        everything = self._newest_of_each([*sound, *newest_first], period)
        everything.sort(key=lambda point: point.captured_at, reverse=True)
        doubted = [point for point in everything[:count] if point.suspect]
        for point in (*chosen, *doubted):
            label = period.label(point.captured_at.astimezone(self.time_zone))
            self._keep([point], f"kept as the {period.adjective} of {label}")

    def _newest_of_each(self, points: Iterable[PointFacts], period: _Period) -> list[PointFacts]:
        """The first point of each period, in the order given."""
        first: dict[Hashable, PointFacts] = {}
        for point in points:
            first.setdefault(period.of(point.captured_at.astimezone(self.time_zone)), point)
        return list(first.values())

    def _keep_within(self, newest_first: Sequence[PointFacts]) -> None:
        within = self.rules.keep_within
        if within is None or not newest_first:
            return
        # Counted from a sound one: a newer point in doubt must not move the limit.
        sound = [point for point in newest_first if not point.suspect]
        newest = (sound or newest_first)[0].captured_at
        recent = [point for point in newest_first if newest - point.captured_at <= within]
        self._keep(recent, f"within {_in_words(within)} of the newest")

    def _keep_tagged(self, newest_first: Sequence[PointFacts]) -> None:
        for point in newest_first:
            for tag in point.tags:
                if tag in self.rules.keep_tags:
                    self._keep([point], f"tagged {tag}")

    def _keep(self, points: Iterable[PointFacts], reason: str) -> None:
        for point in points:
            self.reasons[point.id].append(reason)


def _in_words(span: timedelta) -> str:
    """`1 d 12 h`; exact to the minute."""
    hours, seconds = divmod(span.seconds, 3600)
    parts = ((span.days, "d"), (hours, "h"), (seconds // 60, "min"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 min"
