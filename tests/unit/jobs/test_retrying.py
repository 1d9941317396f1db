from __future__ import annotations

from datetime import timedelta

from holdfast.catalog.resources import Limits
from holdfast.core.errors import Retry
from holdfast.jobs.retrying import LONGEST_S, delay_before_retry

LIMITS = Limits(retry_attempts=5, retry_delay_seconds=30)
MIDDLE = 0.5


class TestDelay:
    def test_what_cannot_help_is_not_tried_again(self) -> None:
        assert delay_before_retry(Retry.NEVER, 1, LIMITS, MIDDLE) is None

    def test_doubles_with_every_failure_up_to_a_limit(self) -> None:
        many = Limits(retry_attempts=20, retry_delay_seconds=30)
        delays = [delay_before_retry(Retry.LATER, n, many, MIDDLE) for n in (1, 2, 3, 12)]
        assert delays == [timedelta(seconds=s) for s in (30, 60, 120, LONGEST_S)]

    def test_is_spread_by_a_fifth(self) -> None:
        first = delay_before_retry(Retry.LATER, 1, LIMITS, 0.0)
        last = delay_before_retry(Retry.LATER, 1, LIMITS, 1.0)
        assert (first, last) == (timedelta(seconds=24), timedelta(seconds=36))

    def test_ends_after_the_last_attempt(self) -> None:
        assert delay_before_retry(Retry.LATER, 5, LIMITS, MIDDLE) is not None
        assert delay_before_retry(Retry.LATER, 6, LIMITS, MIDDLE) is None
        none = Limits(retry_attempts=0)
        assert delay_before_retry(Retry.NOW, 1, none, MIDDLE) is None

    def test_at_once_only_the_first_time(self) -> None:
        assert delay_before_retry(Retry.NOW, 1, LIMITS, MIDDLE) == timedelta(0)
        assert delay_before_retry(Retry.NOW, 2, LIMITS, MIDDLE) == timedelta(seconds=60)
