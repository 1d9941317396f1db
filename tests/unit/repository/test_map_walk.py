"""Maps of many disks are gone through once, whatever they share, and must fit their disks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.backup.run import BackupOptions, back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.core.units import KIB
from holdfast.repository import Credential, LocalStore, Repository
from holdfast.repository.disk_map import FANOUT
from holdfast.repository.errors import ObjectDamaged
from holdfast.repository.format.pack import ZERO_ID, ChunkType
from holdfast.repository.format.point import DiskRecord
from holdfast.repository.map_walk import MapWalk
from tests.support.fake_driver import FakeDriver, FakeVm

_CHUNK = 4 * KIB


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    made, _ = Repository.create(store, Credential.passphrase("x"), chunk_bytes=_CHUNK)
    return made


def _disks(repository: Repository) -> Iterator[DiskRecord]:
    """Two points of one disk of 1,400 chunks: three leaf pages below one page."""
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 1400 * _CHUNK})
    for place in (0, 600, 1399):
        _write(vm, place, 1)
    yield _back_up(repository, driver, vm)
    _write(vm, 600, 2)
    yield _back_up(repository, driver, vm)


def _write(vm: FakeVm, place: int, value: int) -> None:
    vm.disks["vda"].write(place * _CHUNK, bytes([value]) * _CHUNK)


def _back_up(repository: Repository, driver: FakeDriver, vm: FakeVm) -> DiskRecord:
    done = back_up_vm(
        driver=driver,
        vm=driver.find_vm(vm.name),
        repository=repository,
        cancel=CancelToken(),
        options=BackupOptions(workers=1),
    )
    return done.manifest.disks[0]


def test_every_page_once(repository: Repository) -> None:
    first, second = _disks(repository)
    repository.load_index()
    walk = MapWalk(repository)
    shown = [
        (window.level, page) for window in walk.windows([first, second]) for page in window.ids
    ]
    expected: set[tuple[int, bytes]] = set()
    for disk in (first, second):
        stored = repository.disk_map(disk)
        expected |= {(2, disk.root), *((1, stored.page_id(1, leaf)) for leaf in range(3))}
    assert len(expected) == 2 + 4
    assert sorted(shown) == sorted(expected)
    assert list(walk.windows([first, second])) == []


def test_contents_belong_to_their_ids(repository: Repository) -> None:
    (first, _) = _disks(repository)
    repository.load_index()
    for window in MapWalk(repository).windows([first]):
        for page, content in zip(window.ids, window.contents, strict=True):
            assert repository.chunks.id_of(ChunkType.MAP, content) == page


@pytest.mark.parametrize("chunks", [1399, 1401, FANOUT, FANOUT**2 + 1])
def test_a_map_that_does_not_fit_its_disk_is_damage(repository: Repository, chunks: int) -> None:
    (first, _) = _disks(repository)
    repository.load_index()
    wrong = replace(first, size_bytes=chunks * _CHUNK)
    with pytest.raises(ObjectDamaged):
        list(MapWalk(repository).windows([wrong]))


def test_a_disk_of_zeroes_has_no_pages(repository: Repository) -> None:
    (first, _) = _disks(repository)
    empty = replace(first, root=ZERO_ID)
    assert list(MapWalk(repository).windows([empty])) == []


def test_pages_are_fetched_ahead_of_who_goes_through_a_disk(repository: Repository) -> None:
    (first, _) = _disks(repository)
    repository.load_index()
    asked: list[str] = []
    real = repository.store.get_range

    def get_range(key: str, offset: int, length: int) -> bytes:
        asked.append(key)
        return real(key, offset, length)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repository.store, "get_range", get_range)
        places = [place for place, _ in repository.disk_map(first).data_chunks()]
    assert places == [0, 600, 1399]
    assert len(asked) == 2  # the top page, then the three below it at once
