"""From a mount's row to its files: who may use it, how long it lives, what it shows."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from holdfast.api.access import Principal
from holdfast.api.context import ServiceContext
from holdfast.api.guest_mounts import MountSource
from holdfast.api.runtime_settings import runtime_settings
from holdfast.api.schemas.restores import FileEntry as FileEntryInfo
from holdfast.api.schemas.restores import FoundFiles, VolumeInfo
from holdfast.catalog import mounts, repositories
from holdfast.catalog.models import RestoreMount
from holdfast.core.errors import InvalidInput
from holdfast.policy.access import Permission
from holdfast.repository import Repository
from holdfast.restore.guest_files.entries import (
    FileEntry,
    FileType,
    Found,
    Volume,
    display_name,
)
from holdfast.restore.guest_files.session import GuestFiles

_SHOWN_PROBLEMS = 100
_SLIDE_EVERY = timedelta(seconds=30)
_KINDS = {FileType.DIRECTORY: "d", FileType.SYMLINK: "l", FileType.FILE: "-"}


@contextmanager
def use_mount(
    context: ServiceContext, caller: Principal, mount_id: str
) -> Generator[tuple[GuestFiles, RestoreMount]]:
    """Its files, and the row. Using it makes it live on. Raises MountExpired."""
    now = context.clock.now()
    with context.database.reading() as session:
        row = mounts.find_mount(session, mount_id, owner_filter(caller), now)
        idle = timedelta(minutes=runtime_settings(session).mount_idle_minutes)
    if now - row.used_at > _SLIDE_EVERY:
        with context.database.writing() as session:
            mounts.slide(session, mount_id, now, idle)
    with context.mounts.use(source_of(context, row)) as guest:
        yield guest, row
    if context.clock.now() - now > _SLIDE_EVERY:  # a long download was use, too
        with context.database.writing() as session:
            mounts.slide(session, mount_id, context.clock.now(), idle)


def owner_filter(caller: Principal) -> str | None:
    """Administrators see the mounts of all, others their own."""
    return None if caller.access.allows_everywhere(Permission.ACCESS_MANAGE) else caller.user_id


def source_of(context: ServiceContext, row: RestoreMount) -> MountSource:
    def open_repository() -> Repository:
        with context.database.reading() as session:
            repository = repositories.find_repository(session, row.repository_id)
        return context.repositories.get(repository)

    return MountSource(
        mount_id=row.id,
        point_id=row.point_id,
        disk_keys=[str(key) for key in row.disks],
        open=open_repository,
    )


def guest_path(path: str | None, path_b64: str | None = None) -> bytes:
    """A path as the guest's bytes. Raises InvalidInput."""
    if path_b64:
        try:
            padded = path_b64 + "=" * (-len(path_b64) % 4)
            return base64.b64decode(padded, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error) as error:
            raise InvalidInput(what="path_b64", problem="is not URL-safe base64") from error
    try:
        return (path or "/").encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(what="path", problem="is not text: use path_b64") from error


def shown_path(path: bytes) -> str:
    """For people; what is not UTF-8 or not printable is escaped."""
    return display_name(path)


def entry_info(folder: bytes, entry: FileEntry) -> FileEntryInfo:
    """Names are bytes: one that text cannot carry bears `path_b64` too."""
    path = folder.rstrip(b"/") + b"/" + entry.name
    plain = _is_plain(path)
    return FileEntryInfo(
        name=entry.name.decode() if plain else display_name(entry.name),
        path=path.decode() if plain else shown_path(path),
        type=entry.type.value,
        size=entry.size_bytes,
        mode=_mode_text(entry),
        uid=entry.uid,
        gid=entry.gid,
        modified_time=entry.modified,
        symlink_target=None if entry.symlink_target is None else display_name(entry.symlink_target),
        path_b64=None if plain else base64.urlsafe_b64encode(path).decode().rstrip("="),
        error=entry.error,
    )


def find_files(guest: GuestFiles, query: str, where: bytes, limit: int) -> FoundFiles:
    """By name below a folder, whatever the case."""
    found: list[FileEntryInfo] = []
    problems: list[str] = []
    for item in guest.find(query.encode(), path=where, limit=limit + 1):
        if isinstance(item, Found):
            found.append(entry_info(item.folder, item.entry))
        elif len(problems) < _SHOWN_PROBLEMS:
            problems.append(f"{shown_path(item.path)}: {item.error}")
    return FoundFiles(
        path=shown_path(where),
        query=query,
        files=found[:limit],
        complete=len(found) <= limit,
        problems=problems,
    )


def volume_info(volume: Volume) -> VolumeInfo:
    return VolumeInfo(
        id=volume.id,
        label=display_name(volume.label),
        filesystem=volume.filesystem,
        size_bytes=volume.size_bytes,
        error=volume.error or None,
        notes=list(volume.notes),
    )


def _is_plain(path: bytes) -> bool:
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return False
    return text.isprintable()


def _mode_text(entry: FileEntry) -> str:
    """As `ls -l` shows it, the special bits included."""
    letters = [_KINDS.get(entry.type, "?")]
    for shift, special, letter in ((6, 0o4000, "s"), (3, 0o2000, "s"), (0, 0o1000, "t")):
        bits = entry.mode >> shift & 7
        letters.append("r" if bits & 4 else "-")
        letters.append("w" if bits & 2 else "-")
        runs = bool(bits & 1)
        if entry.mode & special:
            letters.append(letter if runs else letter.upper())
        else:
            letters.append("x" if runs else "-")
    return "".join(letters)
