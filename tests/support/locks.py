"""Rooms for locked objects, and what tests ask of locks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import SilentProgress
from holdfast.repository import Repository
from holdfast.repository.format.pack import pack_name
from holdfast.repository.locking import is_permanent
from holdfast.repository.mark import marking_of
from holdfast.repository.session import point_key
from holdfast.repository.store import file_lock
from holdfast.repository.store.store import ObjectStore


@contextmanager
def lockable_folder(path: Path) -> Iterator[Path]:
    """A folder whose files can be locked; afterwards none is, so that it can be removed."""
    path.mkdir(parents=True, exist_ok=True)
    probe = path / "probe"
    probe.write_bytes(b"x")
    try:
        file_lock.lock_file(str(probe))
        file_lock.unlock_file(str(probe))
        descriptor = os.open(probe, os.O_RDONLY)
        os.setxattr(descriptor, "user.holdfast.probe", b"1")
        os.close(descriptor)
    except OSError as error:
        missing = "root with CAP_LINUX_IMMUTABLE, and ext4, XFS or btrfs under pytest's folder"
        pytest.skip(f"the immutable attribute needs {missing}: {error}")
    probe.unlink()
    try:
        yield path
    finally:
        subprocess.run(["chattr", "-R", "-f", "-i", str(path)], check=False, capture_output=True)


def assert_points_are_locked(repository: Repository) -> None:
    """Nothing that a locked point needs can be deleted before the point can."""
    store = repository.store
    for point in repository.points():
        until = store.locked_until(point_key(point.id))
        if until is None or until <= store.now():
            continue
        for key in (*needed_packs(repository, point.id), *repository.locks.roots()):
            kept = store.locked_until(key)
            assert kept is not None, f"{key} is not locked, and {point.id} needs it"
            assert kept >= until, f"{key} is locked until {kept}, {point.id} until {until}"


def needed_packs(repository: Repository, point_id: str) -> list[str]:
    marking = marking_of(repository, frozenset(), CancelToken(), SilentProgress())
    return sorted(map(pack_name, marking.run([repository.manifest(point_id)]).packs()))


def locks_of(store: ObjectStore, prefix: str = "") -> dict[str, datetime | None]:
    return {info.key: store.locked_until(info.key) for info in store.list(prefix)}


def delete_everything(store: ObjectStore) -> None:
    """What somebody does who has the repository's credentials and nothing else."""
    for info in list(store.list("")):
        with suppress(Exception):
            store.delete(info.key)


def permanent(store: ObjectStore) -> list[str]:
    return sorted(info.key for info in store.list("") if is_permanent(info.key))
