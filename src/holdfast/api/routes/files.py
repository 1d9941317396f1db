"""Files without a mount: search in a backup, versions of one over time, the difference of two."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.file_versions import difference, versions_of
from holdfast.api.mount_access import find_files, guest_path, shown_path
from holdfast.api.point_files import open_point
from holdfast.api.repository_access import find_point_now
from holdfast.api.schemas.restores import BackupFileSearch, FileDiff, FileVersions
from holdfast.catalog import inventory
from holdfast.catalog.audit import record
from holdfast.catalog.paging import decode_cursor, encode_cursor
from holdfast.catalog.points import points_of_vm_with_repository
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission

router = APIRouter(prefix="/files", tags=["files"])
GuestPath = Annotated[
    str | None, Query(max_length=65536, description="Absolute, begins with a volume.")
]
PathB64 = Annotated[
    str | None, Query(max_length=90000, description="Instead of path: URL-safe base64 of its bytes")
]
BackupId = Annotated[str, Query(max_length=100)]
_FILES = [requires(Permission.FILES_READ)]


@router.get("/search", dependencies=_FILES)
def search_backup_files(
    context: Context,
    caller: Caller,
    backup_id: BackupId,
    q: Annotated[str, Query(min_length=1, max_length=500, description="Part of a name, or * ? [")],
    path: GuestPath = None,
    path_b64: PathB64 = None,
    limit: Annotated[int, Query(ge=1, le=2000)] = 200,
) -> BackupFileSearch:
    """Find by name in a backup, whatever the case, without mounting it first."""
    where = guest_path(path, path_b64)
    point, row = find_point_now(context, caller.scope(Permission.FILES_READ), backup_id)
    with open_point(context, row, point.id) as guest:
        found = find_files(guest, q, where, limit)
    return BackupFileSearch(backup_id=backup_id, **found.model_dump())


@router.get("/versions", dependencies=_FILES)
def list_file_versions(
    context: Context,
    caller: Caller,
    vm_id: Annotated[str, Query(max_length=100)],
    path: GuestPath = None,
    path_b64: PathB64 = None,
    limit: Annotated[int, Query(ge=1, le=50, description="Points at most.")] = 10,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> FileVersions:
    """The path in the VM's restore points, newest first. Each point is opened by a reader of its
    own unless its disks are those of the one before: ask for few at a time."""
    where = _file_path(path, path_b64)
    start = 0 if cursor is None else decode_cursor(cursor)
    with context.database.reading() as session:
        vm = inventory.find_vm(session, caller.scope(Permission.FILES_READ), vm_id)
        points, total = points_of_vm_with_repository(session, vm.id, start, limit + 1)
        session.expunge_all()
    # One more than asked for: the last of the page is compared with it.
    versions = versions_of(context, points, where)[:limit]
    end = start + len(versions)
    return FileVersions(
        vm_id=vm_id,
        path=shown_path(where),
        versions=versions,
        total=total,
        next_cursor=encode_cursor(end) if versions and end < total else None,
    )


@router.get("/diff", dependencies=_FILES)
def diff_file(
    context: Context,
    caller: Caller,
    left_backup_id: BackupId,
    right_backup_id: BackupId,
    path: GuestPath = None,
    path_b64: PathB64 = None,
) -> FileDiff:
    """What changed in a text file from the left backup to the right one, as a unified diff."""
    where = _file_path(path, path_b64)
    scope = caller.scope(Permission.FILES_READ)
    left, left_row = find_point_now(context, scope, left_backup_id)
    right, right_row = find_point_now(context, scope, right_backup_id)
    with context.database.writing() as session:
        record(
            session,
            caller,
            "files.diff",
            clock=context.clock,
            object_kind="backup",
            object_id=left_backup_id,
            details={"path": shown_path(where), "other": right_backup_id},
        )
    labels = (f"{left.captured_at:%Y-%m-%d %H:%M:%S}", f"{right.captured_at:%Y-%m-%d %H:%M:%S}")
    with (
        open_point(context, left_row, left.id) as before,
        open_point(context, right_row, right.id) as after,
    ):
        found = difference(before, after, where, labels)
    return FileDiff(
        path=shown_path(where),
        left_backup_id=left_backup_id,
        right_backup_id=right_backup_id,
        equal=found.equal,
        text=found.text,
        diff=found.diff,
        truncated=found.truncated,
    )


def _file_path(path: str | None, path_b64: str | None) -> bytes:
    if not path and not path_b64:
        raise InvalidInput(what="path", problem="say which file: path or path_b64")
    return guest_path(path, path_b64)
