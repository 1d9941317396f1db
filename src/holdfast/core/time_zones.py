"""Names of time zones, as people write them, to what reckons with them."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from holdfast.core.errors import InvalidInput


def time_zone_of(name: str, *, what: str) -> tzinfo:
    """Raises InvalidInput, which calls the input `what`."""
    if name == "UTC":
        return UTC  # also where no time zones are installed
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        problem = f"there is no time zone {name!r}; they are named as Europe/Berlin"
        raise InvalidInput(what=what, problem=problem) from error
