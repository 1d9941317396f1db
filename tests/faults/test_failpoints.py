"""T2: a process that dies or fails at any named step leaves a sound repository, and the next run
needs no help.

Every name in `FAILPOINTS` is armed in the phase that passes it; a new one without an entry here,
or one that no phase passes any more, fails the test.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.failpoints import FAILPOINTS
from holdfast.core.progress import SilentProgress
from holdfast.repository import LocalStore, Repository
from holdfast.repository.errors import NotARepository, RepositoryIncomplete
from holdfast.repository.mending import mend_header
from holdfast.repository.repair import repair_repository
from holdfast.repository.verify import VerifyOptions, verify_repository
from holdfast.restore.disk import restore_disk
from tests.support.backup_script import (
    COPY_CREDENTIAL,
    TYPED_ERROR_STATUS,
    copy_to,
    main,
    parse_acknowledgements,
)
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine
from tests.support.fake_driver import FakeDriver
from tests.support.oracle import Digest, assert_repository_sound

_PHASES = {
    "local_store.after_temp_fsync": ["create", "second"],
    "local_store.after_link": ["create", "second", "copy"],
    "repository.after_config": ["create"],
    "repository.after_key_slot": ["create"],
    "lease.after_acquire": ["first", "second"],
    "backup.after_snapshot": ["second"],
    "pack.before_put": ["second"],
    "pack.after_put": ["second", "repair", "copy"],
    "index.before_put": ["second"],
    "index.after_put": ["second"],
    "point.before_commit": ["second"],
    "point.after_commit": ["first", "second", "copy"],
    "backup.before_promote": ["second"],
    "backup.after_promote": ["second"],
    "restore.before_rename": ["restore"],
    "prune.between_deletes": ["prune"],
    "compact.before_tombstone": ["compact"],
    "compact.after_tombstone": ["compact"],
    "compact.before_delete": ["compact"],
    "compact.after_delete": ["compact"],
    "maintenance.between_indexes": ["compact"],
    "bundles.between": ["compact"],
    "verify.after_record": ["verify"],
    "local_store.before_rename": ["mend", "repair"],
    "mending.after_set_aside": ["mend", "repair"],
    "mending.between_objects": ["mend"],
    "repair.before_index": ["repair"],
    "repair.after_index": ["repair"],
    "copy.before_point": ["copy"],
    "copy.before_commit": ["copy"],
    "keys.between_slots": ["keys"],
    "data_keys.before_put": ["rotate"],
    "data_keys.between_copies": ["rotate"],
}
_AFTER_COMPACT = {"verify", "mend", "repair", "copy", "keys", "rotate"}
_RESTORED = {"prune", "compact", *_AFTER_COMPACT}
"""Phases that come after the restore."""
_ELSEWHERE = {"local_store.before_lock", "locks.after_renewal"}
"""Passed in immutable repositories only: test_immutable_kills."""
_CASES = [
    (name, phase)
    for name in sorted(FAILPOINTS - _ELSEWHERE)
    for phase in _PHASES.get(name, ["second"])
]


@pytest.mark.parametrize("kind", ["kill", "error"])
@pytest.mark.parametrize(("name", "phase"), _CASES)
def test_every_step_may_be_the_last(name: str, phase: str, kind: str, tmp_path: Path) -> None:
    status, output, errors = _run(["--arm", f"{name}:{kind}", "--at", phase], tmp_path)
    if kind == "kill":
        assert status == -signal.SIGKILL, f"{name} was not passed: {errors}"
    else:
        assert status == TYPED_ERROR_STATUS, f"{name} was not passed: {errors}"
        assert errors.strip() == "injected_fault"
    store = LocalStore(tmp_path / "repository")
    if phase == "create":
        _assert_creation_is_refused_or_whole(store)
        return
    if phase in {"mend", "repair"}:
        # What was damaged before stays so until the same is done again.
        mend_header(store, CREDENTIAL)
        _repair(store)
    acknowledged = parse_acknowledgements(output)
    expected = {"first": 0, "second": 1, "restore": 2}
    assert len(acknowledged) == expected.get(phase, 1)
    _assert_next_run_works(store, acknowledged, tmp_path, phase)
    if phase in _AFTER_COMPACT:
        _assert_repair_and_copy_work(store, tmp_path, acknowledged)


def _run(arguments: Sequence[str], folder: Path) -> tuple[int | None, str, str]:
    """The script in a process of its own: exit status, standard output and error.

    Forked, because a new interpreter takes a second to import the engine and dies no differently.
    """
    out, err = folder.with_suffix(".out"), folder.with_suffix(".err")

    def child() -> None:
        with out.open("w") as output, err.open("w") as errors:
            sys.stdout, sys.stderr = output, errors
            status = main([str(folder), *arguments])
        os._exit(status)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    return process.exitcode, out.read_text(), err.read_text()


def test_the_script_ends_well_when_nothing_is_armed(tmp_path: Path) -> None:
    status, output, errors = _run([], tmp_path)
    assert (status, errors) == (0, "")
    store = LocalStore(tmp_path / "repository")
    acknowledged = parse_acknowledgements(output)
    assert len(acknowledged) == 1
    assert_repository_sound(store, CREDENTIAL, acknowledged, no_writer=True)


def _assert_creation_is_refused_or_whole(store: LocalStore) -> None:
    """Half a repository is never taken for one, and never grown."""
    with pytest.raises((NotARepository, RepositoryIncomplete)):
        Repository.open(store, CREDENTIAL)


def _assert_next_run_works(
    store: LocalStore, acknowledged: dict[str, dict[str, Digest]], folder: Path, phase: str
) -> None:
    repository = Repository.open(store, CREDENTIAL)
    driver = FakeDriver()
    vm = driver.add_vm("guest", {"vda": 60 * CHUNK_BYTES, "vdb": 7 * CHUNK_BYTES + 512})
    engine = Engine(store=store, driver=driver, vm=vm, repository=repository)
    content = random.Random(12).randbytes(60 * CHUNK_BYTES)
    vm.disks["vda"].write(0, content)
    assert_repository_sound(
        store, CREDENTIAL, acknowledged, next_backup=engine.next_backup, no_writer=True
    )
    assert_repository_sound(store, CREDENTIAL, {**acknowledged, **engine.acknowledged})
    assert phase in _RESTORED or not (folder / "restored.raw").exists()
    _assert_restore_works(store, folder / "restored.raw", content)


def _assert_restore_works(store: LocalStore, output: Path, content: bytes) -> None:
    """Nothing of a broken-off restore is in the way of the next one."""
    output = output.with_name("again.raw") if output.exists() else output
    repository = Repository.open(store, CREDENTIAL)
    disk = repository.point("latest").disk("vda")
    repository.load_index()
    restore_disk(
        repository=repository, disk=disk, output=output, format="raw", cancel=CancelToken()
    )
    assert output.read_bytes() == content
    others = {path.name for path in output.parent.iterdir()}
    assert others <= {"repository", "copy", "restored.raw", "again.raw"}


def _repair(store: LocalStore) -> None:
    repository = Repository.open(store, CREDENTIAL)
    repair_repository(repository, None, cancel=CancelToken(), progress=SilentProgress())


def _assert_repair_and_copy_work(
    store: LocalStore, folder: Path, acknowledged: dict[str, dict[str, Digest]]
) -> None:
    """Whatever was broken off, the same commands come to their end now, and lose nothing."""
    repository = Repository.open(store, CREDENTIAL)
    verify_repository(repository, VerifyOptions(), cancel=CancelToken(), progress=SilentProgress())
    _repair(store)
    repository = Repository.open(store, CREDENTIAL)
    found = verify_repository(
        repository, VerifyOptions(), cancel=CancelToken(), progress=SilentProgress()
    )
    assert not found.losses
    if not (folder / "copy" / "config").exists() or (folder / "copy" / "sentinel").exists():
        target = copy_to(folder / "copy", repository)
        assert set(target.point_ids()) == set(repository.point_ids())
        assert_repository_sound(target.store, COPY_CREDENTIAL, acknowledged, no_writer=True)
