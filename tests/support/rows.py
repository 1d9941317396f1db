"""Rows of the catalogue as tests need them, whatever is of no account filled in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from holdfast.catalog.models import VirtualMachine, VmTag


def add_vm_row(
    session: Session,
    vm_id: str,
    added_at: datetime,
    *,
    platform_id: str | None = None,
    tag: str = "",
) -> VirtualMachine:
    row = VirtualMachine(
        id=vm_id,
        platform_id=platform_id,
        platform_identity="images",
        platform_vm_id=vm_id,
        name=vm_id,
        power="running",
        firmware="bios",
        vcpus=1,
        memory_bytes=1,
        size_bytes=1,
        disks=[],
        networks=[],
        added_at=added_at,
    )
    session.add(row)
    session.flush()
    if tag:
        session.add(VmTag(vm_id=vm_id, tag=tag))
    return row
