"""Copies of index objects: right or thrown away, and never the reason for a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from holdfast.repository.errors import ObjectMissing
from holdfast.repository.store.cached import CachedStore
from tests.support.memory_store import FaultyStore, MemoryStore


def _key(data: bytes) -> str:
    return f"index/{blake3(data).hexdigest()}"


@pytest.fixture
def inner() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
def reads(inner: FaultyStore) -> list[str]:
    """Keys that the store itself was asked for."""
    asked: list[str] = []

    def note(operation: str, key: str) -> None:
        if operation == "get":
            asked.append(key)

    inner.before = note
    return asked


def test_what_was_put_or_got_is_not_fetched_again(
    inner: FaultyStore, reads: list[str], tmp_path: Path
) -> None:
    inner.inner.put_new(_key(b"old"), [b"old"])
    store = CachedStore(inner, tmp_path)
    store.put_new(_key(b"new"), [b"n", b"ew"])
    for _ in range(2):
        assert store.get(_key(b"new")) == b"new"
        assert store.get(_key(b"old")) == b"old"
    assert reads == [_key(b"old")]
    assert CachedStore(inner, tmp_path).get(_key(b"new")) == b"new"


def test_only_index_objects_are_kept(inner: FaultyStore, reads: list[str], tmp_path: Path) -> None:
    store = CachedStore(inner, tmp_path)
    store.put_new("points/a", [b"x"])
    assert store.get("points/a") == store.get("points/a") == b"x"
    assert len(reads) == 2
    assert not list(tmp_path.iterdir())


def test_a_damaged_copy_is_thrown_away(
    inner: FaultyStore, reads: list[str], tmp_path: Path
) -> None:
    store = CachedStore(inner, tmp_path)
    store.put_new(_key(b"data"), [b"data"])
    (copy,) = (tmp_path / "index").iterdir()
    copy.write_bytes(b"dat4")
    assert store.get(_key(b"data")) == b"data"
    assert reads == [_key(b"data")]
    assert copy.read_bytes() == b"data"


def test_damage_in_the_store_is_not_kept(inner: FaultyStore, tmp_path: Path) -> None:
    inner.put_new(_key(b"data"), [b"decayed"])
    assert CachedStore(inner, tmp_path).get(_key(b"data")) == b"decayed"
    assert not list(tmp_path.iterdir())


def test_what_is_deleted_is_gone(inner: FaultyStore, tmp_path: Path) -> None:
    store = CachedStore(inner, tmp_path)
    store.put_new(_key(b"data"), [b"data"])
    store.delete(_key(b"data"))
    with pytest.raises(ObjectMissing):
        store.get(_key(b"data"))


def test_it_is_bounded_and_keeps_what_was_used_last(inner: FaultyStore, tmp_path: Path) -> None:
    store = CachedStore(inner, tmp_path, limit_bytes=10_000)
    objects = [bytes([number]) * 1000 for number in range(10)]
    for age, data in enumerate(objects):
        store.put_new(_key(data), [data])
        os.utime(tmp_path / _key(data), (1000 + age, 1000 + age))
    store.get(_key(objects[0]))
    store.put_new(_key(b"last"), [b"last"])
    kept = {path.name for path in (tmp_path / "index").iterdir()}
    assert sum(path.stat().st_size for path in (tmp_path / "index").iterdir()) <= 8000
    assert _key(objects[0]).removeprefix("index/") in kept
    assert _key(objects[1]).removeprefix("index/") not in kept
    assert all(store.get(_key(data)) == data for data in objects)


def test_a_folder_that_cannot_be_written_costs_speed_only(
    inner: FaultyStore, reads: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = CachedStore(inner, tmp_path / "file")
    store.put_new(_key(b"data"), [b"data"])
    assert store.get(_key(b"data")) == b"data"
    assert len(reads) == 1
