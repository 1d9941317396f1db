"""Manifests from a local copy: as long as the storage lists what was copied, and never where the
storage itself must be asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.progress import SilentProgress
from holdfast.policy.retention import RetentionRules
from holdfast.repository import Repository
from holdfast.repository.check import check_repository
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.prune import PruneScope, plan_prune
from holdfast.repository.session import point_key
from holdfast.repository.store.cached import CachedStore
from tests.support.engine import CREDENTIAL, Engine
from tests.support.memory_store import FaultyStore, MemoryStore

_POINTS = 20
"""More than are fetched again and again before a file is written for them."""


@dataclass(kw_only=True)
class Distant:
    """A repository behind a cache, and what was read through that."""

    memory: MemoryStore
    cache_root: Path
    engine: Engine
    in_short: bool
    reads: list[str] = field(default_factory=list[str])

    def open(self) -> Repository:
        """As the next process does."""
        self.reads.clear()
        store = FaultyStore(self.memory)
        store.before = lambda operation, key: (
            self.reads.append(key) if operation == "get" and key.startswith("points/") else None
        )
        return Repository.open(CachedStore(store, self.cache_root), CREDENTIAL)

    def listed(self) -> list[str]:
        opened = self.open()
        return [point.id for point in (opened.listed_points if self.in_short else opened.points)()]

    @property
    def file(self) -> Path:
        (found,) = self.cache_root.rglob("points-*")
        return found


@pytest.fixture(params=[False, True], ids=["whole", "in short"])
def distant(tmp_path: Path, request: pytest.FixtureRequest) -> Distant:
    memory = MemoryStore()
    engine = Engine.create(memory)
    for _ in range(_POINTS):
        engine.back_up()
    return Distant(memory=memory, cache_root=tmp_path, engine=engine, in_short=request.param)


def test_what_was_listed_once_is_not_fetched_again(distant: Distant) -> None:
    first = distant.listed()
    assert len(distant.reads) == len(first) == _POINTS
    assert distant.listed() == first
    assert distant.reads == []
    new = distant.engine.back_up().manifest.id
    assert distant.listed() == [*first, new]
    assert distant.reads == [point_key(new)]
    distant.engine.repository.delete_point(first[0])
    assert distant.listed() == [*first[1:], new]


@pytest.mark.parametrize("cut", [0, 1, 7, 100, -1])
def test_a_file_that_is_not_whole_is_none(distant: Distant, cut: int) -> None:
    expected = distant.listed()
    whole = distant.file.read_bytes()
    distant.file.write_bytes(whole[:cut])
    assert distant.listed() == expected
    assert distant.file.read_bytes() != whole[:cut]


def test_a_copy_that_is_not_sound_is_fetched_again(distant: Distant) -> None:
    expected = distant.listed()
    data = bytearray(distant.file.read_bytes())
    data[-5] ^= 1
    distant.file.write_bytes(data)
    assert distant.listed() == expected
    assert len(distant.reads) == 1


def test_a_manifest_that_is_replaced_is_seen(distant: Distant) -> None:
    points = distant.listed()
    key = point_key(points[3])
    altered = distant.memory.objects[key][:-1] + b"x"
    distant.memory.delete(key)
    distant.memory.put_new(key, [altered])
    damaged: list[HoldfastError] = []
    found = [point.id for point in distant.open().points(damaged.append)]
    assert found == [point for point in points if point != points[3]]
    assert [error.params["key"] for error in damaged] == [key]


def test_who_must_know_asks_the_storage(distant: Distant) -> None:
    """The bytes change under the same size and time, as on a medium that decays."""
    points = distant.listed()
    key = point_key(points[-1])
    data = distant.memory.objects[key]
    distant.memory.replace(key, data[:-1] + bytes([data[-1] ^ 1]))
    assert distant.listed() == points
    scope = PruneScope(rules=RetentionRules(keep_last=1), time_zone=UTC)
    with pytest.raises(ObjectDamaged):
        plan_prune(distant.open(), scope, cancel=CancelToken(), progress=SilentProgress())
    report = check_repository(distant.open(), cancel=CancelToken(), progress=SilentProgress())
    assert [problem.object for problem in report.problems] == [key]
    repository = distant.open()
    with pytest.raises(ObjectDamaged):
        repository.point(points[-1])
