"""What each point alone holds, beside what prune finds that would be freed: two ways to one
figure."""

from __future__ import annotations

import random

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Cancelled
from holdfast.core.progress import SilentProgress
from holdfast.repository import Repository
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.mark import bytes_of_only
from holdfast.repository.unique import unique_bytes
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine

CHUNKS = 1300
"""More than two leaf pages of a map, so that there is a level above them."""


@pytest.fixture
def engine() -> Engine:
    sizes = {"vda": CHUNKS * CHUNK_BYTES, "vdb": 20 * CHUNK_BYTES}
    engine = Engine.create(disks=sizes)
    numbers = random.Random(7)
    for key, size in sizes.items():
        for _ in range(12):
            write(engine, key, numbers.randrange(size // CHUNK_BYTES), numbers.randrange(1, 40))
    engine.back_up()
    for _ in range(4):
        for key, size in sizes.items():
            for _ in range(5):
                chunk = numbers.randrange(size // CHUNK_BYTES)
                # Few contents: chunks come back in other places, points and disks.
                write(engine, key, chunk, numbers.randrange(1, 40))
        engine.back_up()
    return engine


def write(engine: Engine, key: str, chunk: int, content: int) -> None:
    data = random.Random(content).randbytes(CHUNK_BYTES)
    engine.vm.disks[key].write(chunk * CHUNK_BYTES, data)


def by_point(repository: Repository) -> dict[str, int]:
    sums: dict[str, int] = {}
    for (point, _), size in unique_bytes(repository, cancel=CancelToken()).items():
        sums[point] = sums.get(point, 0) + size
    return sums


def test_it_agrees_with_what_deleting_would_free(engine: Engine) -> None:
    repository = Repository.open(engine.store, CREDENTIAL)
    found = by_point(repository)
    for point, size in found.items():
        freed = bytes_of_only(repository, {point}, cancel=CancelToken(), progress=SilentProgress())
        assert size == freed, point
    assert len(found) == 5
    assert all(found.values()), "each of them has something of its own"


def test_after_another_point_is_gone_more_is_held_alone(engine: Engine) -> None:
    engine.reopen()
    before = by_point(engine.repository)
    victim = sorted(before)[2]
    engine.repository.delete_point(victim)
    after = by_point(Repository.open(engine.store, CREDENTIAL))
    assert victim not in after
    assert all(after[point] >= before[point] for point in after)
    assert sum(after.values()) > sum(before[point] for point in after)


def test_it_can_be_cancelled(engine: Engine) -> None:
    cancel = CancelToken()
    cancel.cancel("enough")
    with pytest.raises(Cancelled):
        unique_bytes(Repository.open(engine.store, CREDENTIAL), cancel=cancel)


def test_a_manifest_that_cannot_be_read_makes_it_unknown() -> None:
    engine = Engine.create()
    for _ in range(2):
        write(engine, "vda", 1, random.randrange(1000))
        engine.back_up()
    [point, _] = engine.repository.point_ids()
    engine.store.delete(f"points/{point}")
    engine.store.put_new(f"points/{point}", [b"junk"])
    with pytest.raises(ObjectDamaged):
        unique_bytes(Repository.open(engine.store, CREDENTIAL), cancel=CancelToken())
