"""Errors of hypervisor drivers. Vendor errors end here."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.errors import Category, HoldfastError, Retry
from holdfast.nbd.errors import SourceReadFailed as SourceReadFailed
from holdfast.nbd.errors import SourceUnavailable as SourceUnavailable


@dataclass(kw_only=True, eq=False)
class PlatformUnreachable(HoldfastError):
    code = "platform_unreachable"
    retry = Retry.LATER
    template = "cannot connect to {platform}: {problem}"
    hint = "Check that the service runs there and that this user may use it"
    platform: str
    problem: str


@dataclass(kw_only=True, eq=False)
class VmNotFound(HoldfastError):
    code = "vm_not_found"
    category = Category.NOT_FOUND
    template = "there is no VM {name!r} on {platform}"
    hint = "Names are case-sensitive; known here: {known}"
    name: str
    platform: str
    known: str


@dataclass(kw_only=True, eq=False)
class VmAmbiguous(HoldfastError):
    code = "vm_ambiguous"
    category = Category.USAGE
    template = "{name!r} names more than one VM on {platform}"
    hint = "Use its id instead: {ids}"
    name: str
    platform: str
    ids: str


@dataclass(kw_only=True, eq=False)
class VmBusy(HoldfastError):
    code = "vm_busy"
    category = Category.CONFLICT
    retry = Retry.LATER
    template = "{name} is busy: {problem}"
    hint = "Wait for the other operation to end, or end it, then run this again"
    name: str
    problem: str


@dataclass(kw_only=True, eq=False)
class UnsupportedImage(HoldfastError):
    """The image is refused before any of it is read as a disk."""

    code = "unsupported_image"
    category = Category.USAGE
    template = "{path} cannot be used: {problem}"
    hint = "{advice_text}"
    path: str
    problem: str
    advice_text: str = "Convert it to a standalone raw or qcow2 image first"


@dataclass(kw_only=True, eq=False)
class DamagedImage(HoldfastError):
    code = "damaged_image"
    template = "{path} is damaged: {problem}"
    hint = "Nothing was stored. Repair or restore the image, then run the backup again"
    path: str
    problem: str


@dataclass(kw_only=True, eq=False)
class CaptureFailed(HoldfastError):
    code = "capture_failed"
    retry = Retry.LATER
    template = "no consistent view of {name} could be taken: {problem}"
    hint = "The VM was left as it was. Put right what is named, then start the backup again"
    name: str
    problem: str


@dataclass(kw_only=True, eq=False)
class CaptureLost(HoldfastError):
    code = "capture_lost"
    retry = Retry.NOW
    template = "the view of {name} was lost while it was read: {problem}"
    hint = "Nothing half-done was kept; run the backup again"
    name: str
    problem: str


@dataclass(kw_only=True, eq=False)
class ScratchExhausted(HoldfastError):
    code = "scratch_exhausted"
    retry = Retry.LATER
    template = (
        "the backup of {name} was ended before its scratch space at {location} ran out "
        "({used_bytes} of {limit_bytes} bytes)"
    )
    hint = "The guest was not affected. Give scratch more space, or run when the VM writes less"
    name: str
    location: str
    used_bytes: int
    limit_bytes: int
