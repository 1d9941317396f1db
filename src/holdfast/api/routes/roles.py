"""The roles and what they allow."""

from __future__ import annotations

from fastapi import APIRouter

from holdfast.api.access import signed_in
from holdfast.api.schemas.access import RoleInfo
from holdfast.api.schemas.common import Page
from holdfast.policy.access import ROLE_PERMISSIONS, Role

router = APIRouter(prefix="/roles", tags=["access"])
_DESCRIPTIONS = {
    Role.VIEWER: "Sees VMs, backups, runs and logs.",
    Role.OPERATOR: "Also starts, cancels and retries backups, maintains repositories, adds VMs.",
    Role.RESTORE_OPERATOR: "Sees, and restores files, disks and VMs.",
    Role.ADMINISTRATOR: "Everything: platforms, repositories, users, settings, deleting backups.",
}


@router.get("", dependencies=[signed_in()])
def list_roles() -> Page[RoleInfo]:
    items = [
        RoleInfo(
            name=role.value,
            description=_DESCRIPTIONS[role],
            permissions=sorted(permission.value for permission in ROLE_PERMISSIONS[role]),
            scopable=role is not Role.ADMINISTRATOR,
        )
        for role in Role
    ]
    return Page[RoleInfo](items=items, total=len(items))
