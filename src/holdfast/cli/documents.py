"""Values as JSON documents and as lines for a person. The JSON is an interface: fields are added,
never renamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.cli.screen import table
from holdfast.core.clock import format_time
from holdfast.core.units import format_bytes

if TYPE_CHECKING:
    from holdfast.repository import RestorePoint
    from holdfast.repository.losses import PointLoss


def point_document(point: RestorePoint) -> dict[str, Any]:
    manifest = point.manifest
    return {
        "id": manifest.id,
        "vm": {
            "id": manifest.vm.id,
            "name": manifest.vm.name,
            "platform": manifest.vm.platform,
        },
        "captured_at": format_time(manifest.captured_at),
        "created_at": format_time(manifest.created_at),
        "captured_as": manifest.captured_as,
        "parent_id": manifest.parent_id,
        "consistency": manifest.consistency,
        "suspect": point.suspect or None,
        "held": point.held or None,
        "tags": list(manifest.tags),
        "size_bytes": manifest.size_bytes,
        "stored_bytes": manifest.stored_bytes,
        "disks": [
            {
                "key": disk.key,
                "size_bytes": disk.size_bytes,
                "format": disk.format,
                "mode": disk.mode,
                "reason": disk.reason,
                "read_bytes": disk.read_bytes,
                "changed_bytes": disk.changed_bytes,
                "stored_bytes": disk.stored_bytes,
            }
            for disk in manifest.disks
        ],
        "artifacts": [
            {"name": item.name, "size_bytes": item.size_bytes} for item in manifest.artifacts
        ],
        "notes": list(manifest.notes),
    }


def points_table(points: Sequence[RestorePoint]) -> str:
    """Newest last, as a log is read."""
    head = (
        *("POINT", "VM", "TAKEN (UTC)", "CAPTURED AS", "CONSISTENCY"),
        *("DISKS", "SIZE", "STORED", "TAGS"),
    )
    rows = [
        (
            point.id + (" (in doubt)" if point.suspect else "") + (" (held)" if point.held else ""),
            point.manifest.vm.name,
            f"{point.manifest.captured_at:%Y-%m-%d %H:%M:%S}",
            point.manifest.captured_as,
            point.manifest.consistency,
            " ".join(
                f"{disk.key}:{format_bytes(disk.size_bytes)}" for disk in point.manifest.disks
            ),
            format_bytes(point.manifest.size_bytes),
            format_bytes(point.manifest.stored_bytes),
            " ".join(point.manifest.tags),
        )
        for point in points
    ]
    return table(head, rows, right=(6, 7))


def loss_document(loss: PointLoss) -> dict[str, Any]:
    return {
        "id": loss.point_id,
        "vm": loss.vm_name,
        "restorable_in_full": loss.is_readable,
        "problem": loss.problem or None,
        "lost_bytes": loss.lost_bytes,
        "disks": [
            {
                "key": disk.disk.key,
                "lost": [
                    {"offset": extent.offset, "length": extent.length} for extent in disk.extents
                ],
            }
            for disk in loss.disks
        ],
        "artifacts": list(loss.artifacts),
    }


def loss_lines(losses: Sequence[PointLoss]) -> list[str]:
    """For a person: every byte range that is lost."""
    lines: list[str] = []
    for loss in losses:
        if loss.is_readable:
            lines.append(
                f"  point {loss.point_id} of {loss.vm_name}: restores in full, but needs chunks "
                "that only damaged packs hold"
            )
            continue
        what = loss.problem or f"{format_bytes(loss.lost_bytes)} cannot be read"
        lines.append(f"  point {loss.point_id} of {loss.vm_name or 'an unknown VM'}: {what}")
        for disk in loss.disks:
            lines.extend(
                f"    {disk.disk.key}: {extent.length} bytes from byte {extent.offset}"
                for extent in disk.extents
            )
        lines.extend(f"    {name} cannot be read" for name in loss.artifacts)
    return lines
