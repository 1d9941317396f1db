"""The tables, by subject. Import from here."""

from holdfast.catalog.models.access import (
    ApiToken,
    LoginThrottle,
    RoleGrant,
    Session,
    User,
)
from holdfast.catalog.models.base import Base, UtcDateTime
from holdfast.catalog.models.inventory import (
    MachineGroup,
    MachineGroupMember,
    Platform,
    VirtualMachine,
    VmTag,
)
from holdfast.catalog.models.journal import AuditEntry, LogEntry, StorageSample
from holdfast.catalog.models.protection import Repository, RestoreMount, RestorePoint
from holdfast.catalog.models.runs import ResourceLease, Run, RunTransition, Worker
from holdfast.catalog.models.system import IdempotentRequest, Notice, NotificationTarget, Setting

__all__ = [
    "ApiToken",
    "AuditEntry",
    "Base",
    "IdempotentRequest",
    "LogEntry",
    "LoginThrottle",
    "MachineGroup",
    "MachineGroupMember",
    "Notice",
    "NotificationTarget",
    "Platform",
    "Repository",
    "ResourceLease",
    "RestoreMount",
    "RestorePoint",
    "RoleGrant",
    "Run",
    "RunTransition",
    "Session",
    "Setting",
    "StorageSample",
    "User",
    "UtcDateTime",
    "VirtualMachine",
    "VmTag",
    "Worker",
]
