"""Values as JSON documents and as lines for a person. The JSON is an interface: fields are added,
never renamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from holdfast.cli.screen import table
from holdfast.core.units import format_bytes

if TYPE_CHECKING:
    from holdfast.repository import RestorePoint
    from holdfast.repository.format.listing import ListedPoint
    from holdfast.repository.losses import PointLoss


class PointList(Struct):
    """What `holdfast points` prints."""

    repository_id: str
    points: Sequence[ListedPoint]
    total: int
    damaged: Sequence[str]


def point_document(point: RestorePoint) -> dict[str, Any]:
    return to_builtins(point.listed())


def points_table(points: Sequence[ListedPoint]) -> str:
    """Newest last, as a log is read."""
    head = (
        *("POINT", "VM", "TAKEN (UTC)", "CAPTURED AS", "CONSISTENCY"),
        *("DISKS", "SIZE", "STORED", "TAGS"),
    )
    rows = [
        (
            point.id + (" (in doubt)" if point.suspect else "") + (" (held)" if point.held else ""),
            point.vm.name,
            point.captured_at[: len("2026-01-31T12:00:00")].replace("T", " "),
            point.captured_as,
            point.consistency,
            " ".join(f"{disk.key}:{format_bytes(disk.size_bytes)}" for disk in point.disks),
            format_bytes(point.size_bytes),
            format_bytes(point.stored_bytes),
            " ".join(point.tags),
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
