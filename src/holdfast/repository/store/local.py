"""A folder on a local disk or on NFS as an object store.

Write rule: a temporary file in the final folder, all bytes, fsync, hard link under the final name
(which never replaces), unlink of the temporary name, fsync of the folder. A failed fsync is final
for that file: the kernel may have dropped the data and marked it clean, so it is removed, never
synced again.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from holdfast.core.busy_time import BUSY, Activity
from holdfast.core.clock import format_time
from holdfast.core.errors import HoldfastError, OutOfSpace
from holdfast.core.failpoints import failpoint
from holdfast.core.units import MIB
from holdfast.repository.errors import (
    ClockJumped,
    LocksUnsupported,
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
    StoreUnavailable,
)
from holdfast.repository.store import file_lock
from holdfast.repository.store.clock_witness import ClockWitness
from holdfast.repository.store.final_name import give_name
from holdfast.repository.store.store import Buffer, ObjectInfo, ObjectLock, check_key, is_key

_FULL = {errno.ENOSPC, errno.EDQUOT}
_TEMPORARY = ".tmp-"
_RESERVE = ".reserve"
_MORE_BYTES = 4096
"""Asked for behind what should be the end of a file."""
RESERVE_BYTES = 32 * MIB
"""Enough to replace index objects and to rewrite a pack at a time while others are deleted."""


class LocalStore:
    """Objects are files below `root`; files whose names are no keys (temporary ones, and what
    systems and people drop into folders) are not objects."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable_folders: set[Path] = set()
        self._witness = ClockWitness(root)

    @property
    def location(self) -> str:
        return str(self._root)

    def prepare(self) -> None:
        """Create the root folder when missing, durably. Raises StoreUnavailable."""
        try:
            self._make_folder(self._root)
        except OSError as error:
            raise self._problem(error) from error

    @BUSY.measure(Activity.REPOSITORY)
    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        self._put(key, parts, None)

    @BUSY.measure(Activity.REPOSITORY)
    def put_locked(self, key: str, parts: Sequence[Buffer], lock: ObjectLock) -> None:
        """The time is on the file before its name is; the attribute comes after the name, for a
        file that has it gets no name."""
        self._require_steady_clock()
        self._put(key, parts, lock)
        # A crash here leaves an object that says until when it should be locked, and is not.
        failpoint("local_store.before_lock")
        try:
            file_lock.lock_file(self._path(key))
        except OSError as error:
            with suppress(OSError):
                Path(self._path(key)).unlink()
            raise self._unlockable(error, key) from error

    def lock(self, key: str, lock: ObjectLock) -> None:
        until = self.locked_until(key)
        if until is not None and until >= lock.until:
            return
        self._require_steady_clock()
        try:
            recorded = file_lock.recorded_until(self._path(key))
            later = max(lock.until, recorded) if recorded else lock.until
            file_lock.extend_file(self._path(key), later)
        except OSError as error:
            raise self._unlockable(error, key) from error

    def locked_until(self, key: str) -> datetime | None:
        try:
            path = self._path(key)
            return file_lock.recorded_until(path) if file_lock.is_locked(path) else None
        except OSError as error:
            raise self._problem(error, key) from error

    def breaches(self, key: str) -> Sequence[str]:
        return file_lock.attacks(self._path(key))

    def _put(self, key: str, parts: Sequence[Buffer], lock: ObjectLock | None) -> None:
        final = Path(self._path(key))
        temporary = final.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            self._make_folder(final.parent)
            try:
                self._write_temporary(temporary, parts, lock)
                # A crash here leaves a temporary file that no reader sees.
                failpoint("local_store.after_temp_fsync")
                give_name(temporary, final, key=key, location=self.location)
            finally:
                with suppress(OSError):  # it stays as a leftover that no reader sees
                    temporary.unlink()
            # A crash here may lose the name: nobody was told that it exists yet.
            failpoint("local_store.after_link")
            self._sync_name(final)
        except OSError as error:
            raise self._problem(error) from error

    def get(self, key: str) -> bytes:
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.read(descriptor, os.fstat(descriptor).st_size)
                while more := os.read(descriptor, _MORE_BYTES):  # nothing comes only at the end
                    data += more
                return data
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._problem(error, key) from error

    @BUSY.measure(Activity.REPOSITORY)
    def get_range(self, key: str, offset: int, length: int) -> bytes:
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(descriptor, length, offset)
                while len(data) < length:
                    more = os.pread(descriptor, length - len(data), offset + len(data))
                    if not more:
                        break
                    data += more
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._problem(error, key) from error
        if len(data) != length:
            raise ObjectDamaged(key=key, problem=f"it ends before byte {offset + length}")
        return data

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key, entry in self._below(prefix):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted since: legal
            except OSError as error:
                raise self._problem(error) from error
            yield _info(key, status)

    def list_keys(self, prefix: str) -> Iterator[str]:
        for key, _ in self._below(prefix):
            yield key

    def _below(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        top = self._root
        try:
            self._require_root()
            for name in prefix.split("/")[:-1]:
                top /= name
                if top.is_symlink():
                    raise self._linked(name)
                if not top.exists():
                    return
        except OSError as error:
            raise self._problem(error) from error
        yield from self._walk(str(top), prefix)

    def stat(self, key: str) -> ObjectInfo:
        try:
            status = Path(self._path(key)).stat()
        except OSError as error:
            raise self._problem(error, key) from error
        return _info(key, status)

    def delete(self, key: str) -> None:
        path = Path(self._path(key))
        try:
            try:
                path.unlink()
            except PermissionError:
                self._end_lock(key)
                path.unlink()
            self._sync_folder(path.parent)
        except OSError as error:
            raise self._problem(error, key) from error

    def replace_damaged(self, key: str, damaged: bytes, parts: Sequence[Buffer]) -> None:
        if self.get(key) != damaged:
            raise ObjectExists(key=key, location=self.location)
        final = Path(self._path(key))
        temporary = final.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            try:
                stamped = final.stat()
                self._write_temporary(temporary, parts, None)
                # The object is as old as it was: what is judged by its age stays as it is.
                os.utime(temporary, ns=(stamped.st_atime_ns, stamped.st_mtime_ns))
                # A crash here leaves a temporary file that no reader sees.
                failpoint("local_store.before_rename")
                self._rename_over(temporary, final, key)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
            # A failure from here on may leave either: the names of both are whole objects.
            self._sync_folder(final.parent)
        except OSError as error:
            raise self._problem(error, key) from error

    def _rename_over(self, temporary: Path, final: Path, key: str) -> None:
        try:
            temporary.replace(final)
        except PermissionError:
            self._end_lock(key)
            temporary.replace(final)

    def now(self) -> datetime:
        """By the clock that stamps files here, which on NFS is the server's."""
        probe = self._root / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                return _moment(os.fstat(descriptor))
            finally:
                os.close(descriptor)
                probe.unlink()
        except OSError as error:
            raise self._problem(error) from error

    def remove_leftovers(self, older_than_s: float) -> int:
        """Remove temporary files of killed writers; returns how many. Never touches objects."""
        removed = 0
        now = self.now()
        try:
            for folder, folders, names in os.walk(self._root, onerror=_raise):
                # `lost+found`, snapshots of the storage: not ours to read or change.
                folders[:] = filter(is_key, folders)
                for name in names:
                    path = Path(folder, name)
                    if not name.startswith(_TEMPORARY):
                        continue
                    # A second name of a locked object, which goes when the lock has ended.
                    with suppress(FileNotFoundError, PermissionError):
                        if (now - _moment(path.stat())).total_seconds() > older_than_s:
                            path.unlink()
                            removed += 1
        except OSError as error:
            raise self._problem(error) from error
        return removed

    def keep_reserve(self, size_bytes: int = RESERVE_BYTES) -> None:
        """Set space aside for `free_reserve`, unless there is a reserve or hardly any space.

        Raises StoreUnavailable."""
        reserve = self._root / _RESERVE
        temporary = self._root / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            status = os.statvfs(self._root)
            if reserve.exists() or status.f_bavail * status.f_frsize < 2 * size_bytes:
                return
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.posix_fallocate(descriptor, 0, size_bytes)
                temporary.rename(reserve)
            finally:
                os.close(descriptor)
                temporary.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in _FULL:
                raise self._problem(error) from error

    def free_reserve(self) -> bool:
        """Give back the space set aside, so that deleting goes on although the disk is full: what
        is deleted last must be written anew first. False when there is none."""
        try:
            (self._root / _RESERVE).unlink()
            self._sync_folder(self._root)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._problem(error) from error
        return True

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self._root}/{key}"

    def _write_temporary(
        self, path: Path, parts: Sequence[Buffer], lock: ObjectLock | None
    ) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[os.write(descriptor, view) :]
            if lock is not None:
                self._record_until(descriptor, lock)
            os.fsync(descriptor)
        finally:
            # NFS reports a failed write only here; the error must not be lost.
            os.close(descriptor)

    def _record_until(self, descriptor: int, lock: ObjectLock) -> None:
        try:
            file_lock.record_until(descriptor, lock.until)
        except OSError as error:
            raise self._unlockable(error, "") from error

    def _end_lock(self, key: str) -> None:
        """Raises ObjectLocked while it lasts, and StoreUnavailable for a file that is protected by
        something else."""
        path = self._path(key)
        until = self.locked_until(key)
        if until is None:
            problem = f"{key} may not be changed by this user, or somebody else made it immutable"
            raise StoreUnavailable(location=self.location, problem=problem)
        if until > self.now():
            raise ObjectLocked(key=key, until=format_time(until))
        self._require_steady_clock()
        # A crash after this leaves an object whose lock has ended, as it has.
        file_lock.unlock_file(path)

    def _require_steady_clock(self) -> None:
        """Raises ClockJumped."""
        try:
            jump = self._witness.jump(self.now())
        except OSError as error:
            raise self._problem(error) from error
        if jump is not None:
            raise ClockJumped(location=self.location, hours=int(jump.total_seconds() // 3600))

    def _unlockable(self, error: OSError, key: str) -> HoldfastError:
        if error.errno not in file_lock.UNSUPPORTED:
            return self._problem(error, key)
        if error.errno in {errno.EPERM, errno.EACCES}:
            problem = "setting the immutable attribute takes root's rights"
        else:
            problem = "its file system has no immutable attribute"
        return LocksUnsupported(location=self.location, problem=problem)

    def _sync_name(self, final: Path) -> None:
        """Make the new name durable, or take it back: the caller is told that it does not exist."""
        try:
            self._sync_folder(final.parent)
        except OSError:
            with suppress(OSError):
                final.unlink()
            raise

    def _make_folder(self, folder: Path) -> None:
        """Create `folder` and make its name durable. An existing folder's name is synced as well,
        once a process: whoever created it may have died before its own fsync."""
        if folder in self._durable_folders:
            return
        if folder != self._root:
            self._make_folder(folder.parent)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        self._sync_folder(folder.parent)
        self._durable_folders.add(folder)

    def _sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _walk(self, top: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Every object below the folder `top`, by its key, which begins with `prefix`. A linked
        folder is not passed over, for a listing must never be short."""
        folders = [(top, prefix)]
        try:
            while folders:
                folder, prefix = folders.pop()
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if not is_key(entry.name):
                            continue
                        if entry.is_symlink():
                            raise self._linked(entry.name)
                        if entry.is_dir(follow_symlinks=False):
                            folders.append((entry.path, f"{prefix}{entry.name}/"))
                            continue
                        yield prefix + entry.name, entry
        except OSError as error:
            raise self._problem(error) from error

    def _linked(self, name: str) -> StoreUnavailable:
        problem = f"{name} is a symbolic link; mount or move the folder instead"
        return StoreUnavailable(location=self.location, problem=problem)

    def _require_root(self) -> None:
        if not self._root.is_dir():
            raise StoreUnavailable(location=self.location, problem="the folder does not exist")

    def _problem(self, error: OSError, key: str = "") -> HoldfastError:
        if key and error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return ObjectMissing(key=key, location=self.location)
        if error.errno in _FULL:
            return OutOfSpace(location=self.location)
        return StoreUnavailable(location=self.location, problem=error.strerror or str(error))


def _raise(error: OSError) -> None:
    raise error


def _moment(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key=key, size_bytes=status.st_size, modified=_moment(status))
