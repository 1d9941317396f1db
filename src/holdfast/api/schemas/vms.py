"""Virtual machines as the dashboard lists them, one of them with its history, and groups."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from holdfast.api.schemas.common import Input, Name, Output, Tag, Time
from holdfast.api.schemas.platforms import DiscoveredDisk, DiscoveredNic
from holdfast.api.schemas.runs import RunBrief

Protection = Literal["protected", "stale", "unprotected", "failing"]
"""`protected`: a point of the last 24 h (setting); `stale`: an older one; `unprotected`: none;
`failing`: the last backup failed."""


class VmInfo(Output):
    id: str
    name: str
    platform_id: str | None
    platform_name: str
    platform_kind: str
    platform_vm_id: str
    power: Literal["running", "paused", "shut_off", "unknown"]
    firmware: str
    vcpus: int
    memory_bytes: int
    size_bytes: int
    disk_count: int
    present: bool
    managed: bool
    tags: list[str]
    group_ids: list[str]
    has_backups: bool
    point_count: int
    stored_bytes: int
    last_backup_at: Time | None
    last_run_id: str | None
    last_run_state: str
    protection: Protection
    active_run: RunBrief | None
    """Running or waiting now."""
    can_back_up: bool
    cannot_back_up_reason: str
    """In words, for a disabled button; empty when it can."""


class VmDetail(VmInfo):
    disks: list[DiscoveredDisk]
    networks: list[DiscoveredNic]
    added_at: Time
    seen_at: Time | None
    default_repository_id: str | None
    """Where its last backup went, else the only repository; what a one-click backup uses."""


class VmUpdate(Input):
    tags: Annotated[list[Tag], Field(max_length=20)]


class TimelinePoint(Output):
    """One restore point on a VM's timeline."""

    backup_id: str
    point_id: str
    repository_id: str
    repository_name: str
    captured_at: Time
    captured_as: Literal["full", "incremental"]
    consistency: str
    size_bytes: int
    stored_bytes: int
    held: str
    suspect: str
    damaged: str
    """Why it cannot be read now; empty when it can."""
    immutable_until: Time | None
    """Nobody deletes it before; null when it may be deleted now."""


class Timeline(Output):
    vm_id: str
    points: list[TimelinePoint]
    total: int
    failures: list[RunBrief]
    """Backups of the same span that did not succeed."""


class GroupBody(Input):
    name: Name
    description: Annotated[str, Field(max_length=2000)] = ""
    vm_ids: Annotated[list[str], Field(max_length=5000)] = Field(default_factory=list)


class GroupInfo(Output):
    id: str
    name: str
    description: str
    vm_ids: list[str]
    created_at: Time
