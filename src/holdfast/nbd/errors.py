"""What can go wrong between Holdfast and an NBD server. libnbd's own errors end here.

The errors of reading are part of the driver contract too (a driver hands out readers), but are
raised below it, so they are defined here.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.errors import HoldfastError, Retry


@dataclass(kw_only=True, eq=False)
class SourceUnavailable(HoldfastError):
    code = "source_unavailable"
    retry = Retry.LATER
    template = "{source} cannot be opened: {problem}"
    hint = "Check that it exists and is readable by this user, then run the backup again"
    source: str
    problem: str


@dataclass(kw_only=True, eq=False)
class SourceReadFailed(HoldfastError):
    code = "source_read_failed"
    retry = Retry.LATER
    template = "reading {source} failed at byte {offset}: {problem}"
    hint = "Nothing half-done was kept; check the storage below the image, then run it again"
    source: str
    offset: int
    problem: str


@dataclass(kw_only=True, eq=False)
class TargetWriteFailed(HoldfastError):
    code = "target_write_failed"
    retry = Retry.LATER
    template = "writing {target} failed at byte {offset}: {problem}"
    hint = "The target is incomplete; check the storage below it, then run the restore again"
    target: str
    offset: int
    problem: str


@dataclass(kw_only=True, eq=False)
class TargetUnavailable(HoldfastError):
    code = "target_unavailable"
    retry = Retry.LATER
    template = "{target} cannot be opened for writing: {problem}"
    hint = "Check that its folder exists, is writable by this user and has space"
    target: str
    problem: str
