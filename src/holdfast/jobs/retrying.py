"""Whether and when a failed attempt is followed by another. Pure."""

from __future__ import annotations

from datetime import timedelta

from holdfast.catalog.resources import Limits
from holdfast.core.errors import Retry

LONGEST_S = 1800.0
_JITTER = 0.2
_AT_ONCE = timedelta(0)


def delay_before_retry(
    retry: Retry, failures: int, limits: Limits, chance: float
) -> timedelta | None:
    """How long after the `failures`-th failure (from 1) of a run the next attempt begins; None for
    no further attempt. `chance` in [0, 1) spreads runs that failed together."""
    if retry is Retry.NEVER or failures > limits.retry_attempts:
        return None
    if retry is Retry.NOW and failures == 1:
        return _AT_ONCE
    # What failed twice although it could be tried at once waits like the rest: no tight circle.
    doubled = limits.retry_delay_seconds * 2.0 ** min(failures - 1, 20)
    spread = 1 + _JITTER * (2 * chance - 1)
    return timedelta(seconds=min(doubled, LONGEST_S) * spread)
