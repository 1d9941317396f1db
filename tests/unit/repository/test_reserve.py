"""Deleting on a full disk works, by the space that the repository set aside."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import OutOfSpace
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB, MIB
from holdfast.repository import LocalStore, Repository
from holdfast.repository.compact import CompactOptions, run_compact
from holdfast.repository.store.local import RESERVE_BYTES
from tests.support.engine import CREDENTIAL, Engine, small_packs
from tests.support.oracle import assert_repository_sound

_CHUNK = 64 * KIB
_AT_ONCE = CompactOptions(grace=timedelta(0), maximum_delete_share=1.0, minimum_fill=0.9)
_DISK_BYTES = 8 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of three reserves."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    target = tmp_path / "disk"
    target.mkdir()
    options = f"size={3 * RESERVE_BYTES}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not permitted: {mounted.stderr.strip()}")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def _fill(disk: Path) -> None:
    """To the last byte."""
    with (disk / "other-file").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * KIB))
        except OSError:
            pass
    assert os.statvfs(disk).f_bavail == 0


def _repository_on(disk: Path) -> tuple[Engine, str]:
    """With two points; the first one's chunks are spread over packs that the second needs too."""
    store = LocalStore(disk)
    store.prepare()
    engine = Engine.create(
        store, disks={"vda": _DISK_BYTES}, chunk_bytes=_CHUNK, granule_bytes=_CHUNK
    )
    vda = engine.vm.disks["vda"]
    vda.write(0, random.Random(1).randbytes(_DISK_BYTES))
    first = engine.back_up(workers=1).manifest.id
    for offset in range(0, _DISK_BYTES, 2 * _CHUNK):
        vda.write(offset, random.Random(offset).randbytes(_CHUNK))
    engine.back_up(workers=1)
    return engine, first


def _delete_and_compact(engine: Engine, point_id: str) -> int:
    repository = Repository.open(engine.store, CREDENTIAL)
    repository.delete_point(point_id)
    engine.acknowledged.pop(point_id)
    report = run_compact(repository, _AT_ONCE, cancel=CancelToken(), progress=SilentProgress())
    assert report.rewritten_packs
    return report.deleted_bytes


def test_compact_frees_space_on_a_disk_without_any(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_packs(monkeypatch, 16 * _CHUNK)
    engine, first = _repository_on(disk)
    assert isinstance(engine.store, LocalStore)
    engine.store.keep_reserve()
    assert (disk / ".reserve").stat().st_blocks * 512 == RESERVE_BYTES
    _fill(disk)
    with pytest.raises(OutOfSpace):
        engine.store.put_new("packs/filler", [bytes(KIB)])
    assert _delete_and_compact(engine, first) > _DISK_BYTES // 3
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged, no_writer=True)


def test_without_a_reserve_it_says_so(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_packs(monkeypatch, 16 * _CHUNK)
    engine, first = _repository_on(disk)
    _fill(disk)
    with pytest.raises(OutOfSpace):
        _delete_and_compact(engine, first)
    assert_repository_sound(engine.store, CREDENTIAL, engine.acknowledged)


def test_the_reserve_is_made_again_when_there_is_space(disk: Path) -> None:
    engine, _ = _repository_on(disk)
    assert isinstance(engine.store, LocalStore)
    _fill(disk)
    engine.store.keep_reserve()
    assert not (disk / ".reserve").exists()
    (disk / "other-file").unlink()
    with engine.repository.begin_maintenance():
        pass
    assert (disk / ".reserve").exists()
    assert not [info.key for info in engine.store.list("") if "reserve" in info.key]
