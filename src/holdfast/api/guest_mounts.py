"""The readers behind restore mounts, in this process. The row in the catalogue is the mount; here
is what serves it: a sandboxed reader of its file systems, and its first disk over NBD.

Enter at `GuestMounts.use`. A reader is started by the first use in this process and ended when the
mount ends (see `upkeep`) or with the process; it never outlives it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from holdfast.core.cancellation import CancelToken
from holdfast.repository import DiskRecord, Repository, RestorePoint
from holdfast.restore.export import export_disk
from holdfast.restore.guest_files.session import GuestFiles, open_guest_files
from holdfast.restore.virtual_disk import VirtualDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSource:
    """What a mount shows. `open` gives the repository with its index loaded after the point was
    found."""

    mount_id: str
    point_id: str
    disk_keys: Sequence[str]
    """Empty for all disks of the point."""
    open: Callable[[], Repository]


@dataclass(slots=True, kw_only=True)
class _Served:
    guest: GuestFiles
    point: RestorePoint
    cancel: CancelToken
    stack: ExitStack
    nbd_uri: str = ""
    users: int = 0
    closing: bool = False
    nbd_lock: threading.Lock = field(default_factory=threading.Lock)
    nbd_stack: ExitStack = field(default_factory=ExitStack)
    repository: Repository


class GuestMounts:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._starting: dict[str, threading.Lock] = {}
        self._served: dict[str, _Served] = {}

    @contextmanager
    def use(self, source: MountSource) -> Generator[GuestFiles]:
        """The files of the mount. Raises what opening the repository and the point raises."""
        served = self._enter(source)
        try:
            yield served.guest
        finally:
            self._leave(source.mount_id, served)

    def nbd_uri(self, source: MountSource) -> str:
        """Where the first disk is served read-only, to programs of the service's own user on this
        host; started by the first call. Raises ToolMissing, ExportFailed."""
        served = self._enter(source)
        try:
            with served.nbd_lock:
                if not served.nbd_uri:
                    disk = _disks(served.point, source.disk_keys)[0]
                    exported = served.nbd_stack.enter_context(
                        export_disk(repository=served.repository, disk=disk, writable=False)
                    )
                    served.nbd_uri = exported.uri
                return served.nbd_uri
        finally:
            self._leave(source.mount_id, served)

    def is_busy(self, mount_id: str) -> bool:
        """Whether something is being read from it right now, here."""
        with self._lock:
            served = self._served.get(mount_id)
            return served is not None and served.users > 0

    def end(self, mount_id: str) -> None:
        """Stop serving it: what still reads from it gets an error. Nothing happens when it is not
        served here."""
        with self._lock:
            served = self._served.pop(mount_id, None)
        if served is not None:
            served.closing = True
            served.cancel.cancel("the mount was ended")
            _close(served)

    def served_ids(self) -> list[str]:
        with self._lock:
            return sorted(self._served)

    def close(self) -> None:
        for mount_id in self.served_ids():
            self.end(mount_id)

    def _enter(self, source: MountSource) -> _Served:
        with self._lock:
            starting = self._starting.setdefault(source.mount_id, threading.Lock())
        with starting:
            with self._lock:
                served = self._served.get(source.mount_id)
                if served is not None:
                    served.users += 1
                    return served
            served = _start(source)
            with self._lock:
                served.users += 1
                self._served[source.mount_id] = served
            return served

    def _leave(self, mount_id: str, served: _Served) -> None:
        with self._lock:
            served.users -= 1
            if mount_id not in self._served:
                self._starting.pop(mount_id, None)


def _start(source: MountSource) -> _Served:
    repository = source.open()
    point = repository.point(source.point_id)
    repository.load_index()
    cancel = CancelToken()
    stack = ExitStack()
    sources = {disk.key: VirtualDisk(repository, disk) for disk in _disks(point, source.disk_keys)}
    guest = stack.enter_context(open_guest_files(sources, cancel=cancel))
    return _Served(guest=guest, point=point, cancel=cancel, stack=stack, repository=repository)


def _disks(point: RestorePoint, keys: Sequence[str]) -> list[DiskRecord]:
    """Raises DiskNotFound."""
    return [point.disk(key) for key in keys] if keys else list(point.manifest.disks)


def _close(served: _Served) -> None:
    try:
        served.stack.close()
    finally:
        served.nbd_stack.close()
