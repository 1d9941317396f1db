"""The manifest of a restore point: the object whose creation is the commit. JSON inside an
envelope; sizes are exact bytes, times RFC 3339 in UTC."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from holdfast.core.clock import format_time, parse_time
from holdfast.core.errors import InvalidInput
from holdfast.core.ids import is_uuid
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ID_BYTES

MANIFEST_VERSION = 1
TAG_PATTERN = r"[A-Za-z0-9._:-]{1,64}"
_TAG = re.compile(TAG_PATTERN)
_WRONG_FIELDS = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,  # a number such as 1e400 is infinite
    RecursionError,  # nested beyond what the JSON decoder follows
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRecord:
    """The VM as it was captured. `platform` and `id` together are its identity."""

    id: str
    name: str
    platform: str
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What an inventory shows: firmware, vcpus, memory_bytes, power, networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRecord:
    """One disk at the point. `root` and `size_bytes` together identify its whole content."""

    key: str
    size_bytes: int
    format: str
    """Format of the source image; a restore may choose another."""
    root: bytes
    """Id of the top page of the disk's map; zeroes for a disk of zeroes."""
    height: int
    """Levels of pages above the chunks; 0 only for a disk of size 0."""
    mode: str
    """`changed`, `compare` or `full`: how the bytes were chosen."""
    reason: str
    """Why, in words."""
    read_bytes: int
    changed_bytes: int
    """Bytes in chunks whose content differs from the parent's."""
    stored_bytes: int
    """New bytes in the repository for this disk."""
    proven: bool
    """True when every chunk was read (full, compare); False when changes were believed."""
    token: Mapping[str, Any] | None
    """The driver's change token, as it gave it; None when the next capture cannot use one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """The VM's definition, NVRAM or vTPM state, kept as chunks."""

    name: str
    size_bytes: int
    chunks: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything needed to give the VM back, and how it was captured."""

    id: str
    vm: VmRecord
    run_id: str
    captured_at: datetime
    """The instant of the content."""
    created_at: datetime
    """When the manifest was written."""
    captured_as: str
    """`full` or `incremental`; says only how bytes were chosen: every point is a full view."""
    parent_id: str | None
    consistency: str
    chunk_bytes: int
    disks: Sequence[DiskRecord]
    artifacts: Sequence[ArtifactRecord]
    notes: Sequence[str] = ()
    stored_bytes: int = 0
    """New bytes this point added to the repository, all included."""
    tags: Sequence[str] = ()
    """Given by whoever made the backup, for retention by tag. See `check_tag`."""

    @property
    def size_bytes(self) -> int:
        return sum(disk.size_bytes for disk in self.disks)


def encode_manifest(manifest: Manifest) -> bytes:
    document = {
        "manifest_version": MANIFEST_VERSION,
        "id": manifest.id,
        "vm": {
            "id": manifest.vm.id,
            "name": manifest.vm.name,
            "platform": manifest.vm.platform,
            "details": dict(manifest.vm.details),
        },
        "run_id": manifest.run_id,
        "captured_at": format_time(manifest.captured_at),
        "created_at": format_time(manifest.created_at),
        "captured_as": manifest.captured_as,
        "parent_id": manifest.parent_id,
        "consistency": manifest.consistency,
        "chunk_bytes": manifest.chunk_bytes,
        "disks": [_disk_document(disk) for disk in manifest.disks],
        "artifacts": [
            {
                "name": artifact.name,
                "size_bytes": artifact.size_bytes,
                "chunks": [chunk.hex() for chunk in artifact.chunks],
            }
            for artifact in manifest.artifacts
        ],
        "notes": list(manifest.notes),
        "stored_bytes": manifest.stored_bytes,
        "tags": list(manifest.tags),
    }
    return json.dumps(document, sort_keys=True, ensure_ascii=True).encode()


def decode_manifest(plain: bytes, *, key: str) -> Manifest:
    """Inverse of `encode_manifest`. Unknown fields are ignored, missing ones are damage; only
    `tags` came later and may be missing."""
    try:
        document = cast(dict[str, Any], json.loads(plain))
        if document["manifest_version"] != MANIFEST_VERSION:
            raise ObjectDamaged(key=key, problem="its manifest version is not known")
        return _manifest(document)
    except _WRONG_FIELDS as error:
        raise ObjectDamaged(key=key, problem="its fields are not those of a point") from error


def decode_manifests(contents: Sequence[bytes]) -> list[Manifest | None]:
    """Each as `decode_manifest` reads it, None where that finds damage. Sooner than one by one."""
    try:
        documents = cast(list[dict[str, Any]], json.loads(b"[%b]" % b",".join(contents)))
    except (ValueError, RecursionError):
        documents = []
    if len(documents) != len(contents):
        return [_manifest_or_none(content) for content in contents]
    return [_known_manifest(document) for document in documents]


def _manifest_or_none(content: bytes) -> Manifest | None:
    try:
        return decode_manifest(content, key="")
    except ObjectDamaged:
        return None


def _known_manifest(document: dict[str, Any]) -> Manifest | None:
    try:
        return _manifest(document) if document["manifest_version"] == MANIFEST_VERSION else None
    except _WRONG_FIELDS:
        return None


def _manifest(document: dict[str, Any]) -> Manifest:
    if not is_uuid(document["id"]):
        raise ValueError(document["id"])
    vm = document["vm"]
    return Manifest(
        id=document["id"],
        vm=VmRecord(
            id=str(vm["id"]),
            name=str(vm["name"]),
            platform=str(vm["platform"]),
            details=dict(vm["details"]),
        ),
        run_id=str(document["run_id"]),
        captured_at=parse_time(document["captured_at"]),
        created_at=parse_time(document["created_at"]),
        captured_as=str(document["captured_as"]),
        parent_id=document["parent_id"],
        consistency=str(document["consistency"]),
        chunk_bytes=int(document["chunk_bytes"]),
        disks=tuple(map(_disk, document["disks"])),
        artifacts=tuple(map(_artifact, document["artifacts"])),
        notes=tuple(map(str, document["notes"])),
        stored_bytes=int(document["stored_bytes"]),
        tags=tuple(map(_tag, document.get("tags", ()))),
    )


def _artifact(item: dict[str, Any]) -> ArtifactRecord:
    return ArtifactRecord(
        name=str(item["name"]),
        size_bytes=int(item["size_bytes"]),
        chunks=tuple(map(_chunk_id, item["chunks"])),
    )


def check_tag(tag: str) -> str:
    """The tag itself. Raises InvalidInput unless it is 1 to 64 letters, digits or `._:-`."""
    if not _TAG.fullmatch(tag):
        problem = "a tag is 1 to 64 letters, digits and . _ : -"
        raise InvalidInput(what=f"tag {tag!r}", problem=problem)
    return tag


def _tag(value: object) -> str:
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise ValueError(value)
    return value


def _disk_document(disk: DiskRecord) -> dict[str, Any]:
    return {
        "key": disk.key,
        "size_bytes": disk.size_bytes,
        "format": disk.format,
        "root": disk.root.hex(),
        "height": disk.height,
        "mode": disk.mode,
        "reason": disk.reason,
        "read_bytes": disk.read_bytes,
        "changed_bytes": disk.changed_bytes,
        "stored_bytes": disk.stored_bytes,
        "proven": disk.proven,
        "token": None if disk.token is None else dict(disk.token),
    }


def _disk(item: dict[str, Any]) -> DiskRecord:
    return DiskRecord(
        key=str(item["key"]),
        size_bytes=int(item["size_bytes"]),
        format=str(item["format"]),
        root=_chunk_id(item["root"]),
        height=int(item["height"]),
        mode=str(item["mode"]),
        reason=str(item["reason"]),
        read_bytes=int(item["read_bytes"]),
        changed_bytes=int(item["changed_bytes"]),
        stored_bytes=int(item["stored_bytes"]),
        proven=bool(item["proven"]),
        token=None if item["token"] is None else dict(item["token"]),
    )


def _chunk_id(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != ID_BYTES:
        raise ValueError(text)
    return raw
