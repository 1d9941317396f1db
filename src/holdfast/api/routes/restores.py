"""Restore mounts and the files in them. Paths and fields of the plan are here as written."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context, ServiceContext
from holdfast.api.mount_access import (
    entry_info,
    find_files,
    guest_path,
    owner_filter,
    shown_path,
    source_of,
    use_mount,
    volume_info,
)
from holdfast.api.mount_parameters import GuestPath, MountId, PathB64
from holdfast.api.paging import Page as PageQuery
from holdfast.api.paging import ShortPage, part_of
from holdfast.api.repository_access import find_point_now
from holdfast.api.runtime_settings import runtime_settings
from holdfast.api.schemas.restores import (
    FileEntry,
    FileList,
    FilePreview,
    FileSearch,
    MountList,
    MountRequest,
    RestoreMount,
    VolumeInfo,
)
from holdfast.catalog import mounts
from holdfast.catalog.audit import record
from holdfast.catalog.models import RestoreMount as MountRow
from holdfast.catalog.models import RestorePoint
from holdfast.catalog.notices import announce
from holdfast.catalog.paging import encode_cursor
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.ids import uuid7
from holdfast.core.units import KIB
from holdfast.policy.access import Permission

router = APIRouter(prefix="/restore", tags=["restore"])
_FILES = [requires(Permission.FILES_READ)]
_PREVIEW_BYTES = 256 * KIB
_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


@router.post("/mount", status_code=201, dependencies=_FILES)
def mount_backup(body: MountRequest, context: Context, caller: Caller) -> RestoreMount:
    """Open a restore point for browsing. The same once more gives the same mount."""
    now = context.clock.now()
    point, _ = find_point_now(context, caller.scope(Permission.FILES_READ), body.backup_id)
    with context.database.reading() as session:
        keys = sorted(set(body.disks or ()))
        known = {str(disk["key"]) for disk in point.disks}
        if not set(keys) <= known:
            problem = f"the backup has no disk {', '.join(sorted(set(keys) - known))}"
            raise InvalidInput(what="disks", problem=problem)
        same = mounts.find_same(session, point.run_id, keys, caller.user_id, now)
        limits = runtime_settings(session)
        if same is None:
            mounts.require_room(session, limits.mount_limit, now)
    idle = timedelta(minutes=limits.mount_idle_minutes)
    if same is not None:
        _serve_again(context, same)
        with context.database.writing() as session:
            mounts.slide(session, same.id, now, idle)
            mounts.find_mount(session, same.id, None, now).nbd_uri = same.nbd_uri
            return _shown(session, mounts.find_mount(session, same.id, None, now))
    row = MountRow(
        id=str(uuid7(context.clock)),
        repository_id=point.repository_id,
        point_id=point.id,
        run_id=point.run_id,
        disks=keys,
        state="mounting",
        state_message="",
        volumes=[],
        nbd_uri="",
        served_by="",
        created_by=caller.user_id,
        created_at=now,
        used_at=now,
        expires_at=now + idle,
    )
    _open(context, row)
    try:
        with context.database.writing() as session:
            # Asked again inside: of two at once, one more than the limit must not come through.
            mounts.require_room(session, limits.mount_limit, now)
            session.add(row)
            session.flush()
            shown = _shown(session, row)
            announce(
                session,
                "mount",
                row.id,
                "created",
                clock=context.clock,
                vm_id=point.vm_id,
                user_id=row.created_by,
            )
            record(
                session,
                caller,
                "restore.mount",
                clock=context.clock,
                object_kind="backup",
                object_id=point.run_id,
                details={"mount": row.id, "vm": point.vm_name},
            )
    except BaseException:
        context.mounts.end(row.id)
        raise
    return shown


@router.get("/mounts", dependencies=_FILES)
def list_mounts(context: Context, caller: Caller, page: ShortPage) -> MountList:
    """One's own; an administrator sees all."""
    with context.database.reading() as session:
        rows = mounts.list_mounts(session, owner_filter(caller), context.clock.now())
        items = [_shown(session, row) for row in rows]
        limit = runtime_settings(session).mount_limit
    part = part_of(items, page)
    return MountList(
        mounts=list(part.rows), total=part.total, limit=limit, next_cursor=part.next_cursor
    )


@router.get("/{mount_id}", dependencies=_FILES)
def get_mount(mount_id: MountId, context: Context, caller: Caller) -> RestoreMount:
    with context.database.reading() as session:
        now = context.clock.now()
        return _shown(session, mounts.find_mount(session, mount_id, owner_filter(caller), now))


@router.delete("/{mount_id}", status_code=204, dependencies=_FILES)
def unmount(mount_id: MountId, context: Context, caller: Caller) -> None:
    """Close it. What still reads from it is broken off."""
    with context.database.writing() as session:
        row = mounts.find_mount(session, mount_id, owner_filter(caller), context.clock.now())
        owner = row.created_by
        session.delete(row)
        announce(session, "mount", mount_id, "removed", clock=context.clock, user_id=owner)
        record(
            session,
            caller,
            "restore.unmount",
            clock=context.clock,
            object_kind="mount",
            object_id=mount_id,
        )
    context.mounts.end(mount_id)


@router.get("/{mount_id}/files", dependencies=_FILES)
def list_files(
    mount_id: MountId,
    context: Context,
    caller: Caller,
    page: PageQuery,
    path: GuestPath = "/",
    path_b64: PathB64 = None,
) -> FileList:
    """A folder, in name order, a page at a time; `/` lists the volumes."""
    where = guest_path(path, path_b64)
    with use_mount(context, caller, mount_id) as (guest, _):
        if not where.strip(b"/"):
            entries = [_volume_entry(volume_info(volume)) for volume in guest.volumes()]
            return FileList(mount_id=mount_id, path="/", files=entries, total=len(entries))
        listing = guest.list(where, offset=page.offset, limit=page.limit)
    end = page.offset + len(listing.entries)
    more = bool(listing.entries) and end < listing.total
    return FileList(
        mount_id=mount_id,
        path=shown_path(where),
        files=[entry_info(where, entry) for entry in listing.entries],
        total=listing.total,
        next_cursor=encode_cursor(end) if more else None,
        problems=list(listing.errors),
    )


@router.get("/{mount_id}/search", dependencies=_FILES)
def search_files(
    mount_id: MountId,
    context: Context,
    caller: Caller,
    q: Annotated[str, Query(min_length=1, max_length=500, description="Part of a name, or * ? [")],
    path: GuestPath = "/",
    path_b64: PathB64 = None,
    limit: Annotated[int, Query(ge=1, le=2000)] = 200,
) -> FileSearch:
    """Find by name below a folder, whatever the case."""
    where = guest_path(path, path_b64)
    with use_mount(context, caller, mount_id) as (guest, _):
        return FileSearch(mount_id=mount_id, **find_files(guest, q, where, limit).model_dump())


@router.get("/{mount_id}/preview", dependencies=_FILES)
def preview_file(
    mount_id: MountId,
    context: Context,
    caller: Caller,
    path: GuestPath = "/",
    path_b64: PathB64 = None,
) -> FilePreview:
    """The beginning of a file as text, or what kind of file it is."""
    where = guest_path(path, path_b64)
    with use_mount(context, caller, mount_id) as (guest, _):
        file = guest.open(where)
        head = file.read(0, _PREVIEW_BYTES)
    picture = next((kind for magic, kind in _PICTURES.items() if head.startswith(magic)), None)
    shown = shown_path(where)
    if not file.size_bytes:
        return FilePreview(path=shown, kind="empty", media_type="text/plain", size=0)
    if picture is not None:
        return FilePreview(path=shown, kind="picture", media_type=picture, size=file.size_bytes)
    text = _text_of(head, cut=len(head) < file.size_bytes)
    if text is None:
        return FilePreview(
            path=shown, kind="binary", media_type="application/octet-stream", size=file.size_bytes
        )
    return FilePreview(
        path=shown,
        kind="text",
        media_type="text/plain",
        size=file.size_bytes,
        text=text,
        truncated=len(head) < file.size_bytes,
    )


def _open(context: ServiceContext, row: MountRow) -> None:
    """Start the reader; the row says then what it found and where the first disk is served."""
    source = source_of(context, row)
    try:
        with context.mounts.use(source) as guest:
            row.volumes = [volume_info(volume).model_dump() for volume in guest.volumes()]
        row.state = "mounted"
        try:
            row.nbd_uri = context.mounts.nbd_uri(source)
        except HoldfastError as error:
            # Files can be browsed all the same.
            row.state_message = f"its first disk is not served over NBD: {error.message}"
    except BaseException:
        context.mounts.end(row.id)
        raise


def _serve_again(context: ServiceContext, row: MountRow) -> None:
    """A mount outlives the process that served it; where its first disk is served does not."""
    if row.id not in context.mounts.served_ids():
        _open(context, row)


def _volume_entry(volume: VolumeInfo) -> FileEntry:
    return FileEntry(
        name=volume.id,
        path=f"/{volume.id}",
        type="directory",
        size=volume.size_bytes,
        mode="drwxr-xr-x",
        uid=0,
        gid=0,
        modified_time=None,
        error=volume.error,
    )


def _text_of(head: bytes, *, cut: bool) -> str | None:
    """The text of a beginning; None for what is none. `cut`: its last character may be broken."""
    if b"\0" in head:
        return None
    for shorter in range(4 if cut else 1):
        try:
            return head[: len(head) - shorter].decode()
        except UnicodeDecodeError:
            continue
    return None


def _shown(session: Session, row: MountRow) -> RestoreMount:
    point = session.get(RestorePoint, (row.repository_id, row.point_id))
    return RestoreMount(
        mount_id=row.id,
        backup_id=row.run_id,
        mount_path=f"/api/v1/restore/{row.id}/files",
        nbd_device=row.nbd_uri,
        status=cast("Literal['mounting', 'mounted', 'unmounting', 'failed']", row.state),
        expires_at=row.expires_at,
        status_message=row.state_message,
        created_at=row.created_at,
        vm_id=point.vm_id if point else None,
        vm_name=point.vm_name if point else "",
        captured_at=point.captured_at if point else None,
        disks=[str(key) for key in row.disks]
        or [str(disk["key"]) for disk in (point.disks if point else [])],
        volumes=[VolumeInfo.model_validate(volume) for volume in row.volumes],
        created_by=row.created_by,
    )
