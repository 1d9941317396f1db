"""T3: a power cut at any moment of a repository's life, over every order in which a disk may have
kept what was not synced.

One history (create, backups of two disks, a broken-off run, a deletion) is recorded as file
operations and cut at every step under two models of a disk. Each state must open, keep every
acknowledged point, show nothing half, and take the next backup. The same enumeration must find
what is wrong with stores that leave a step out, or else it proves nothing.

`HOLDFAST_TEST_POWER_CUTS` sets how many such histories there are, each of some 7,500 states; five
in a default run, forty at night.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.hypervisors.errors import SourceReadFailed
from holdfast.repository import LocalStore, Repository
from holdfast.repository.errors import NotARepository, RepositoryIncomplete
from holdfast.repository.leases import TTL_S
from holdfast.repository.store.store import Buffer, ObjectStore
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs
from tests.support.memory_store import MemoryStore, WriteRule
from tests.support.oracle import DiskContent, assert_repository_sound
from tests.support.power_cut import CrashState, FileTrace, crash_states, record_file_calls

Facts = dict[str, dict[str, DiskContent]]

_FIRST = int(os.environ.get("HOLDFAST_TEST_SEED", "0"))
_HISTORIES = range(_FIRST, _FIRST + int(os.environ.get("HOLDFAST_TEST_POWER_CUTS", "5")))


@dataclass(slots=True, kw_only=True)
class _Tally:
    states: int = 0
    distinct: int = 0
    unsound: int = 0
    resumed: int = 0
    first: str = ""


def _live(store: ObjectStore, trace: FileTrace, seed: int = 0) -> Engine:
    """A short life of a repository, promising to the trace what its user is told."""
    chance = random.Random(seed)
    engine = Engine.create(store, disks={"vda": 30 * CHUNK_BYTES, "vdb": 5 * CHUNK_BYTES + 7})
    vda, vdb = engine.vm.disks["vda"], engine.vm.disks["vdb"]
    trace.promise({})
    vda.write(0, chance.randbytes(12 * CHUNK_BYTES))
    vdb.write(100, chance.randbytes(CHUNK_BYTES))
    _back_up(engine, trace)
    for _ in range(2):
        vda.write(chance.randrange(20 * CHUNK_BYTES), chance.randbytes(8 * CHUNK_BYTES))
        _back_up(engine, trace)
    vda.write(20 * CHUNK_BYTES, chance.randbytes(8 * CHUNK_BYTES))
    vdb.read_error_at = 100
    with pytest.raises(SourceReadFailed):
        engine.back_up(workers=3, full=True)
    vdb.read_error_at = None
    # Whoever deletes a point may find it gone or still there from this moment on.
    first = min(engine.acknowledged)
    engine.acknowledged.pop(first)
    trace.promise(dict(engine.acknowledged))
    engine.repository.delete_point(first)
    vda.trim(0, 4 * CHUNK_BYTES)
    vdb.write(0, chance.randbytes(vdb.size_bytes))
    _back_up(engine, trace)
    return engine


def _back_up(engine: Engine, trace: FileTrace) -> None:
    engine.back_up(workers=3)
    trace.promise(dict(engine.acknowledged))


def _judge(
    trace: FileTrace,
    engine: Engine,
    *,
    states_a_moment: int,
    resume_every: int = 0,
    stop_at: int | None = None,
) -> _Tally:
    tally, seen = _Tally(), set[object]()
    for state in crash_states(trace, states_a_moment=states_a_moment):
        tally.states += 1
        shape = (frozenset(state.files.items()), id(state.facts))
        if shape in seen:
            continue
        seen.add(shape)
        tally.distinct += 1
        resume = bool(resume_every) and tally.distinct % resume_every == 0
        try:
            tally.resumed += _check(state, engine, resume=resume)
        except (AssertionError, HoldfastError) as error:
            tally.unsound += 1
            tally.first = tally.first or f"step {state.step}, {state.model.value}: {error}"
            if tally.unsound == stop_at:
                return tally
    return tally


def _check(state: CrashState, engine: Engine, *, resume: bool) -> bool:
    store = MemoryStore(state.files)
    if state.facts is None:
        try:
            Repository.open(store, CREDENTIAL)
        except (NotARepository, RepositoryIncomplete):
            return False
    facts: Facts = state.facts or {}
    store.advance(TTL_S + 1)
    keep = dict(engine.acknowledged)
    next_backup = engine.next_backup if resume else None
    try:
        assert_repository_sound(store, CREDENTIAL, facts, next_backup=next_backup)
    finally:
        engine.acknowledged = keep
    return resume


@pytest.fixture(autouse=True)
def _packs(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    small_packs(monkeypatch, 6 * CHUNK_BYTES)


def _record_local(root: Path, seed: int = 0) -> tuple[FileTrace, Engine]:
    trace = FileTrace()
    store = LocalStore(root)
    with record_file_calls(root, trace):
        store.prepare()
        engine = _live(store, trace, seed)
    return trace, engine


@pytest.mark.parametrize("seed", _HISTORIES)
def test_local_store_survives_every_cut(seed: int, tmp_path: Path) -> None:
    trace, engine = _record_local(tmp_path / "repository", seed)
    tally = _judge(trace, engine, states_a_moment=24, resume_every=5)
    print(tally)
    assert not tally.unsound, tally.first
    assert tally.states >= 1000, "five thousand over all seeds"
    assert tally.distinct >= 50
    assert tally.resumed >= 10


def test_the_model_of_files_agrees_with_the_file_system(tmp_path: Path) -> None:
    """Without a cut the recorded calls lead to exactly the files that are there."""
    root = tmp_path / "repository"
    trace, _ = _record_local(root)
    *_, last = crash_states(trace, states_a_moment=1)
    found = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }
    assert last.files == found


def test_memory_store_survives_every_cut() -> None:
    trace = FileTrace()
    engine = _live(MemoryStore(trace=trace), trace)
    tally = _judge(trace, engine, states_a_moment=16)
    assert not tally.unsound, tally.first
    assert tally.states >= 1000


def _without_file_sync(root: Path, patch: pytest.MonkeyPatch) -> ObjectStore:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            real(descriptor)

    patch.setattr("holdfast.repository.store.local.os.fsync", fsync)
    return LocalStore(root)


def _without_folder_sync(root: Path, patch: pytest.MonkeyPatch) -> ObjectStore:
    def sync_folder(_store: LocalStore, _folder: Path) -> None: ...

    patch.setattr(LocalStore, "_sync_folder", sync_folder)
    return LocalStore(root)


def _with_late_index(root: Path, patch: pytest.MonkeyPatch) -> ObjectStore:
    return _LateIndex(root)


class _LateIndex(LocalStore):
    """Puts index objects only after the next manifest, as an engine in the wrong order would."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._late: list[tuple[str, bytes]] = []

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        if key.startswith("index/"):
            self._late.append((key, b"".join(parts)))
            return
        super().put_new(key, parts)
        if key.startswith("points/"):
            for late, data in self._late:
                super().put_new(late, [data])
            self._late.clear()


Breaker = Callable[[Path, pytest.MonkeyPatch], ObjectStore]


@pytest.mark.parametrize("breaker", [_without_file_sync, _without_folder_sync, _with_late_index])
def test_a_store_that_leaves_a_step_out_is_found(breaker: Breaker, tmp_path: Path) -> None:
    trace, root = FileTrace(), tmp_path / "repository"
    root.mkdir()
    with record_file_calls(root, trace), pytest.MonkeyPatch.context() as patch:
        engine = _live(breaker(root, patch), trace)
    tally = _judge(trace, engine, states_a_moment=24, stop_at=1)
    assert tally.unsound, f"{breaker.__name__} passed {tally.states} states"


@pytest.mark.parametrize(
    "rule", [WriteRule(sync_file=False), WriteRule(sync_folder=False)], ids=str
)
def test_a_memory_store_with_a_weaker_rule_is_found(rule: WriteRule) -> None:
    trace = FileTrace()
    engine = _live(MemoryStore(trace=trace, rule=rule), trace)
    tally = _judge(trace, engine, states_a_moment=16, stop_at=1)
    assert tally.unsound, f"{rule} passed {tally.states} states"
