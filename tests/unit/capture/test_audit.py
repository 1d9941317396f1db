"""The audit's sample: only unchanged chunks, all equally likely, enough of them."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from holdfast.capture.audit import AUDIT_MINIMUM, sample_unchanged
from holdfast.capture.plan import ChunkRange


@st.composite
def _ranges(draw: st.DrawFn) -> list[ChunkRange]:
    cuts = sorted(draw(st.sets(st.integers(0, 400), max_size=30)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return [ChunkRange(start=start, stop=stop) for start, stop in pairs]


@given(st.integers(400, 700), _ranges(), st.integers())
def test_the_sample_is_of_unchanged_chunks(
    count: int, changed: list[ChunkRange], seed: int
) -> None:
    unchanged = set(range(count)) - {
        index for item in changed for index in range(item.start, item.stop)
    }
    sample = sample_unchanged(count, changed, random.Random(seed))
    assert sample == sorted(set(sample))
    assert set(sample) <= unchanged
    assert len(sample) == min(len(unchanged), AUDIT_MINIMUM)


def test_the_sample_grows_with_the_disk() -> None:
    assert len(sample_unchanged(0, [])) == 0
    assert len(sample_unchanged(63, [])) == 63
    assert len(sample_unchanged(6_400, [])) == 64
    assert len(sample_unchanged(100_000, [])) == 1000
    changed = [ChunkRange(start=0, stop=90_000)]
    assert len(sample_unchanged(100_000, changed)) == 100


def test_every_unchanged_chunk_is_equally_likely() -> None:
    """Chi-square over 640 chunks and 2 000 samples; 5.5 sigma."""
    source, changed = random.Random(4), [ChunkRange(start=100, stop=260)]
    hits = Counter[int]()
    for _ in range(2000):
        hits.update(sample_unchanged(800, changed, source))
    expected = 2000 * AUDIT_MINIMUM / 640
    statistic = sum(
        (hits[index] - expected) ** 2 / expected for index in range(800) if not 100 <= index < 260
    )
    # Draws without replacement vary by the share not drawn (0.9) less than independent ones.
    assert abs(statistic / 0.9 - 639) < 5.5 * (2 * 639) ** 0.5


def test_one_percent_of_lies_is_found_within_eight_incrementals() -> None:
    """T15's bar, p >= 0.99. Expected 1 - 0.99^(64 * 8) = 0.994 for a small disk, more for a large
    one, whose sample is one in a hundred."""
    for chunks, trials in [(1000, 3000), (6400, 3000), (50_000, 100)]:
        source, found = random.Random(chunks), 0
        for _ in range(trials):
            missed = set(source.sample(range(chunks), chunks // 100))
            found += any(missed & set(sample_unchanged(chunks, [], source)) for _ in range(8))
        print(f"{chunks} chunks: {found} of {trials} lies of one percent found")
        assert found / trials >= 0.99
