"""Who may do what: permissions, the roles that bundle them, and the scopes that narrow a role to
some VMs. Pure: no users, sessions or database here. Enter at `Access`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum


class Permission(Enum):
    """One thing that a route may ask for. The value is the name in the API."""

    VIEW = "view"
    """See inventory, backups, runs, repositories and their state."""
    BACKUP_RUN = "backup.run"
    """Start, cancel and retry backups."""
    BACKUP_DELETE = "backup.delete"
    """Delete restore points, hold and release them."""
    FILES_READ = "files.read"
    """Mount a restore point, browse and download guest files."""
    RESTORE_RUN = "restore.run"
    """Restore disks and VMs."""
    REPOSITORY_MAINTAIN = "repository.maintain"
    """Check, verify, prune, compact, copy."""
    INVENTORY_MANAGE = "inventory.manage"
    """Discover, add and remove VMs; tags and groups."""
    PLATFORM_MANAGE = "platform.manage"
    REPOSITORY_MANAGE = "repository.manage"
    """Add, change and forget repositories, and their secrets."""
    LOGS_READ = "logs.read"
    AUDIT_READ = "audit.read"
    ACCESS_MANAGE = "access.manage"
    """Users, roles, tokens of others, sign-in settings."""
    SYSTEM_MANAGE = "system.manage"
    """Notifications and settings of the service."""


class Role(Enum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    RESTORE_OPERATOR = "restore-operator"
    ADMINISTRATOR = "administrator"


_VIEWER = frozenset({Permission.VIEW, Permission.LOGS_READ})
_OPERATOR = _VIEWER | {
    Permission.BACKUP_RUN,
    Permission.REPOSITORY_MAINTAIN,
    Permission.INVENTORY_MANAGE,
}
_RESTORE_OPERATOR = _VIEWER | {Permission.FILES_READ, Permission.RESTORE_RUN}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: frozenset(_OPERATOR),
    Role.RESTORE_OPERATOR: frozenset(_RESTORE_OPERATOR),
    Role.ADMINISTRATOR: frozenset(Permission),
}

VM_PERMISSIONS = frozenset(
    {
        Permission.VIEW,
        Permission.BACKUP_RUN,
        Permission.BACKUP_DELETE,
        Permission.FILES_READ,
        Permission.RESTORE_RUN,
        Permission.LOGS_READ,
    }
)
"""Permissions that make sense for some VMs only. A role that is narrowed to a scope grants nothing
beyond these: who may only act on some VMs changes nothing that belongs to all."""


class ScopeKind(Enum):
    ALL = "all"
    GROUP = "group"
    """`value` is the id of a machine group."""
    TAG = "tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One role within one scope."""

    role: Role
    scope: ScopeKind = ScopeKind.ALL
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmScope:
    """The VMs that a permission reaches: all, or those with one of the tags or in one of the
    groups. Neither means none."""

    all_vms: bool = False
    groups: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not (self.all_vms or self.groups or self.tags)

    def within(self, other: VmScope) -> VmScope:
        """What both reach. VMs reached by a group here and by a tag there are left out: that is
        less, never more."""
        if other.all_vms:
            return self
        if self.all_vms:
            return other
        return VmScope(groups=self.groups & other.groups, tags=self.tags & other.tags)

    def contains(self, *, groups: Collection[str], tags: Collection[str]) -> bool:
        """Whether a VM with these groups and tags is in the scope."""
        return self.all_vms or not self.groups.isdisjoint(groups) or not self.tags.isdisjoint(tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one principal (a user's session or a token) may do."""

    grants: Sequence[Grant]
    limit: Access | None = None
    """Nothing beyond this: what the owner of a token may do themselves."""

    def scope(self, permission: Permission) -> VmScope:
        """The VMs for which the permission holds."""
        everywhere = False
        groups: set[str] = set()
        tags: set[str] = set()
        for grant in self.grants:
            if permission not in ROLE_PERMISSIONS[grant.role]:
                continue
            if grant.scope is ScopeKind.ALL:
                everywhere = True
            elif permission in VM_PERMISSIONS:
                (groups if grant.scope is ScopeKind.GROUP else tags).add(grant.value)
        scope = VmScope(all_vms=everywhere, groups=frozenset(groups), tags=frozenset(tags))
        return scope.within(self.limit.scope(permission)) if self.limit is not None else scope

    def allows(self, permission: Permission) -> bool:
        """Whether the permission holds for anything at all."""
        return not self.scope(permission).is_empty

    def allows_everywhere(self, permission: Permission) -> bool:
        return self.scope(permission).all_vms

    @property
    def permissions(self) -> frozenset[Permission]:
        return frozenset(item for item in Permission if self.allows(item))

    def within(self, other: Access) -> bool:
        """Whether `other` could do everything that this could: nobody hands on more than they
        have."""
        for permission in self.permissions:
            mine, theirs = self.scope(permission), other.scope(permission)
            if theirs.all_vms:
                continue
            if mine.all_vms or not (mine.groups <= theirs.groups and mine.tags <= theirs.tags):
                return False
        return True
