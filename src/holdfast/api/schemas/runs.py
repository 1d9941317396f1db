"""Runs: operations that take time. A backup is a run, and so are restores and maintenance."""

from __future__ import annotations

from typing import Any, Literal

from holdfast.api.schemas.common import Output, Time

RunStateName = Literal["pending", "running", "completed", "failed", "cancelled"]
RunKindName = Literal[
    "backup",
    "restore_vm",
    "restore_disk",
    "check",
    "verify",
    "prune",
    "compact",
    "copy",
    "lock",
    "repair",
    "delete_point",
    "discover",
]


class DiskPlanInfo(Output):
    """What will be read of one disk, and why."""

    key: str
    mode: Literal["changed", "compare", "full"]
    reason: str
    planned_bytes: int
    size_bytes: int


class DiskProgress(Output):
    key: str
    state: Literal["pending", "running", "completed", "failed"]
    size_bytes: int
    done_bytes: int
    total_bytes: int
    """Bytes dealt with when it is complete: all that the plan names."""
    read_bytes: int
    stored_bytes: int


class Bottleneck(Output):
    """Where the time of a run goes, in percent of its busy time."""

    source: int
    network: int
    cpu: int
    repository: int


class RunBrief(Output):
    id: str
    kind: RunKindName
    state: RunStateName
    phase: str
    progress_percent: float
    vm_id: str | None
    vm_name: str
    repository_id: str | None
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    throughput_bps: int
    eta_seconds: int | None
    error_code: str | None
    error_message: str | None


class RunTransitionInfo(Output):
    at: Time
    before: str
    after: str
    attempt: int
    message: str


class RunInfo(RunBrief):
    platform_id: str | None
    point_id: str | None
    request: dict[str, Any]
    plan: list[DiskPlanInfo]
    disks: list[DiskProgress]
    bytes_done: int
    bytes_total: int
    bytes_read: int
    bytes_stored: int
    bottleneck: Bottleneck | None
    samples: list[tuple[float, int]]
    """Seconds since the start, bytes a second."""
    result: dict[str, Any]
    error_hint: str | None
    attempt: int
    not_before: Time | None
    """When the next attempt begins, of a pending run whose last attempt failed."""
    cancel_requested: bool
    can_cancel: bool
    can_retry: bool
    queue_reason: str
    """Why a pending run waits, in words."""
    created_by: str
    retry_of: str | None
    transitions: list[RunTransitionInfo]


class RunAccepted(Output):
    """A run was queued; follow it at /runs/{id} and by the event `run_progress`."""

    run_id: str
    state: RunStateName
    existing: bool = False
    """True when the same was asked for before and is still active: this is that run."""


class RunProgressUpdate(Output):
    """Payload of the event `run_progress`."""

    id: str
    kind: RunKindName
    vm_id: str | None
    vm_name: str
    repository_id: str | None
    status: RunStateName
    phase: str
    progress_percent: float
    bytes_transferred: int
    total_bytes: int
    bytes_read: int
    stored_bytes: int
    throughput_bps: int
    eta_seconds: int | None
    bottleneck: Bottleneck | None
    disks: list[DiskProgress]
    error_code: str | None
    error_message: str | None
    attempt: int
    at: Time


class ResourceChanged(Output):
    """Payload of the events `<noun>_changed`: read it again."""

    id: str
    action: Literal["created", "changed", "removed"]
    vm_id: str | None
    """The VM that it belongs to."""
    at: Time
