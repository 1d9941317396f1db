"""T2 in an immutable repository: a backup that dies between storing and locking, or between locking
and its commit, leaves no point that outlasts what it needs, and nothing in the way of the next run.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core import failpoints
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import InjectedFault
from holdfast.core.progress import SilentProgress
from holdfast.repository import LocalStore, Repository
from holdfast.repository.format.immutability import Immutability
from holdfast.repository.lock import run_lock
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine
from tests.support.locks import assert_points_are_locked, lockable_folder, permanent
from tests.support.oracle import assert_repository_sound

_DISKS = {"vda": 20 * CHUNK_BYTES}
_FAILED = 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with lockable_folder(tmp_path / "locks") as root:
        yield LocalStore(root)


# The first locked object of a backup is a pack, the second its manifest.
@pytest.mark.parametrize("kind", ["kill", "error"])
@pytest.mark.parametrize(
    "name", ["locks.after_renewal", "local_store.before_lock", "local_store.before_lock:2"]
)
def test_every_step_may_be_the_last(name: str, kind: str, store: LocalStore) -> None:
    repository, _ = Repository.create(
        store, CREDENTIAL, chunk_bytes=CHUNK_BYTES, immutability=Immutability(days=1)
    )
    engine = Engine.create_in(repository, store, disks=_DISKS)
    engine.vm.disks["vda"].write(0, random.Random(1).randbytes(12 * CHUNK_BYTES))
    engine.back_up()
    engine.vm.disks["vda"].write(0, random.Random(2).randbytes(3 * CHUNK_BYTES))
    point, _, hit = name.partition(":")
    status = _back_up_in_a_child(engine, f"{point}:{kind}:{hit or 1}")
    assert status == (-signal.SIGKILL if kind == "kill" else _FAILED), f"{name} was not passed"
    run_lock(Repository.open(store, CREDENTIAL), cancel=CancelToken(), progress=SilentProgress())
    engine.reopen()
    assert_repository_sound(store, CREDENTIAL, engine.acknowledged)
    assert_points_are_locked(engine.repository)
    unlocked = [key for key in permanent(store) if store.locked_until(key) is None]
    assert [key for key in unlocked if not key.startswith("packs/")] == []  # that nobody needs
    engine.back_up()
    assert_points_are_locked(Repository.open(store, CREDENTIAL))
    assert_repository_sound(store, CREDENTIAL, engine.acknowledged)


def _back_up_in_a_child(engine: Engine, specification: str) -> int | None:
    def child() -> None:
        failpoints.arm(specification)
        engine.reopen()
        try:
            engine.back_up()
        except InjectedFault:
            os._exit(_FAILED)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    return process.exitcode
