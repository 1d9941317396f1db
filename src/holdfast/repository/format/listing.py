"""What a list shows of a restore point, read from its manifest without making values of the rest.

A manifest is read twice: once for what is shown, once to see that what is not shown is as it must
be. Whatever is not written as `encode_manifest` writes it is left to `decode_manifest`, so that the
two refuse the same. Enter at `decode_listed`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder

from holdfast.core.clock import format_time
from holdfast.core.ids import UUID_PATTERN
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ID_BYTES
from holdfast.repository.format.point import (
    MANIFEST_VERSION,
    TAG_PATTERN,
    Manifest,
    decode_manifest,
)

# -- shown: the order of the members is that of the printed document -------------------------


class ListedVm(Struct, gc=False):
    """See `VmRecord`."""

    id: str
    name: str
    platform: str


class ListedDisk(Struct, gc=False):
    """See `DiskRecord`."""

    key: str
    size_bytes: int
    format: str
    mode: str
    reason: str
    read_bytes: int
    changed_bytes: int
    stored_bytes: int


class ListedArtifact(Struct, gc=False):
    """See `ArtifactRecord`."""

    name: str
    size_bytes: int


class ListedPoint(Struct, gc=False, kw_only=True):
    """See `Manifest`; `format_time` wrote the times. As JSON it is what commands print of a point,
    which is an interface: members are added, never renamed."""

    id: str
    vm: ListedVm
    captured_at: str
    created_at: str
    captured_as: str
    parent_id: str | None
    consistency: str
    suspect: str | None = None
    """Why its content is in doubt. Not in the manifest, as the next."""
    held: str | None = None
    """Why it must not be deleted."""
    tags: tuple[str, ...] = ()
    size_bytes: int = 0
    """Of all disks."""
    stored_bytes: int
    disks: list[ListedDisk]
    artifacts: list[ListedArtifact]
    notes: list[str]


# -- not shown --------------------------------------------------------------------------------

_ChunkHex = Annotated[str, Meta(min_length=2 * ID_BYTES, max_length=2 * ID_BYTES)]


class _AnyObject(Struct, gc=False):
    pass


class _UnseenVm(Struct, gc=False):
    details: _AnyObject


class _UnseenDisk(Struct, gc=False):
    root: _ChunkHex
    height: int
    proven: bool
    token: _AnyObject | None


class _UnseenArtifact(Struct, gc=False):
    chunks: list[_ChunkHex]


class _Unseen(Struct, gc=False):
    """Times are here to have their calendar looked at."""

    manifest_version: int
    run_id: str
    captured_at: datetime
    created_at: datetime
    chunk_bytes: int
    vm: _UnseenVm
    disks: list[_UnseenDisk]
    artifacts: list[_UnseenArtifact]


_SHOWN = Decoder(ListedPoint)
_UNSEEN = Decoder(_Unseen)
_TIME_PATTERN = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
_TEXTS = re.compile(
    rf"{UUID_PATTERN}\n{_TIME_PATTERN}\n{_TIME_PATTERN}(\n{TAG_PATTERN})*", re.ASCII
)
_DIGITS = 4300
"""The `json` module refuses integers of more; msgspec does not look into what it passes over."""
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (_DIGITS + 1))


def decode_listed(plain: bytes, *, key: str) -> ListedPoint:
    """`plain` is what `decode_manifest` takes. Raises ObjectDamaged where that does."""
    return _quickly(plain) or listed(decode_manifest(plain, key=key))


def decode_many_listed(contents: Sequence[bytes]) -> list[ListedPoint | None]:
    """Each as `decode_listed` reads it, None where that finds damage."""
    return [_listed_or_none(content) for content in contents]


def listed(manifest: Manifest) -> ListedPoint:
    """The same of a manifest that was read in whole."""
    return ListedPoint(
        id=manifest.id,
        vm=ListedVm(id=manifest.vm.id, name=manifest.vm.name, platform=manifest.vm.platform),
        captured_at=format_time(manifest.captured_at),
        created_at=format_time(manifest.created_at),
        captured_as=manifest.captured_as,
        parent_id=manifest.parent_id,
        consistency=manifest.consistency,
        tags=tuple(manifest.tags),
        size_bytes=manifest.size_bytes,
        stored_bytes=manifest.stored_bytes,
        disks=[
            ListedDisk(
                key=disk.key,
                size_bytes=disk.size_bytes,
                format=disk.format,
                mode=disk.mode,
                reason=disk.reason,
                read_bytes=disk.read_bytes,
                changed_bytes=disk.changed_bytes,
                stored_bytes=disk.stored_bytes,
            )
            for disk in manifest.disks
        ],
        artifacts=[
            ListedArtifact(name=item.name, size_bytes=item.size_bytes)
            for item in manifest.artifacts
        ],
        notes=list(manifest.notes),
    )


def _listed_or_none(content: bytes) -> ListedPoint | None:
    try:
        return decode_listed(content, key="")
    except ObjectDamaged:
        return None


def _quickly(plain: bytes) -> ListedPoint | None:
    """None: for `decode_manifest` to judge."""
    # Bytes that are not UTF-8 would be passed over as well.
    if not plain.isascii() or (len(plain) > _DIGITS and _LONG_NUMBER.search(plain)):
        return None
    try:
        point, unseen = _SHOWN.decode(plain), _UNSEEN.decode(plain)
        chunks = [disk.root for disk in unseen.disks]
        for artifact in unseen.artifacts:
            chunks += artifact.chunks
        are_chunks = len(bytes.fromhex("".join(chunks))) == ID_BYTES * len(chunks)
    except (MsgspecError, ValueError, RecursionError):
        return None
    parts = (point.id, point.captured_at, point.created_at, *point.tags)
    texts = "\n".join(parts)
    are_texts = texts.count("\n") == len(parts) - 1 and _TEXTS.fullmatch(texts)
    if not (are_chunks and are_texts and unseen.manifest_version == MANIFEST_VERSION):
        return None
    # Whatever the manifest says: these are no members of it.
    point.suspect = point.held = None
    point.size_bytes = sum([disk.size_bytes for disk in point.disks])
    return point
