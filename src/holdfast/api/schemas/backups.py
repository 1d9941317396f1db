"""Backups. Fields up to `error_message` of BackupJob, BackupChain and the paths of the routes are
fixed by the plan; the rest is added."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from holdfast.api.schemas.common import Id, Input, Output, Tag, Time
from holdfast.api.schemas.runs import Bottleneck, DiskPlanInfo, DiskProgress, RunStateName

BackupType = Literal["full", "incremental"]


class BackupStart(Input):
    """One of `vm_id` and `vm_name` is needed; `vm_id` wins. An incremental without a parent
    becomes a full, with the reason in the plan."""

    vm_name: Annotated[str, Field(max_length=500)] | None = None
    vm_id: Id | None = None
    backup_type: BackupType = "incremental"
    repository_id: Id
    disks: Annotated[list[str], Field(min_length=1, max_length=256)] | None = None
    """Keys; all included disks when left out."""
    tags: Annotated[list[Tag], Field(max_length=20)] = Field(default_factory=list)
    freeze: bool = True
    priority: Annotated[int, Field(ge=-10, le=10)] = 0


class BackupPreview(Output):
    """What a backup would do now; an estimate that touches nothing."""

    vm_id: str
    repository_id: str
    backup_type: BackupType
    """As it would really be captured."""
    parent_id: str | None
    plan: list[DiskPlanInfo]
    planned_bytes: int
    consistency: str
    """What to expect: `filesystem` with an agent, else `crash` or `offline`; empty if unknown."""
    notes: list[str]


class BackupJob(Output):
    id: str
    vm_context_id: str | None
    vm_name: str
    backup_type: BackupType
    status: RunStateName
    repository_id: str | None
    file_path: str
    """Where the restore point is: `<repository>/points/<id>`; empty before it is committed."""
    bytes_transferred: int
    total_bytes: int
    created_at: Time
    completed_at: Time | None = None
    error_message: str | None = None
    # -- added -----------------------------------------------------------------------------------
    backup_id: str
    vm_id: str | None
    repository_name: str
    point_id: str | None
    phase: str
    progress_percent: float
    throughput_bps: int
    eta_seconds: int | None = None
    started_at: Time | None = None
    size_bytes: int
    """Exact size of all disks; 0 before it is known."""
    stored_bytes: int
    parent_id: str | None = None
    plan: list[DiskPlanInfo]
    disks: list[DiskProgress]
    bottleneck: Bottleneck | None = None
    consistency: str
    tags: list[str]
    held: str
    """Why the point must not be deleted; empty when it may."""
    suspect: str
    immutable_until: Time | None = None
    """Nobody deletes the point before; null when it may be deleted now."""
    damaged: str
    """Why the point cannot be read now; empty when it can. Nothing is restored from it until its
    repository is healed."""
    notes: list[str]
    error_code: str | None = None
    error_hint: str | None = None
    attempt: int
    not_before: Time | None = None
    created_by: str
    imported: bool
    """Found in a repository: not made by this service."""
    can_cancel: bool
    can_retry: bool
    can_delete: bool
    cannot_delete_reason: str
    can_browse: bool


class BackupList(Output):
    backups: list[BackupJob]
    total: int
    next_cursor: str | None = None


class BackupChain(Output):
    """One full capture of a disk and the incrementals since. Every point restores alone."""

    chain_id: str
    vm_context_id: str | None
    disk_id: str
    full_backup_id: str
    backups: list[BackupJob]
    total_size_bytes: int
    """New bytes that all of them added to the repository for this disk."""
    backup_count: int
    repository_id: str
    disk_stored_bytes: list[int]
    """Per backup of `backups`: what it added for this disk."""
    unique_bytes: list[int | None]
    """Per backup: stored bytes of this disk that only this point needs, which deleting it (and it
    alone) would give back; null while that is being measured."""


class BackupChains(Output):
    chains: list[BackupChain]
    total: int


class HoldBody(Input):
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class BackupProgressUpdate(Output):
    """Payload of the event `backup_progress`."""

    id: str
    backup_id: str
    vm_id: str | None
    vm_name: str
    repository_id: str | None
    backup_type: BackupType
    status: RunStateName
    phase: str
    progress_percent: float
    bytes_transferred: int
    total_bytes: int
    stored_bytes: int
    throughput_bps: int
    eta_seconds: int | None
    disks: list[DiskProgress]
    bottleneck: Bottleneck | None
    error_message: str | None
    error_code: str | None
    attempt: int
    at: Time
