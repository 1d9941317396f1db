"""Repositories, the restore points in them as last read, and mounts of restore points."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from holdfast.catalog.models.base import Base


class Repository(Base):
    """A repository that was added. Figures are as measured at `measured_at`, or absent."""

    __tablename__ = "repository"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """The repository's own id, from its config."""
    name: Mapped[str] = mapped_column(String(200), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    """`local` or `s3`."""
    location: Mapped[str] = mapped_column(String(1000), unique=True)
    settings: Mapped[dict[str, Any]]
    """S3: endpoint, region, access_key_id, allow_http."""
    sealed_secret: Mapped[bytes | None]
    """Passphrase and S3 secret key."""
    chunk_bytes: Mapped[int]
    created_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(20), default="unknown")
    """`unknown`, `online` or `offline`, as of `state_at`."""
    state_message: Mapped[str] = mapped_column(Text, default="")
    state_at: Mapped[datetime | None]
    total_bytes: Mapped[int | None] = mapped_column(BigInteger)
    available_bytes: Mapped[int | None] = mapped_column(BigInteger)
    used_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Of the repository itself, not of the file system it is on."""
    logical_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Sizes of all disks of all points together."""
    backup_count: Mapped[int | None]
    measured_at: Mapped[datetime | None]
    last_check_at: Mapped[datetime | None]
    last_check_result: Mapped[str] = mapped_column(Text, default="")
    """Empty before the first check; `sound`, or the problem in words."""
    immutable_days: Mapped[int] = mapped_column(default=0)
    """Of the rule by which points are locked; 0 without one."""
    immutable_mode: Mapped[str] = mapped_column(String(20), default="")
    is_immutable: Mapped[bool] = mapped_column(default=False)
    """There is a rule, and the last attack on a canary failed."""
    immutable_message: Mapped[str] = mapped_column(Text, default="")
    """What that attack has shown, in words; empty without a rule."""
    immutable_tested_at: Mapped[datetime | None]
    locks_renewed_at: Mapped[datetime | None]
    """When a run last renewed the locks of all that points need."""
    damaged_points: Mapped[list[Any]] = mapped_column(default=list)
    """Points that cannot be read and never could be since they are known here: `id`, `problem`.
    Others have a row that says so itself."""


class RestorePoint(Base):
    """A restore point as its manifest says; a cache that `catalog.points` rebuilds."""

    __tablename__ = "restore_point"
    __table_args__ = (
        Index("ix_restore_point_vm_id_captured_at", "vm_id", "captured_at"),
        Index("ix_restore_point_run_id", "run_id"),
        Index("ix_restore_point_repository_id_vm_id", "repository_id", "vm_id"),
        Index(
            "ix_restore_point_damaged",
            "repository_id",
            sqlite_where=text("damaged != ''"),
            postgresql_where=text("damaged != ''"),
        ),
    )

    repository_id: Mapped[str] = mapped_column(
        ForeignKey("repository.id", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(36))
    """The run that made it: the id of the backup in the API."""
    vm_id: Mapped[str | None] = mapped_column(ForeignKey("vm.id", ondelete="SET NULL"))
    platform_identity: Mapped[str] = mapped_column(String(500))
    platform_vm_id: Mapped[str] = mapped_column(String(500))
    vm_name: Mapped[str] = mapped_column(String(500))
    captured_at: Mapped[datetime]
    created_at: Mapped[datetime]
    captured_as: Mapped[str] = mapped_column(String(20))
    parent_id: Mapped[str | None] = mapped_column(String(36))
    consistency: Mapped[str] = mapped_column(String(20))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    read_bytes: Mapped[int] = mapped_column(BigInteger)
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    disks: Mapped[list[Any]]
    """Per disk: key, size_bytes, format, mode, reason, read_bytes, changed_bytes, stored_bytes,
    proven."""
    tags: Mapped[list[Any]]
    notes: Mapped[list[Any]]
    held: Mapped[str] = mapped_column(Text, default="")
    suspect: Mapped[str] = mapped_column(Text, default="")
    locked_until: Mapped[datetime | None]
    """Nobody deletes it before, as the storage said when it was last asked."""
    damaged: Mapped[str] = mapped_column(Text, default="")
    """Why it cannot be read now; the row says what it was. Empty when it can."""


class RestoreMount(Base):
    """A restore point opened for browsing. The row is the mount; any process of the service can
    serve it and starts a reader when it has none."""

    __tablename__ = "restore_mount"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    repository_id: Mapped[str] = mapped_column(ForeignKey("repository.id", ondelete="CASCADE"))
    point_id: Mapped[str] = mapped_column(String(36))
    run_id: Mapped[str] = mapped_column(String(36), index=True)
    disks: Mapped[list[Any]]
    """Keys of the disks that were asked for, sorted; all of the point's when nothing was said."""
    state: Mapped[str] = mapped_column(String(20))
    """`mounting`, `mounted`, `unmounting` or `failed`."""
    state_message: Mapped[str] = mapped_column(Text, default="")
    volumes: Mapped[list[Any]]
    nbd_uri: Mapped[str] = mapped_column(String(500), default="")
    """Where the first disk is served, read-only; empty until it is."""
    served_by: Mapped[str] = mapped_column(String(100), default="")
    """The process that serves `nbd_uri`."""
    created_by: Mapped[str] = mapped_column(String(36))
    """Id of the user; only they and administrators see and use the mount."""
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
