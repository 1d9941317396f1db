"""Repositories. `Storage` and the list's shape are fixed by the plan."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from holdfast.api.schemas.common import Id, Input, Name, Output, Tag, Time
from holdfast.repository.format.immutability import MAX_DAYS

RepositoryKind = Literal["local", "s3"]
LockModeName = Literal["compliance", "governance"]
"""In a bucket: `compliance` binds everybody, `governance` all but who may bypass it."""


class S3Body(Input):
    endpoint: Annotated[str, Field(max_length=500)] = ""
    region: Annotated[str, Field(max_length=100)] = "us-east-1"
    access_key_id: Annotated[str, Field(max_length=200)]
    secret_access_key: Annotated[SecretStr, Field(max_length=500)] | None = None
    allow_http: bool = False


class RepositoryTarget(Input):
    """Where a repository is or shall be, for `test`."""

    location: Annotated[str, Field(min_length=1, max_length=1000)]
    """A folder on the service's host, or s3://bucket/prefix."""
    s3: S3Body | None = None


class RepositoryCreate(RepositoryTarget):
    name: Name
    mode: Literal["create", "open"]
    """`create` makes a new one; `open` adds one that is there."""
    passphrase: Annotated[SecretStr, Field(min_length=1, max_length=4096)]
    immutable_days: Annotated[int, Field(ge=0, le=MAX_DAYS)] = 0
    """For `create`: nobody can delete a point for so many days. Needs a bucket with Object Lock, or
    a local file system of Linux and root."""
    immutable_mode: LockModeName = "compliance"


class RepositoryUpdate(Input):
    name: Name | None = None
    location: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """Where the same repository is now; needs the secrets again."""
    s3: S3Body | None = None
    passphrase: Annotated[SecretStr, Field(min_length=1, max_length=4096)] | None = None


class RepositoryInfo(Output):
    id: str
    name: str
    type: RepositoryKind
    location: str
    endpoint: str
    region: str
    chunk_bytes: int
    state: Literal["unknown", "online", "offline"]
    state_message: str
    state_at: Time | None
    total_bytes: int | None
    available_bytes: int | None
    used_bytes: int | None
    logical_bytes: int | None
    dedup_ratio: float | None
    """Logical bytes divided by used bytes; null until measured, and without a backup."""
    backup_count: int
    vm_count: int
    measured_at: Time | None
    last_check_at: Time | None
    last_check_result: str
    immutable: bool
    """Points are locked, and the last attempt to break a lock failed."""
    immutable_message: str
    """What that attempt has shown, in words; empty where nothing is to be locked."""
    immutable_days: int
    """Points are locked for so long from their commit; 0 without a rule."""
    immutable_mode: LockModeName | None
    immutable_tested_at: Time | None
    locks_renewed_at: Time | None
    """When a run last renewed the locks of all that points need."""
    damaged_count: int
    """Restore points that cannot be read: `GET /repositories/{id}/damaged` names them."""
    created_at: Time


class ImmutabilityBody(Input):
    days: Annotated[int, Field(ge=0, le=MAX_DAYS)]
    """0: nothing new is locked. What is locked stays locked."""
    mode: LockModeName = "compliance"


class DamagedPoint(Output):
    """A restore point whose record cannot be read: it restores nothing until it is healed. What was
    known of it before it was damaged, as far as it was known."""

    point_id: str
    backup_id: str | None
    vm_id: str | None
    vm_name: str
    captured_at: Time | None
    problem: str


class DamagedPoints(Output):
    repository_id: str
    points: list[DamagedPoint]
    total: int
    hint: str
    """What to do about them."""


class RepositoryCreated(RepositoryInfo):
    recovery_kit: str | None = None
    """Shown once, for `create`: keep it away from the server."""
    imported_backups: int = 0


class RepositoryList(Output):
    repositories: list[RepositoryInfo]
    total: int
    next_cursor: str | None = None


class RepositoryTest(Output):
    """A failure is an answer here, not an error of the request."""

    ok: bool
    exists: bool
    """A repository is there already."""
    message: str
    hint: str = ""
    total_bytes: int | None = None
    available_bytes: int | None = None


class Storage(Output):
    repository_id: str
    total_bytes: int | None
    used_bytes: int
    available_bytes: int | None
    used_percent: float | None
    backup_count: int
    logical_bytes: int
    dedup_ratio: float | None
    last_check_at: Time | None
    measured_at: Time


class StoragePoint(Output):
    at: Time
    used_bytes: int
    logical_bytes: int
    available_bytes: int | None
    backup_count: int


class StorageHistory(Output):
    repository_id: str
    samples: list[StoragePoint]


class VerifyBody(Input):
    sample_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    not_verified_for_days: Annotated[int, Field(ge=0, le=3650)] | None = None


class CheckBody(Input):
    read_data: bool = False


class PruneRule(Input):
    keep_last: Annotated[int, Field(ge=0, le=100_000)] | None = None
    keep_hourly: Annotated[int, Field(ge=0, le=100_000)] | None = None
    keep_daily: Annotated[int, Field(ge=0, le=100_000)] | None = None
    keep_weekly: Annotated[int, Field(ge=0, le=100_000)] | None = None
    keep_monthly: Annotated[int, Field(ge=0, le=100_000)] | None = None
    keep_yearly: Annotated[int, Field(ge=0, le=100_000)] | None = None
    keep_within_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    keep_tags: Annotated[list[Tag], Field(max_length=20)] = Field(default_factory=list)
    minimum_age_days: Annotated[int, Field(ge=0, le=36_500)] | None = None


class PruneBody(Input):
    rule: PruneRule
    dry_run: bool = True
    compact: bool = True
    """Give the space back afterwards."""
    vm_name: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Only the VMs whose newest point has this name."""
    time_zone: Annotated[str, Field(min_length=1, max_length=100)] = "UTC"
    """Where hours, days and weeks begin, such as Europe/Berlin."""
    confirm_points: Annotated[int, Field(ge=0)] | None = None
    """The number of points that the preview showed; another number now stops the run."""
    confirm_point_ids: Annotated[list[Id], Field(max_length=10_000)] | None = None
    """The points that the preview said would go: others now stop the run. Stricter than their
    number, and instead of it."""


class PruneDecision(Output):
    backup_id: str
    point_id: str
    vm_name: str
    captured_at: Time
    keep: bool
    reasons: list[str]
    size_bytes: int
    stored_bytes: int
    """What it added when it was taken; later points may need some of that."""
    unique_bytes: int | None
    """What it alone holds: freed if it went and no other. Null until measured."""
    immutable_until: Time | None
    """The storage lets nobody delete it before."""


class PrunePreview(Output):
    decisions: list[PruneDecision]
    keep_count: int
    delete_count: int
    reclaim_bytes: int | None
    """What only the points that would go hold, together: more than each of them alone holds."""
    warnings: list[str]
    """What would make the run stop and ask."""


class RepairBody(Input):
    from_repository_id: Id | None = None
    """A repository with copies of the same points: what is lost here is taken from there."""


class KeySlotInfo(Output):
    """One way to open a repository."""

    id: str
    kind: Literal["passphrase", "recovery", "unreadable"]
    created_at: Time | None
    """By the clock of the machine that made it."""
    opens_service: bool
    """The secret that the service keeps opens this slot: it cannot be removed here."""


class KeySlotList(Output):
    repository_id: str
    slots: list[KeySlotInfo]
    total: int


class RecoveryKit(Output):
    slot_id: str
    recovery_kit: str
    """Shown once: keep it away from the server."""


class PassphraseBody(Input):
    current_passphrase: Annotated[SecretStr, Field(min_length=1, max_length=4096)]
    """One that opens the repository today, or a recovery key: what it opens is replaced."""
    new_passphrase: Annotated[SecretStr, Field(min_length=1, max_length=4096)]


class PassphraseChanged(Output):
    added: str
    removed: list[str]
    still_locked: list[str]
    """Slots of the old passphrase that an immutable storage does not give up yet: it still opens
    the repository until they are removed after their lock has ended."""


class CopyBody(Input):
    to_repository_id: Id
    backup_ids: Annotated[list[Id], Field(max_length=10_000)] | None = None
