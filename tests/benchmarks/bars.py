"""The bars that the product is held to, judged by the results of one benchmark. Pure.

Times are compared by their shortest run, memory by its highest peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.core.units import MIB
from tests.benchmarks.image_rounds import FLOOR_HASH
from tests.benchmarks.results import Phase, Results, Series
from tests.benchmarks.tools import OURS
from tests.benchmarks.vm_rounds import VIRTNBDBACKUP

_FULL_PEERS = ("qemu-img", "borg", "restic")
_LOCAL = (
    Phase.FULL,
    Phase.UNCHANGED,
    Phase.CHANGED,
    Phase.RESTORE,
    Phase.CHECK,
    Phase.VERIFY,
    Phase.SHRINK,
    Phase.POINTS,
)
_AHEAD = (*_LOCAL, *(phase.on_s3 for phase in _LOCAL), Phase.S3_POINTS_AGAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """At most `limit`; `reached` is None when a side of the comparison was not measured."""

    what: str
    limit: float
    unit: str
    reached: float | None
    against: str
    """The two figures compared."""

    @property
    def held(self) -> bool | None:
        return None if self.reached is None else self.reached <= self.limit


def judge(results: Results) -> list[Bar]:
    full, restore = results.find(Phase.FULL, OURS), results.find(Phase.RESTORE, OURS)
    restic = _present(results.find(Phase.RESTORE, "restic"))
    peers = [found for name in _FULL_PEERS if (found := results.find(Phase.FULL, name))]
    return [
        _time_bar("full: time against the best peer", 0.75, full, peers),
        _time_bar("full: the same until it is durable", 0.75, full, peers, durable=True),
        _size_bar(full, peers),
        _time_bar(
            "unchanged: time against reading and hashing",
            1.5,
            results.find(Phase.UNCHANGED, OURS),
            _present(results.find(Phase.UNCHANGED, FLOOR_HASH)),
        ),
        _time_bar(
            "VM incremental: time against virtnbdbackup",
            1.3,
            results.find(Phase.VM_CHANGED, OURS),
            _present(results.find(Phase.VM_CHANGED, VIRTNBDBACKUP)),
        ),
        _time_bar("restore: time against restic", 0.6, restore, restic),
        _time_bar("restore: the same until it is durable", 0.6, restore, restic, durable=True),
        _memory_bar(results),
        _listing_bar(results),
        *_ahead_bars(results),
    ]


def _ahead_bars(results: Results) -> list[Bar]:
    """Ahead of borg and of restic on every line, each by itself."""
    bars: list[Bar] = []
    for phase in _AHEAD:
        ours = results.find(phase, OURS)
        for name in ("borg", "restic"):
            peer = results.find(phase, name)
            if ours and peer:
                bars.append(_time_bar(f"{phase}: against {name}", 1.0, ours, [peer]))
    return bars


def _present(series: Series | None) -> list[Series]:
    return [] if series is None else [series]


def _time_bar(
    what: str,
    limit: float,
    ours: Series | None,
    peers: Sequence[Series],
    *,
    durable: bool = False,
) -> Bar:
    """`durable`: until what was written is on the disk, which some peers leave to the kernel."""
    reached, against = None, "not measured"
    if ours and peers:
        times = {peer.tool: peer.durable_s if durable else peer.wall_s for peer in peers}
        best = min(times, key=lambda tool: times[tool])
        time_s = ours.durable_s if durable else ours.wall_s
        reached = time_s / times[best]
        against = f"{time_s:.2f} s, {best} {times[best]:.2f} s"
    return Bar(what=what, limit=limit, unit="x", reached=reached, against=against)


def _size_bar(ours: Series | None, peers: Sequence[Series]) -> Bar:
    reached, against = None, "not measured"
    sizes = [(series.stored_bytes, series.tool) for series in peers if series.stored_bytes]
    if ours and ours.stored_bytes and sizes:
        smallest, tool = min(sizes)
        reached = ours.stored_bytes / smallest
        against = f"{ours.stored_bytes / MIB:.0f} MiB, {tool} {smallest / MIB:.0f} MiB"
    what = "full: stored bytes against the smallest peer"
    return Bar(what=what, limit=1.1, unit="x", reached=reached, against=against)


def _memory_bar(results: Results) -> Bar:
    ours = [series for series in results.all if series.tool == OURS]
    reached, against = None, "not measured"
    if ours:
        worst = max(ours, key=lambda series: series.peak_bytes)
        reached, against = worst.peak_bytes / MIB, f"in: {worst.phase}"
    return Bar(
        what="peak memory of any run", limit=400, unit=" MiB", reached=reached, against=against
    )


def _listing_bar(results: Results) -> Bar:
    ours = results.of(Phase.LIST)
    reached, against = None, "not measured"
    if ours:
        worst = max(ours, key=lambda series: series.wall_s)
        reached, against = worst.wall_s, worst.tool
    return Bar(
        what="first `files ls` of a point", limit=1.0, unit=" s", reached=reached, against=against
    )
