"""Has the clock of this machine gone as fast as time? A wrong clock must not end locks early.

The witness is a small file beside the objects: when it was written, by the wall clock and by the
time since the machine's start. Within one run of the machine the two must advance together. After a
restart only the wall clock is left: a gap of more than a week is as suspect as a jump. After a jump
locks are left alone until the clock has been steady for a day, time enough to see and set it right.

Whoever is root can set the clock and the attribute alike: this is against accidents.
Enter at `ClockWitness.jump`.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

_FILE = ".clock"
LONGEST_JUMP = timedelta(hours=24)
LONGEST_GAP = timedelta(days=7)
_STEADY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sighting:
    """Two readings of both clocks. The first stays, so that many small jumps add up to one."""

    boot_id: str
    first_since_boot_s: float
    first_wall_s: float
    last_wall_s: float
    jump_s: float = 0.0
    """How far the wall clock had gone too far at the first reading; 0 when it had not."""


class ClockWitness:
    """Of the clock that stamps files in one folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._path = root / _FILE

    def jump(self, now: datetime) -> timedelta | None:
        """How far the wall clock has jumped ahead less than a day ago; None when it is steady.
        Writes down what it sees. Raises OSError."""
        seen, after = self._read(), _Reading(_boot_id(), _since_boot_s(), now.timestamp())
        new = after.first() if seen is None else after.judged_by(seen)
        if new != seen:
            self._write(new)
        return timedelta(seconds=new.jump_s) if new.jump_s else None

    def _read(self) -> _Sighting | None:
        try:
            return _Sighting(**json.loads(self._path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _write(self, sighting: _Sighting) -> None:
        temporary = self._path.with_name(f".tmp-{secrets.token_hex(8)}")
        try:
            with open(temporary, "x", opener=_private) as file:
                json.dump(asdict(sighting), file)
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Reading:
    boot_id: str
    since_boot_s: float
    wall_s: float

    def first(self, jump_s: float = 0.0) -> _Sighting:
        return _Sighting(
            boot_id=self.boot_id,
            first_since_boot_s=self.since_boot_s,
            first_wall_s=self.wall_s,
            last_wall_s=self.wall_s,
            jump_s=jump_s,
        )

    def judged_by(self, seen: _Sighting) -> _Sighting:
        if seen.boot_id != self.boot_id:
            gap_s = self.wall_s - seen.last_wall_s
            if gap_s > LONGEST_GAP.total_seconds():
                return self.first(gap_s)
            return self.first(seen.jump_s)
        passed_s = self.since_boot_s - seen.first_since_boot_s
        jump_s = self.wall_s - seen.first_wall_s - passed_s
        if jump_s > LONGEST_JUMP.total_seconds():
            return self.first(seen.jump_s + jump_s)
        if jump_s < 0 and not seen.jump_s:
            return self.first()  # a later jump is measured from here
        if seen.jump_s and passed_s >= _STEADY_S:
            return self.first()
        return replace(seen, last_wall_s=max(seen.last_wall_s, self.wall_s))


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _since_boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
