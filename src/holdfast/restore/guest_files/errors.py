"""Errors of guest file access. `code` is stable; texts may hold escaped guest names."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.errors import Category, HoldfastError, Retry


@dataclass(kw_only=True, eq=False)
class GuestPathRefused(HoldfastError):
    code = "guest_path_refused"
    category = Category.USAGE
    template = "{path} is not a path inside a restore point: {problem}"
    hint = "Paths look like /vda1/etc/hosts; list / to see the volumes"
    path: str
    problem: str


@dataclass(kw_only=True, eq=False)
class GuestFileNotFound(HoldfastError):
    code = "guest_file_not_found"
    category = Category.NOT_FOUND
    template = "{path}: {problem}"
    hint = "Names are case-sensitive; list the folder above it"
    path: str
    problem: str


@dataclass(kw_only=True, eq=False)
class GuestFileKindMismatch(HoldfastError):
    """A folder was needed and the path names a file, or the other way round."""

    code = "guest_file_kind_mismatch"
    category = Category.USAGE
    template = "{path}: {problem}"
    path: str
    problem: str


@dataclass(kw_only=True, eq=False)
class GuestFileUnsupported(HoldfastError):
    code = "guest_file_unsupported"
    template = "{path} cannot be read: {problem}"
    hint = "Restore the whole disk and open it with the system that wrote it"
    path: str
    problem: str


@dataclass(kw_only=True, eq=False)
class GuestFileDamaged(HoldfastError):
    """The guest's file system contradicts itself; the stored disk may be exactly as it was."""

    code = "guest_file_damaged"
    template = "{path} cannot be read, the file system of the guest is damaged there: {problem}"
    hint = "Other folders may still be readable; or restore the disk and repair it with fsck"
    path: str
    problem: str


@dataclass(kw_only=True, eq=False)
class GuestReaderExhausted(HoldfastError):
    code = "guest_reader_exhausted"
    template = "{path} needed more memory than the reader may have ({limit_bytes} bytes)"
    hint = "The file system is probably damaged there; other folders still work"
    path: str
    limit_bytes: int


@dataclass(kw_only=True, eq=False)
class GuestReaderTimedOut(HoldfastError):
    code = "guest_reader_timed_out"
    template = "{path} was not read within {limit_s} s; the reader was stopped"
    hint = "The file system is probably damaged there; other folders still work"
    path: str
    limit_s: float


@dataclass(kw_only=True, eq=False)
class GuestReaderFailed(HoldfastError):
    """The sandboxed process ended, or did not keep to the protocol."""

    code = "guest_reader_failed"
    retry = Retry.NOW
    template = "the reader of {path} ended unexpectedly: {problem}"
    hint = "The next request starts a new one; other folders still work"
    path: str
    problem: str


@dataclass(kw_only=True, eq=False)
class SandboxUnavailable(HoldfastError):
    code = "sandbox_unavailable"
    template = "no sandbox could be started for reading guest files: {problem}"
    hint = "Guest files are never read without one. Check that bubblewrap works: bwrap --version"
    problem: str
