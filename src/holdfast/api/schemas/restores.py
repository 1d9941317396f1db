"""Mounts and files (names and fields fixed by the plan come first), and restores of disks and
VMs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from holdfast.api.schemas.common import Id, Input, Output, Time


class MountRequest(Input):
    backup_id: Id
    disks: Annotated[list[str], Field(min_length=1, max_length=256)] | None = None


class VolumeInfo(Output):
    id: str
    """First part of every path in it."""
    label: str
    filesystem: str
    size_bytes: int
    error: str | None = None
    notes: list[str] = Field(default_factory=list)


class RestoreMount(Output):
    mount_id: str
    backup_id: str
    mount_path: str
    nbd_device: str
    status: Literal["mounting", "mounted", "unmounting", "failed"]
    expires_at: Time
    # -- added -----------------------------------------------------------------------------------
    status_message: str
    created_at: Time
    vm_id: str | None
    vm_name: str
    captured_at: Time | None
    disks: list[str]
    volumes: list[VolumeInfo]
    created_by: str


class MountList(Output):
    mounts: list[RestoreMount]
    total: int
    limit: int
    """Mounts at once."""
    next_cursor: str | None = None


class FileEntry(Output):
    """`path_b64` (URL-safe base64 of the bytes) is there when the name is not UTF-8 and goes
    wherever `path` goes."""

    name: str
    path: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    mode: str
    """As `ls` shows it: `-rw-r--r--`."""
    uid: int
    gid: int
    modified_time: Time | None
    symlink_target: str | None = None
    path_b64: str | None = None
    error: str | None = None


class FileList(Output):
    mount_id: str
    path: str
    files: list[FileEntry]
    total: int
    next_cursor: str | None = None
    problems: list[str] = Field(default_factory=list)
    """What of this folder could not be read."""


class FoundFiles(Output):
    path: str
    query: str
    files: list[FileEntry]
    complete: bool
    """False when the limit or the time was reached before everything was looked at."""
    problems: list[str] = Field(default_factory=list)


class FileSearch(FoundFiles):
    mount_id: str


class BackupFileSearch(FoundFiles):
    """The same without a mount."""

    backup_id: str


class FilePreview(Output):
    """The beginning of a file for looking at: text, or a picture as a download link."""

    path: str
    kind: Literal["text", "picture", "binary", "empty"]
    media_type: str
    size: int
    text: str | None = None
    truncated: bool = False


class FileVersion(Output):
    """The same path in one restore point."""

    backup_id: str
    captured_at: Time
    repository_id: str
    state: Literal["present", "absent", "unreadable"]
    size: int | None = None
    modified_time: Time | None = None
    changed: bool = False
    """Differs in size or time from the next older version."""
    problem: str = ""
    """Why it is unreadable."""


class FileVersions(Output):
    vm_id: str
    path: str
    versions: list[FileVersion]
    """Newest point first."""
    total: int
    """Restore points of the VM."""
    next_cursor: str | None = None


class FileDiff(Output):
    """A unified diff of two versions of a text file."""

    path: str
    left_backup_id: str
    right_backup_id: str
    equal: bool | None
    """null when they are too large to be compared here."""
    text: bool
    """False when one of them is no text or too large: no diff then."""
    diff: str
    truncated: bool


class DiskRestore(Input):
    """One disk of a point to a file on the service's host, below an allowed folder."""

    backup_id: Id
    disk: Annotated[str, Field(min_length=1, max_length=255)]
    output: Annotated[str, Field(min_length=1, max_length=4096)]
    format: Literal["raw", "qcow2", "vmdk"] = "qcow2"


class VmRestore(Input):
    """A whole VM to a platform, as a new one unless `mode` says otherwise."""

    backup_id: Id
    platform_id: Id
    mode: Literal["new", "overwrite"] = "new"
    name: Annotated[str, Field(max_length=200)] | None = None
    keep_identity: bool = False
    """Same UUID and MAC addresses; only when the old VM is gone or replaced."""
    isolated: bool = True
    """Network interfaces disconnected."""
    start: bool = False
    confirm: Annotated[str, Field(max_length=200)] | None = None
    """For `overwrite`: the name of the VM that will be replaced, typed."""


class RestorePreview(Output):
    """What a restore would do, in words, without doing it."""

    summary: list[str]
    warnings: list[str]
    name: str
    size_bytes: int
    disks: list[str]
    target_folder: str
    conflicts: list[str]
    """What stands in the way; empty when it can start."""
