"""What happened: the log, the audit trail, and storage over time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from holdfast.catalog.models.base import Base, Sequence64


class LogEntry(Base):
    """A line worth keeping, from the service, a worker or a run. Free of secrets."""

    __tablename__ = "log_entry"
    __table_args__ = (
        Index("ix_log_entry_run_id_seq", "run_id", "seq"),
        Index("ix_log_entry_vm_id_seq", "vm_id", "seq"),
        Index("ix_log_entry_level_seq", "level", "seq"),
        Index("ix_log_entry_at", "at"),
    )

    seq: Mapped[int] = mapped_column(Sequence64, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(10))
    """`debug`, `info`, `warning` or `error`."""
    source: Mapped[str] = mapped_column(String(40))
    """`service`, `worker` or `run`."""
    run_id: Mapped[str | None] = mapped_column(String(36))
    vm_id: Mapped[str | None] = mapped_column(String(36))
    message: Mapped[str] = mapped_column(Text)
    fields: Mapped[dict[str, Any]]


class AuditEntry(Base):
    """Who did what, in the transaction that did it. Each entry's hash covers the one before, so
    that a change or a gap shows."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index("ix_audit_entry_actor_name_seq", "actor_name", "seq"),)

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """1, 2, 3 …, without gaps."""
    at: Mapped[datetime]
    actor_kind: Mapped[str] = mapped_column(String(20))
    """`user`, `token`, `service` or `anonymous`."""
    actor_id: Mapped[str] = mapped_column(String(36), default="")
    actor_name: Mapped[str] = mapped_column(String(200), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    action: Mapped[str] = mapped_column(String(100))
    """`backup.start`, `auth.login`."""
    object_kind: Mapped[str] = mapped_column(String(40), default="")
    object_id: Mapped[str] = mapped_column(String(200), default="")
    outcome: Mapped[str] = mapped_column(String(20))
    """`done`, `denied` or `failed`."""
    details: Mapped[dict[str, Any]]
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class StorageSample(Base):
    """A repository's figures at a time: one a day is kept for long, all of the last two days."""

    __tablename__ = "storage_sample"

    repository_id: Mapped[str] = mapped_column(
        ForeignKey("repository.id", ondelete="CASCADE"), primary_key=True
    )
    at: Mapped[datetime] = mapped_column(primary_key=True)
    used_bytes: Mapped[int] = mapped_column(BigInteger)
    logical_bytes: Mapped[int] = mapped_column(BigInteger)
    available_bytes: Mapped[int | None] = mapped_column(BigInteger)
    backup_count: Mapped[int]
