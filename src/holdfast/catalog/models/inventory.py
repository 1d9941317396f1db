"""Platforms and the VMs on them. Removing a VM or a platform removes no backup: restore points
keep the identity of their VM themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from holdfast.catalog.models.base import Base


class Platform(Base):
    """A hypervisor connection. Its secret is sealed (see sealing.py); the API never shows it."""

    __tablename__ = "platform"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    """`libvirt` or `images`."""
    identity: Mapped[str] = mapped_column(String(500), unique=True)
    """What it connects to: `libvirt:qemu:///system`, `images:/srv/images`; no two are the same."""
    settings: Mapped[dict[str, Any]]
    sealed_secret: Mapped[bytes | None]
    state: Mapped[str] = mapped_column(String(20), default="unknown")
    """`unknown`, `connected` or `unreachable`, as of `state_at`."""
    state_message: Mapped[str] = mapped_column(Text, default="")
    state_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class VirtualMachine(Base):
    """A VM that was added, as last seen. The columns from `last_backup_at` on repeat what points
    and runs say, so that a page of a list is one query; `catalog.summaries` renews them."""

    __tablename__ = "vm"
    __table_args__ = (
        UniqueConstraint("platform_identity", "platform_vm_id"),
        Index("ix_vm_name", "name"),
        Index("ix_vm_last_backup_at", "last_backup_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    platform_id: Mapped[str | None] = mapped_column(
        ForeignKey("platform.id", ondelete="SET NULL"), index=True
    )
    platform_identity: Mapped[str] = mapped_column(String(500))
    """As its restore points record it: `libvirt:qemu:///system`, `images`."""
    platform_vm_id: Mapped[str] = mapped_column(String(500))
    """libvirt: the UUID; images: the absolute path."""
    name: Mapped[str] = mapped_column(String(500))
    power: Mapped[str] = mapped_column(String(20))
    firmware: Mapped[str] = mapped_column(String(20))
    vcpus: Mapped[int]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    """Of all its disks together."""
    disks: Mapped[list[Any]]
    networks: Mapped[list[Any]]
    present: Mapped[bool] = mapped_column(default=True)
    """False when the platform no longer has it."""
    managed: Mapped[bool] = mapped_column(default=True)
    """False for a VM that is known only by its restore points, or that was removed."""
    added_at: Mapped[datetime]
    seen_at: Mapped[datetime | None]

    last_backup_at: Mapped[datetime | None]
    """Instant of the newest restore point in any repository."""
    last_run_id: Mapped[str | None] = mapped_column(String(36))
    last_run_state: Mapped[str] = mapped_column(String(20), default="")
    """Of the newest backup run that ended."""
    point_count: Mapped[int] = mapped_column(default=0)
    stored_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    """New bytes that its points added to repositories."""


class VmTag(Base):
    __tablename__ = "vm_tag"

    vm_id: Mapped[str] = mapped_column(ForeignKey("vm.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class MachineGroup(Base):
    __tablename__ = "machine_group"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]


class MachineGroupMember(Base):
    __tablename__ = "machine_group_member"

    group_id: Mapped[str] = mapped_column(
        ForeignKey("machine_group.id", ondelete="CASCADE"), primary_key=True
    )
    vm_id: Mapped[str] = mapped_column(
        ForeignKey("vm.id", ondelete="CASCADE"), primary_key=True, index=True
    )
