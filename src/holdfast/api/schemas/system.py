"""Overview, monitoring, logs, notifications, settings, health."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from holdfast.api.schemas.common import Input, Name, Output, Time
from holdfast.api.schemas.runs import RunBrief


class DayActivity(Output):
    day: str
    """ISO date in the browser's zone, as asked for."""
    completed: int
    failed: int
    cancelled: int
    read_bytes: int
    stored_bytes: int


class StorageTrendPoint(Output):
    day: str
    used_bytes: int
    logical_bytes: int
    dedup_ratio: float | None


class UnprotectedVm(Output):
    id: str
    name: str
    protection: Literal["stale", "unprotected", "failing"]
    last_backup_at: Time | None


class Overview(Output):
    """The dashboard in one answer."""

    vm_count: int
    vms_protected: int
    vms_stale: int
    vms_unprotected: int
    vms_failing: int
    replication_count: int
    backups_today: int
    backups_today_failed: int
    running_count: int
    pending_count: int
    used_bytes: int | None
    logical_bytes: int | None
    dedup_ratio: float | None
    repositories_offline: int
    platforms_unreachable: int
    unprotected: list[UnprotectedVm]
    failures: list[RunBrief]
    running: list[RunBrief]
    activity: list[DayActivity]
    storage: list[StorageTrendPoint]


class WorkerInfo(Output):
    id: str
    host: str
    pid: int
    version: str
    slots: int
    running: int
    started_at: Time
    heartbeat_at: Time
    state: Literal["alive", "stopping", "lost"]


class HostLoad(Output):
    host: str
    cpu_count: int
    cpu_percent: float
    load_1: float
    load_5: float
    load_15: float
    memory_total_bytes: int
    memory_used_bytes: int
    disk_read_bps: int
    disk_write_bps: int
    network_receive_bps: int
    network_send_bps: int
    at: Time


class QueueInfo(Output):
    resource: str
    """`platform:<id>`, `repository:<id>`, `worker:<id>`."""
    name: str
    limit: int
    running: int
    waiting: int


class Monitoring(Output):
    running: list[RunBrief]
    pending: list[RunBrief]
    pending_total: int
    workers: list[WorkerInfo]
    queues: list[QueueInfo]
    host: HostLoad
    uptime_seconds: int


class LogInfo(Output):
    seq: int
    at: Time
    level: Literal["debug", "info", "warning", "error"]
    source: str
    run_id: str | None
    vm_id: str | None
    vm_name: str
    """Empty for a line that is of no VM, or of one that is gone."""
    message: str
    fields: dict[str, Any]


class LogPage(Output):
    entries: list[LogInfo]
    next_cursor: str | None
    """Older ones."""
    newest_seq: int
    """For `after_seq`: what came since."""


NotificationEvent = Literal[
    "backup_failed",
    "backup_completed",
    "restore_completed",
    "restore_failed",
    "integrity_problem",
    "repository_offline",
    "repository_nearly_full",
    "vm_unprotected",
]


class NotificationBody(Input):
    name: Name
    url: Annotated[SecretStr, Field(min_length=3, max_length=2000)] | None = None
    """An Apprise URL; write-only. Kept when left out of a change."""
    events: Annotated[list[NotificationEvent], Field(max_length=20)]
    enabled: bool = True


class NotificationInfo(Output):
    id: str
    name: str
    service: str
    events: list[NotificationEvent]
    enabled: bool
    created_at: Time
    last_sent_at: Time | None
    last_error: str
    """Why the last message was not delivered, and what happens next; empty when it was."""
    waiting: int
    """Messages that wait to be tried again."""


class NotificationTest(Output):
    ok: bool
    message: str


class ServiceSettings(Output):
    """Settings that may be changed while the service runs."""

    protected_within_hours: int
    platform_limit: int
    """Runs at once on one platform."""
    repository_limit: int
    mount_limit: int
    mount_idle_minutes: int
    restore_roots: list[str]
    """Folders below which disk images may be written."""
    retry_attempts: int
    retry_delay_seconds: int
    log_keep_days: int


class ServiceSettingsUpdate(Input):
    protected_within_hours: Annotated[int, Field(ge=1, le=8760)] | None = None
    platform_limit: Annotated[int, Field(ge=1, le=100)] | None = None
    repository_limit: Annotated[int, Field(ge=1, le=100)] | None = None
    mount_limit: Annotated[int, Field(ge=1, le=200)] | None = None
    mount_idle_minutes: Annotated[int, Field(ge=1, le=1440)] | None = None
    retry_attempts: Annotated[int, Field(ge=0, le=20)] | None = None
    retry_delay_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    log_keep_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class About(Output):
    version: str
    licence: str
    started_at: Time
    database: Literal["sqlite", "postgresql"]
    host: str
    python: str
    source_url: str = ""


class HealthCheck(Output):
    name: str
    ok: bool
    message: str


class Health(Output):
    """Public: only whether it works."""

    status: Literal["ok", "degraded", "failing"]


class HealthDetail(Health):
    version: str
    checks: list[HealthCheck]
