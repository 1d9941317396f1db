"""Files and folders out of a restore mount."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context, ServiceContext
from holdfast.api.downloads import (
    UnsatisfiableRange,
    archive_format,
    archive_pieces,
    disposition,
    file_bytes_within,
    file_pieces,
    in_volumes,
    parse_range,
)
from holdfast.api.mount_access import guest_path, shown_path, use_mount
from holdfast.api.mount_parameters import MountId
from holdfast.catalog.audit import record
from holdfast.catalog.models import RestoreMount as MountRow
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission

router = APIRouter(prefix="/restore", tags=["restore"])
FILE_BYTES_HEADER = "X-Holdfast-File-Bytes"
_FILES = [requires(Permission.FILES_READ)]
_COUNT_S = 0.4
"""So long a download may wait for its files to be counted: it begins without, and goes on all the
same."""
_DOWNLOADS: dict[str, Any] = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("application/octet-stream", "application/zip", "application/zstd")
}


@router.get(
    "/{mount_id}/download",
    dependencies=_FILES,
    response_class=Response,
    responses={
        200: {
            "content": _DOWNLOADS,
            "headers": {
                FILE_BYTES_HEADER: {
                    "description": "Of an archive: bytes of the files that go into it, if counted",
                    "schema": {"type": "integer"},
                }
            },
        },
        206: {"description": "A part of one file", "content": _DOWNLOADS},
        416: {"description": "The range lies outside the file"},
    },
)
def download_files(
    mount_id: MountId,
    context: Context,
    caller: Caller,
    path: Annotated[list[str] | None, Query(description="May be repeated.")] = None,
    path_b64: Annotated[list[str] | None, Query(description="The same for names as bytes.")] = None,
    format: Annotated[
        Literal["zip", "tar.zst"] | None,
        Query(description="For a folder, or several; zip unless said otherwise."),
    ] = None,
    range_header: Annotated[str | None, Header(alias="Range")] = None,
) -> Response:
    """One file (with ranges), or a folder or several files as an archive. Always an attachment.

    How long an archive becomes is not known before it is made. What its files hold together is
    counted for a moment and, when that was enough, told in `X-Holdfast-File-Bytes`: the archive
    has at most about as many bytes, fewer where they compress.
    """
    paths = [guest_path(item) for item in path or []]
    paths += [guest_path(None, item) for item in path_b64 or []]
    if not paths:
        raise InvalidInput(what="download", problem="say what: path")
    with use_mount(context, caller, mount_id) as (guest, row):
        is_one = len(paths) == 1 and bool(paths[0].strip(b"/")) and format is None
        # Also those of an archive: once it has begun, an error can only break it off.
        entries = [guest.stat(item) for item in paths if item.strip(b"/")]
        entry = entries[0] if is_one else None
        is_file = entry is not None and entry.type.value == "file"
        held = None if is_file else file_bytes_within(guest, paths, seconds=_COUNT_S)
    _record_download(context, caller, row, paths)
    if entry is not None and entry.type.value == "file":
        return _one_file(context, caller, mount_id, paths[0], entry.size_bytes, range_header)
    answer = _archive(context, caller, mount_id, paths, format or "zip")
    if held is not None:
        answer.headers[FILE_BYTES_HEADER] = str(held)
    return answer


def _one_file(
    context: ServiceContext,
    caller: Caller,
    mount_id: str,
    path: bytes,
    size: int,
    range_header: str | None,
) -> Response:
    name = path.rstrip(b"/").rpartition(b"/")[2]
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition(name),
        "Cache-Control": "private, no-store",
    }
    try:
        wanted = parse_range(range_header, size)
    except UnsatisfiableRange:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    first, length = wanted or (0, size)
    headers["Content-Length"] = str(length)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"

    def pieces() -> Iterator[bytes]:
        with use_mount(context, caller, mount_id) as (guest, _):
            yield from file_pieces(guest.open(path), first, length)

    return StreamingResponse(
        pieces(),
        status_code=206 if wanted is not None else 200,
        headers=headers,
        media_type="application/octet-stream",
    )


def _archive(
    context: ServiceContext, caller: Caller, mount_id: str, paths: list[bytes], format: str
) -> StreamingResponse:
    kind = archive_format(format)
    name = paths[0].rstrip(b"/").rpartition(b"/")[2] if len(paths) == 1 else b""

    def pieces() -> Iterator[bytes]:
        with use_mount(context, caller, mount_id) as (guest, _):
            yield from archive_pieces(guest, in_volumes(guest, paths), kind)

    return StreamingResponse(
        pieces(),
        headers={
            "Content-Disposition": disposition(name or b"files", f".{kind.value}"),
            "Cache-Control": "private, no-store",
        },
        media_type="application/zip" if kind.value == "zip" else "application/zstd",
    )


def _record_download(
    context: ServiceContext, caller: Caller, row: MountRow, paths: list[bytes]
) -> None:
    """Before the first byte: who took files out of a backup is on record."""
    with context.database.writing() as session:
        record(
            session,
            caller,
            "restore.download",
            clock=context.clock,
            object_kind="backup",
            object_id=row.run_id,
            details={"paths": [shown_path(path) for path in paths[:20]], "count": len(paths)},
        )
