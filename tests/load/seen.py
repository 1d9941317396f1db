"""What was measured beside its bar."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    what: str
    bar_ms: float
    values_ms: Sequence[float]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.values_ms)
