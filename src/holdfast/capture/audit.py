"""The sample of chunks that change tracking calls unchanged and that are read all the same.

A hypervisor that misses changes is found out: with a share `p` of wrongly clean chunks and `n`
sampled, one incremental finds it with probability 1 - (1 - p)^n. Random, so that no pattern of
misses hides from it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from holdfast.capture.plan import ChunkRange

AUDIT_SHARE = 0.01
AUDIT_MINIMUM = 64


def sample_unchanged(
    chunk_count: int, changed: Sequence[ChunkRange], source: random.Random | None = None
) -> list[int]:
    """Indexes of chunks outside `changed`: one in a hundred, at least `AUDIT_MINIMUM`, sorted."""
    gaps = _gaps(chunk_count, changed)
    unchanged = sum(gap.stop - gap.start for gap in gaps)
    wanted = min(unchanged, max(AUDIT_MINIMUM, round(unchanged * AUDIT_SHARE)))
    picks = sorted((source or random.SystemRandom()).sample(range(unchanged), wanted))
    return _positions(gaps, picks)


def _gaps(chunk_count: int, changed: Sequence[ChunkRange]) -> list[ChunkRange]:
    gaps: list[ChunkRange] = []
    position = 0
    for item in changed:
        if item.start > position:
            gaps.append(ChunkRange(start=position, stop=item.start))
        position = max(position, item.stop)
    if position < chunk_count:
        gaps.append(ChunkRange(start=position, stop=chunk_count))
    return gaps


def _positions(gaps: Sequence[ChunkRange], picks: Sequence[int]) -> list[int]:
    """Map the n-th unchanged chunk to its index on the disk; `picks` sorted."""
    indexes: list[int] = []
    passed, gap = 0, iter(gaps)
    current = next(gap, None)
    for pick in picks:
        while current is not None and pick - passed >= current.stop - current.start:
            passed += current.stop - current.start
            current = next(gap, None)
        if current is not None:
            indexes.append(current.start + pick - passed)
    return indexes
