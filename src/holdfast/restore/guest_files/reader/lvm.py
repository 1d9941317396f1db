"""LVM2 volume groups whose physical volumes lie on any devices of the restore point. Must not know
file systems. Enter at `read_groups`.

The metadata text is parsed by dissect. Labels, the circular metadata area and the mapping are done
here: dissect.volume 3.18 does not follow metadata that wraps around, takes whichever copy comes
first instead of the newest, and puts stripes one after another.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .device import Device, Mapping, Piece
from .faults import Damaged, Unsupported, describe, parse_errors

_SECTOR = 512
_MAX_METADATA_BYTES = 8 * 1024 * 1024
_MAX_STRIPE_PIECES = 1 << 20
_MAX_NESTING = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalVolume:
    """`device` is None when it cannot be put together; `problem` says why."""

    group: str
    name: str
    device: Device | None
    problem: str


def read_groups(devices: Sequence[Device]) -> tuple[list[LogicalVolume], list[str]]:
    """All visible logical volumes on these physical volumes, and what could not be read."""
    parse: Any = import_module("dissect.volume.lvm.physical").parse_metadata
    physical: dict[str, Device] = {}
    newest: dict[str, tuple[int, str, dict[str, Any]]] = {}
    problems: list[str] = []
    for device in devices:
        try:
            identity, areas = _label(device)
            physical[identity] = device
            for area in areas:
                text = _metadata(device, area)
                if text is not None:
                    _keep_newest(newest, parse(text))
        except parse_errors() as error:
            problems.append(f"physical volume: {describe(error)}")
    volumes: list[LogicalVolume] = []
    for _, name, group in newest.values():
        try:
            volumes.extend(_Group(name, group, physical).volumes())
        except parse_errors() as error:
            problems.append(f"volume group {name}: {describe(error)}")
    return volumes, problems


def _keep_newest(
    newest: dict[str, tuple[int, str, dict[str, Any]]], metadata: dict[str, Any]
) -> None:
    for name, group in metadata.items():
        if isinstance(group, dict):
            values: dict[str, Any] = group  # pyright: ignore[reportUnknownVariableType]
            identity, sequence = str(values["id"]), int(values["seqno"])
            if identity not in newest or newest[identity][0] < sequence:
                newest[identity] = (sequence, name, values)


def _label(device: Device) -> tuple[str, list[tuple[int, int]]]:
    """Identity of a physical volume and its metadata areas as (offset, size)."""
    for sector in range(4):
        raw = device.pread(sector * _SECTOR, _SECTOR)
        if raw[:8] == b"LABELONE":
            break
    else:
        raise Damaged("no label")
    (offset,) = struct.unpack_from("<I", raw, 20)
    identity = raw[offset : offset + 32].decode("ascii")
    offset += 40
    lists: list[list[tuple[int, int]]] = []
    for _ in range(2):
        locations: list[tuple[int, int]] = []
        while any(location := struct.unpack_from("<QQ", raw, offset)):
            locations.append(location)
            offset += 16
        offset += 16
        lists.append(locations)
    return identity, lists[1]


def _metadata(device: Device, area: tuple[int, int]) -> str | None:
    start, size = area
    header = device.pread(start, _SECTOR)
    if header[4:20] != b" LVM2 x[5A%r0N*>":
        raise Damaged("metadata area with a wrong signature")
    offset, length, _checksum, flags = struct.unpack_from("<QQII", header, 40)
    if offset == 0 or flags & 1:
        return None
    if not _SECTOR <= offset < size or not 0 < length <= min(size, _MAX_METADATA_BYTES):
        raise Damaged("metadata lies outside its area")
    data = device.pread(start + offset, min(length, size - offset))
    if len(data) < length:  # the area is a ring behind its header sector
        data += device.pread(start + _SECTOR, length - len(data))
    return data.rstrip(b"\0").decode("utf-8", "replace")


class _Group:
    def __init__(
        self, name: str, values: dict[str, Any], physical: Dictionary[str, Device]
    ) -> None:
        self._name = name
        self._extent_bytes = int(values["extent_size"]) * _SECTOR
        self._logical: dict[str, dict[str, Any]] = values.get("logical_volumes", {})
        self._physical: dict[str, tuple[Device | None, int]] = {}
        for label, volume in values["physical_volumes"].items():
            device = physical.get(str(volume["id"]).replace("-", ""))
            self._physical[label] = (device, int(volume["pe_start"]) * _SECTOR)

    def volumes(self) -> list[LogicalVolume]:
        found: list[LogicalVolume] = []
        for name, values in self._logical.items():
            if "VISIBLE" not in values.get("status", []):
                continue
            device: Device | None = None
            problem = ""
            try:
                device = self._open(name, 0)
            except parse_errors() as error:
                problem = describe(error)
            found.append(LogicalVolume(group=self._name, name=name, device=device, problem=problem))
        return found

    def _open(self, name: str, nesting: int) -> Device:
        if nesting > _MAX_NESTING:
            raise Damaged("logical volumes contain each other")
        values: list[Any] = list(self._logical[name].values())
        segments: list[dict[str, Any]] = [value for value in values if isinstance(value, dict)]
        segments.sort(key=lambda segment: int(segment["start_extent"]))
        pieces: list[Piece] = []
        position = 0
        for segment in segments:
            if int(segment["start_extent"]) != position:
                raise Damaged("segments leave a gap")
            pieces.extend(self._segment(segment, nesting))
            position += int(segment["extent_count"])
        return Mapping(pieces)

    def _segment(self, segment: dict[str, Any], nesting: int) -> list[Piece]:
        kind = str(segment["type"]).split("+", 1)[0]
        length = int(segment["extent_count"]) * self._extent_bytes
        if kind in ("striped", "linear"):
            return self._striped(segment, length, nesting)
        if kind in ("zero", "error", "free"):
            return [Piece(device=None, start=0, length=length)]
        if kind in ("mirror", "raid1"):
            # Pairs: metadata and data of each leg for raid1, name and offset for mirror.
            names = segment["raids"][1::2] if kind == "raid1" else segment["mirrors"][0::2]
            return [Piece(device=self._any_of(names, nesting), start=0, length=length)]
        raise Unsupported(f"logical volume of type {kind}")

    def _any_of(self, names: Sequence[str], nesting: int) -> Device:
        problem: BaseException = Damaged("mirror without legs")
        for name in names:
            try:
                return self._open(name, nesting + 1)
            except parse_errors() as error:
                problem = error
        raise problem

    def _striped(self, segment: dict[str, Any], length: int, nesting: int) -> list[Piece]:
        stripes = [
            self._area(str(name), int(extent), nesting)
            for name, extent in zip(segment["stripes"][0::2], segment["stripes"][1::2], strict=True)
        ]
        if len(stripes) == 1:
            device, start = stripes[0]
            return [Piece(device=device, start=start, length=length)]
        stripe_bytes = int(segment["stripe_size"]) * _SECTOR
        if stripe_bytes <= 0 or length // stripe_bytes > _MAX_STRIPE_PIECES:
            raise Unsupported("striped volume with too many stripes")
        pieces: list[Piece] = []
        for index in range(length // stripe_bytes):
            row, column = divmod(index, len(stripes))
            device, start = stripes[column]
            pieces.append(
                Piece(device=device, start=start + row * stripe_bytes, length=stripe_bytes)
            )
        return pieces

    def _area(self, name: str, extent: int, nesting: int) -> tuple[Device, int]:
        """Where extent `extent` of a physical (or an inner logical) volume begins."""
        if name not in self._physical:
            return self._open(name, nesting + 1), extent * self._extent_bytes
        device, start = self._physical[name]
        if device is None:
            raise Damaged(f"physical volume {name} is not among the disks of this restore point")
        return device, start + extent * self._extent_bytes
