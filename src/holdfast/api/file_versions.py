"""One path in the restore points of a VM, and what differs between two of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from holdfast.api.context import ServiceContext
from holdfast.api.point_files import Content, content_of, open_point
from holdfast.api.schemas.restores import FileVersion
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.catalog.models import RestorePoint
from holdfast.core.errors import HoldfastError, ToolFailed, ToolMissing, ToolStalled
from holdfast.core.units import KIB, MIB
from holdfast.repository.errors import PointNotFound
from holdfast.restore.guest_files.entries import FileEntry
from holdfast.restore.guest_files.errors import GuestFileNotFound
from holdfast.restore.guest_files.session import GuestFile, GuestFiles

LONGEST_TEXT = 1 * MIB
"""Of a file that is shown line by line."""
_LONGEST_COMPARED = 64 * MIB
_LONGEST_DIFF = 512 * KIB
_DIFF_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    equal: bool | None
    """None when the files are too large to be compared in a request."""
    text: bool
    diff: str
    truncated: bool


def versions_of(
    context: ServiceContext,
    points: Sequence[tuple[RestorePoint, RepositoryRow]],
    path: bytes,
) -> list[FileVersion]:
    """`points` newest first, the answer too; the oldest has nothing to differ from. A point whose
    disks are those of its neighbour is not opened."""
    found: list[FileVersion] = []
    known: dict[tuple[str, Content], FileVersion] = {}
    for point, row in reversed(points):
        version = _version(context, point, row, path, known)
        older = found[-1] if found else None
        changed = older is not None and _state(older) != _state(version)
        found.append(version.model_copy(update={"changed": changed}))
    return found[::-1]


def _version(
    context: ServiceContext,
    point: RestorePoint,
    row: RepositoryRow,
    path: bytes,
    known: dict[tuple[str, Content], FileVersion],
) -> FileVersion:
    place: dict[str, Any] = {
        "backup_id": point.run_id,
        "captured_at": point.captured_at,
        "repository_id": point.repository_id,
    }
    try:
        content = (row.id, content_of(context.repositories.get(row), point.id))
        if content not in known:
            with open_point(context, row, point.id) as guest:
                known[content] = _present(point, guest.stat(path))
        return known[content].model_copy(update=place)
    except GuestFileNotFound:
        return FileVersion(**place, state="absent")
    except PointNotFound:
        problem = "the restore point was deleted"
    except HoldfastError as error:
        problem = error.message
    return FileVersion(**place, state="unreadable", problem=problem)


def _present(point: RestorePoint, entry: FileEntry) -> FileVersion:
    return FileVersion(
        backup_id=point.run_id,
        captured_at=point.captured_at,
        repository_id=point.repository_id,
        state="unreadable" if entry.error else "present",
        size=entry.size_bytes,
        modified_time=entry.modified,
        problem=entry.error or "",
    )


def _state(version: FileVersion) -> tuple[object, ...]:
    return version.state, version.size, version.modified_time


def difference(
    left: GuestFiles, right: GuestFiles, path: bytes, labels: tuple[str, str]
) -> Difference:
    """Raises the errors of guest files, also when one of the two does not have the path, and those
    of the program `diff`."""
    one, other = left.open(path), right.open(path)
    if max(one.size_bytes, other.size_bytes) > LONGEST_TEXT:
        return Difference(equal=_equal(one, other), text=False, diff="", truncated=False)
    before, after = one.read(0, one.size_bytes), other.read(0, other.size_bytes)
    if before == after:
        return Difference(equal=True, text=_is_text(before), diff="", truncated=False)
    if not (_is_text(before) and _is_text(after)):
        return Difference(equal=False, text=False, diff="", truncated=False)
    shown = _unified(before, after, labels)
    cut = shown[:_LONGEST_DIFF].decode("utf-8", "ignore")
    return Difference(equal=False, text=True, diff=cut, truncated=len(shown) > _LONGEST_DIFF)


def _equal(one: GuestFile, other: GuestFile) -> bool | None:
    if one.size_bytes != other.size_bytes:
        return False
    if one.size_bytes > _LONGEST_COMPARED:
        return None
    return all(left == right for left, right in zip(one.chunks(), other.chunks(), strict=True))


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _unified(before: bytes, after: bytes, labels: tuple[str, str]) -> bytes:
    """By GNU diff, whose time grows with what differs and not with its square: files of a guest may
    be made to be slow. It gets them as nameless files."""
    command = ["diff", "--unified=3", "--text", "--speed-large-files"]
    command += [f"--label={label}" for label in labels]
    with _nameless([before, after]) as files:
        try:
            done = subprocess.run(
                [*command, *(f"/proc/self/fd/{file}" for file in files)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                pass_fds=files,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                timeout=_DIFF_WITHIN_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise ToolMissing(tool="diff", package="diffutils") from error
        except subprocess.TimeoutExpired as error:
            raise ToolStalled(tool="diff", status=0, output="the files differ too much") from error
    if done.returncode not in {0, 1}:
        output = done.stderr.decode("utf-8", "replace")[:500]
        raise ToolFailed(tool="diff", status=done.returncode, output=output)
    return done.stdout


@contextmanager
def _nameless(contents: Iterable[bytes]) -> Generator[list[int]]:
    files: list[int] = []
    try:
        for content in contents:
            file = os.memfd_create("holdfast-diff")
            files.append(file)
            with os.fdopen(os.dup(file), "wb") as writer:
                writer.write(content)
            os.lseek(file, 0, os.SEEK_SET)
        yield files
    finally:
        for file in files:
            os.close(file)
