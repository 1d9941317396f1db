"""Progress of a run as plain values. Emitters call `update` as often as they like; whoever shows
it decides how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskProgress:
    """One disk's part of it, in bytes."""

    key: str
    size_bytes: int
    done_bytes: int
    total_bytes: int
    """What `done_bytes` will be at the end."""
    read_bytes: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look at a running operation. All counts only grow within a phase."""

    phase: str
    """What is being done, for a person: `reading vda`."""
    done_bytes: int = 0
    """Logical bytes of the disk dealt with, including those skipped as zero or unchanged."""
    total_bytes: int = 0
    """What `done_bytes` will be at the end; 0 when not known yet."""
    read_bytes: int = 0
    """Bytes read from the source."""
    stored_bytes: int = 0
    """Bytes that became new in the repository, after compression."""
    disk: DiskProgress | None = None
    """The disk that is being worked on; the others stay as they were told last."""


class ProgressSink(Protocol):
    """Thread-safe. Must not block and must not raise."""

    def update(self, progress: Progress) -> None: ...

    def message(self, text: str) -> None:
        """A line worth keeping, such as the plan of a disk."""
        ...


class SilentProgress:
    """Discards everything."""

    def update(self, progress: Progress) -> None:
        del progress

    def message(self, text: str) -> None:
        del text
