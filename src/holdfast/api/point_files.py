"""The files of a restore point for one request, without a mount: for looking at the same path in
several points. Enter at `open_point`."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from holdfast.api.context import ServiceContext
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.core.cancellation import CancelToken
from holdfast.repository import Repository
from holdfast.restore.guest_files.session import GuestFiles, open_guest_files
from holdfast.restore.virtual_disk import VirtualDisk

_AT_ONCE = threading.BoundedSemaphore(4)
"""Readers of this process: each is a sandboxed process with a memory of its own."""

Content = tuple[tuple[str, bytes], ...]
"""The disks of a point by what is on them: two points with the same have the same files."""


@contextmanager
def open_point(context: ServiceContext, row: RepositoryRow, point_id: str) -> Generator[GuestFiles]:
    """Raises PointNotFound and what opening the repository raises."""
    with _AT_ONCE, context.repositories.with_index(row) as repository:
        disks = repository.point(point_id).manifest.disks
        sources = {disk.key: VirtualDisk(repository, disk) for disk in disks}
        with open_guest_files(sources, cancel=CancelToken()) as guest:
            yield guest


def content_of(repository: Repository, point_id: str) -> Content:
    disks = repository.point(point_id).manifest.disks
    return tuple((disk.key, disk.root) for disk in disks)
