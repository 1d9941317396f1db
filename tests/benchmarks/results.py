"""What was measured, gathered into series of equal runs. Pure values."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from tests.benchmarks.measuring import Measurement


class Phase(StrEnum):
    FULL = "full backup of the image"
    UNCHANGED = "second backup, nothing changed"
    CHANGED = "third backup, 1 % changed"
    RESTORE = "restore to a raw file"
    LIST = "files ls of a point"
    CHECK = "check"
    VERIFY = "verify: every stored byte read again"
    SHRINK = "prune and compact, half of the points deleted"
    POINTS = "open and list 10,000 points of 500 VMs"
    POINTS_LOOSE = "the same before the first compact, which bundles them"
    S3_FULL = "S3: full backup of the image"
    S3_UNCHANGED = "S3: second backup, nothing changed"
    S3_CHANGED = "S3: third backup, 1 % changed"
    S3_RESTORE = "S3: restore to a raw file"
    S3_CHECK = "S3: check"
    S3_VERIFY = "S3: verify: every stored byte read again"
    S3_SHRINK = "S3: prune and compact, half of the points deleted"
    S3_POINTS = "S3: open and list 10,000 points, empty cache"
    S3_POINTS_LOOSE = "S3: the same before the first compact, which bundles them"
    S3_POINTS_AGAIN = "S3: open and list 10,000 points again"
    VM_FULL = "VM: full backup"
    VM_CHANGED = "VM: incremental, 1 % changed"
    VM_RESTORE = "VM: restore of the incremental"

    @property
    def on_s3(self) -> Phase:
        """The same in a bucket."""
        return Phase[f"S3_{self.name}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    phase: Phase
    tool: str
    measurement: Measurement
    stored_bytes: int | None = None
    """What this run added to what is stored."""
    note: str = ""


@dataclass(slots=True)
class Series:
    """All rounds of one tool in one phase."""

    phase: Phase
    tool: str
    samples: list[Sample] = field(default_factory=list[Sample])

    @property
    def wall_s(self) -> float:
        """The shortest: whatever else runs on the machine only ever adds."""
        return min(sample.measurement.wall_s for sample in self.samples)

    @property
    def durable_s(self) -> float:
        """The shortest until what was written is on the disk: some leave that to the kernel."""
        return min(
            sample.measurement.wall_s + sample.measurement.settle_s for sample in self.samples
        )

    @property
    def median_wall_s(self) -> float:
        return statistics.median(sample.measurement.wall_s for sample in self.samples)

    @property
    def cpu_s(self) -> float:
        return min(sample.measurement.cpu_s for sample in self.samples)

    @property
    def server_cpu_s(self) -> float:
        return min(sample.measurement.server_cpu_s for sample in self.samples)

    @property
    def settle_s(self) -> float:
        return min(sample.measurement.settle_s for sample in self.samples)

    @property
    def peak_bytes(self) -> int:
        return max(sample.measurement.peak_bytes for sample in self.samples)

    @property
    def stored_bytes(self) -> int | None:
        sizes = [item.stored_bytes for item in self.samples if item.stored_bytes is not None]
        return round(statistics.median(sizes)) if sizes else None

    @property
    def note(self) -> str:
        return self.samples[-1].note


class Results:
    """Series by phase and tool, in the order in which they first appeared."""

    def __init__(self) -> None:
        self._series: dict[tuple[Phase, str], Series] = {}
        self.absent: dict[tuple[Phase, str], str] = {}
        """Why a tool has no row in a phase."""

    def add(self, sample: Sample) -> None:
        key = (sample.phase, sample.tool)
        self._series.setdefault(key, Series(sample.phase, sample.tool)).samples.append(sample)

    def skip(self, phases: Iterable[Phase], tool: str, reason: str) -> None:
        for phase in phases:
            self.absent.setdefault((phase, tool), reason)

    def find(self, phase: Phase, tool: str) -> Series | None:
        return self._series.get((phase, tool))

    def of(self, phase: Phase) -> list[Series]:
        return [series for (found, _), series in self._series.items() if found is phase]

    def absent_from(self, phase: Phase) -> list[tuple[str, str]]:
        return [(tool, why) for (found, tool), why in self.absent.items() if found is phase]

    @property
    def all(self) -> list[Series]:
        return list(self._series.values())
