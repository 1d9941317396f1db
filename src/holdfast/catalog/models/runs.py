"""Runs, who carries them out, and the resources that running ones occupy."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from holdfast.catalog.models.base import Base, Sequence64


def _listed(order: str, *more: str) -> Index:
    shown = text("deleted_at IS NULL")
    return Index(
        f"ix_run_listed_by_{order}",
        *(order, "id", "kind", "state", "backup_type", "repository_id", *more),
        sqlite_where=shown,
        postgresql_where=shown,
    )


class Run(Base):
    """One operation: asked for, carried out, ended. States move along `policy.run_states`; counts
    never run backwards within an attempt. Backups that were made elsewhere and found in a
    repository are completed runs with `imported` set."""

    __tablename__ = "run"
    __table_args__ = (
        # At most one active run of a VM, or of whatever `exclusive_key` names; NULL when ended.
        UniqueConstraint("exclusive_key"),
        Index("ix_run_vm_id_created_at", "vm_id", "created_at"),
        Index("ix_run_state_priority_created_at", "state", "priority", "created_at"),
        Index("ix_run_revision", "revision"),
        # What lists show, in each of their orders. Filters and counts need no more than these
        # columns: a page anywhere among a hundred thousand takes some milliseconds.
        _listed("created_at", "vm_name"),
        _listed("vm_name"),
        _listed("stored_bytes", "vm_name"),
        Index("ix_run_completed_at", "completed_at", "kind", "state", "read_bytes", "stored_bytes"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    vm_id: Mapped[str | None] = mapped_column(ForeignKey("vm.id", ondelete="SET NULL"))
    vm_name: Mapped[str] = mapped_column(String(500), default="")
    platform_id: Mapped[str | None] = mapped_column(ForeignKey("platform.id", ondelete="SET NULL"))
    repository_id: Mapped[str | None] = mapped_column(
        ForeignKey("repository.id", ondelete="SET NULL")
    )
    point_id: Mapped[str | None] = mapped_column(String(36))
    """The point made, restored or deleted."""
    backup_type: Mapped[str] = mapped_column(String(20), default="")
    """For backups: `full` or `incremental`: as asked for until it is known how it was captured."""
    request: Mapped[dict[str, Any]]
    """What was asked for, without secrets; enough to do it again."""
    exclusive_key: Mapped[str | None] = mapped_column(String(200))
    priority: Mapped[int] = mapped_column(default=0)
    """Higher goes first."""
    imported: Mapped[bool] = mapped_column(default=False)

    attempt: Mapped[int] = mapped_column(default=0)
    """Attempts begun; 0 before the first."""
    not_before: Mapped[datetime | None]
    """When the next attempt may begin; for a pending run after a failed attempt."""
    generation: Mapped[int] = mapped_column(default=0)
    """Grows whenever another worker takes the run: what an older one reports is refused."""
    worker_id: Mapped[str | None] = mapped_column(String(100))
    cancel_requested_at: Mapped[datetime | None]
    cancel_reason: Mapped[str] = mapped_column(Text, default="")

    phase: Mapped[str] = mapped_column(String(200), default="")
    plan: Mapped[list[Any]]
    """Per disk: key, mode, reason, planned_bytes, size_bytes."""
    disks: Mapped[list[Any]]
    """Per disk: key, size_bytes, done_bytes, total_bytes, read_bytes, stored_bytes, state."""
    percent: Mapped[float] = mapped_column(default=0.0)
    """Never goes back within an attempt, not even when it turns out that more must be read."""
    done_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    total_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    read_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    stored_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    throughput_bps: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes a second over the last seconds; 0 when nothing is known."""
    eta_seconds: Mapped[int | None]
    bottleneck: Mapped[dict[str, Any]]
    """Percent of the busy time by `source`, `network`, `cpu`, `repository`; empty when unknown."""
    samples: Mapped[list[Any]]
    """Throughput over time, thinned to some hundreds: [seconds since start, bytes a second]."""
    result: Mapped[dict[str, Any]]
    """What it came to: for a backup consistency, size_bytes, notes, suspects."""
    error_code: Mapped[str] = mapped_column(String(100), default="")
    error_message: Mapped[str] = mapped_column(Text, default="")
    error_hint: Mapped[str] = mapped_column(Text, default="")
    error_retry: Mapped[str] = mapped_column(String(10), default="")
    """`never`, `later` or `now`, of the last failed attempt."""
    failures: Mapped[int] = mapped_column(default=0)
    """Attempts that failed by themselves; not those whose worker died or was stopped."""

    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    """When its restore point was deleted, or its record was removed: no list shows it any more."""
    created_by: Mapped[str] = mapped_column(String(200), default="")
    """Who asked, for people: a user's name, a token's name, `service`."""
    retry_of: Mapped[str | None] = mapped_column(String(36))
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    """Grows over all runs with each change: whoever remembers the highest sees what is new."""


class RunTransition(Base):
    """Every change of a run's state, kept for the record."""

    __tablename__ = "run_transition"

    seq: Mapped[int] = mapped_column(Sequence64, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    before: Mapped[str] = mapped_column(String(20))
    after: Mapped[str] = mapped_column(String(20))
    attempt: Mapped[int]
    worker_id: Mapped[str | None] = mapped_column(String(100))
    message: Mapped[str] = mapped_column(Text, default="")


class Worker(Base):
    """A process that carries out runs. One whose heartbeat stopped is dead: others take over."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    generation: Mapped[int]
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(String(50))
    slots: Mapped[int]
    """Runs at once."""
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    stopping: Mapped[bool] = mapped_column(default=False)


class ResourceLease(Base):
    """A place in a limited resource (a platform, a repository, a worker) that a run occupies.
    Taken all or none at the start of an attempt, released when it ends, void with its worker."""

    __tablename__ = "resource_lease"

    resource: Mapped[str] = mapped_column(String(200), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    worker_id: Mapped[str] = mapped_column(String(100), index=True)
    generation: Mapped[int]
    taken_at: Mapped[datetime]
