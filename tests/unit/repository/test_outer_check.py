"""What can be told without a key: every flipped byte of every object, and what is foreign."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import LocalStore
from holdfast.repository.errors import NotARepository, ObjectDamaged
from holdfast.repository.outer_check import OuterReport, check_outer
from tests.support.damage import flip_bit
from tests.support.engine import CHUNK_BYTES, Engine, small_packs


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    small_packs(monkeypatch, 32 * KIB)
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    engine = Engine.create(store)
    for seed in range(2):
        engine.vm.disks["vda"].write(0, random.Random(seed).randbytes(30 * CHUNK_BYTES))
        engine.back_up()
    return engine


def _root(engine: Engine) -> Path:
    return Path(engine.store.location)


def _look(engine: Engine) -> OuterReport:
    return check_outer(engine.store, cancel=CancelToken(), progress=SilentProgress())


def _named(engine: Engine) -> list[str]:
    return [item.object for item in _look(engine).problems]


def test_a_sound_repository_is_sound_without_its_key(engine: Engine) -> None:
    report = _look(engine)
    assert report.problems == []
    assert report.packs > 5
    assert report.objects == len(list(engine.store.list("")))
    assert report.read_bytes == sum(info.size_bytes for info in engine.store.list(""))


@pytest.mark.parametrize("folder", ["packs", "index", "keys"])
def test_every_flipped_bit_is_seen(engine: Engine, folder: str) -> None:
    path = next(path for path in (_root(engine) / folder).rglob("*") if path.is_file())
    chance = random.Random(folder)
    for _ in range(40):
        bit = chance.randrange(path.stat().st_size * 8)
        flip_bit(path, bit)
        assert _named(engine) == [str(path.relative_to(_root(engine)))], bit
        flip_bit(path, bit)
    assert _named(engine) == []


def test_a_flipped_config_is_refused(engine: Engine) -> None:
    """All of it but its last line, a hash for who has the key."""
    text, checksum, *_ = (_root(engine) / "config").read_bytes().split(b"\n")
    for bit in range(0, len(text + b"\n" + checksum) * 8, 31):
        flip_bit(_root(engine) / "config", bit)
        try:
            assert _named(engine), bit
        except (ObjectDamaged, NotARepository):
            pass
        except HoldfastError as error:
            raise AssertionError(f"bit {bit}: {error}") from error
        flip_bit(_root(engine) / "config", bit)


def test_truncated_foreign_and_missing_objects_are_named(engine: Engine, tmp_path: Path) -> None:
    other = LocalStore(tmp_path / "other")
    other.prepare()
    foreign = Engine.create(other)
    foreign.back_up()
    point = next(iter(other.list("points/"))).key
    engine.store.put_new(point, [other.get(point)])
    pack = next(iter(other.list("packs/"))).key
    engine.store.put_new(pack, [other.get(pack)])
    torn = next(iter(engine.store.list("index/"))).key
    data = engine.store.get(torn)
    engine.store.delete(torn)
    engine.store.put_new(torn, [data[: len(data) // 2]])
    engine.store.delete("sentinel")
    assert _named(engine) == sorted([point, pack, torn, "sentinel"])
