"""Settings that are changed at run time, notifications, and answers kept for repeated requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from holdfast.catalog.models.base import Base, Sequence64


class Setting(Base):
    """`auth.oidc`, `limits`, … : one JSON document each; secrets inside are sealed."""

    __tablename__ = "setting"

    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[dict[str, Any]]
    changed_at: Mapped[datetime]


class NotificationTarget(Base):
    """Where messages go. The Apprise URL holds passwords: sealed, never shown again."""

    __tablename__ = "notification_target"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    service: Mapped[str] = mapped_column(String(60))
    """The URL's scheme, for people: `mailto`, `slack`."""
    sealed_url: Mapped[bytes]
    events: Mapped[list[Any]]
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    last_sent_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(Text, default="")


class IdempotentRequest(Base):
    """The answer to an unsafe request that carried an Idempotency-Key, kept for a day."""

    __tablename__ = "idempotent_request"

    principal: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    """Of method, path and body: the same key with another request is refused."""
    status: Mapped[int | None]
    """None while the first request is being answered."""
    body: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(index=True)


class Notice(Base):
    """Something changed that open pages show: `<noun>_changed`. Kept for an hour; every process
    of the service reads what is new and tells its own browsers."""

    __tablename__ = "notice"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - a number is never used again

    seq: Mapped[int] = mapped_column(Sequence64, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    noun: Mapped[str] = mapped_column(String(40))
    object_id: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(20))
    """`created`, `changed` or `removed`."""
    vm_id: Mapped[str | None] = mapped_column(String(36))
    """The VM that it belongs to: only who sees the VM is told."""
    user_id: Mapped[str | None] = mapped_column(String(36))
    """Whose it is: only they and who manages access are told, whatever VM it belongs to."""
