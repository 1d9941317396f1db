"""Compact reclaims what no point needs, and only that."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.backup.run import BackupOptions, back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import Credential, LocalStore, Repository
from holdfast.repository.check import check_repository
from holdfast.repository.compact import CompactOptions, CompactReport, run_compact
from holdfast.repository.errors import CompactTooLarge, ObjectDamaged
from holdfast.repository.format.pack import ChunkIds, ChunkType, Codec
from tests.support.fake_driver import FakeDriver, FakeVm

_CHUNK = 4 * KIB
_NOW = CompactOptions(grace=timedelta(0), maximum_delete_share=1.0)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    made, _ = Repository.create(store, Credential.passphrase("x"), chunk_bytes=_CHUNK)
    return made


def _run(repository: Repository, options: CompactOptions = _NOW) -> CompactReport:
    return run_compact(repository, options, cancel=CancelToken(), progress=SilentProgress())


def _point(repository: Repository, driver: FakeDriver, vm: FakeVm) -> str:
    found = driver.find_vm(vm.name)
    options = BackupOptions(workers=1)
    result = back_up_vm(
        driver=driver, vm=found, repository=repository, cancel=CancelToken(), options=options
    )
    return result.manifest.id


def _content(repository: Repository, point_id: str) -> bytes:
    point = repository.point(point_id)
    repository.load_index()
    disk = point.manifest.disks[0]
    stored = bytearray(disk.size_bytes)
    for index, chunk in repository.disk_map(disk).data_chunks():
        data = repository.chunks.read(chunk)
        stored[index * _CHUNK : index * _CHUNK + len(data)] = data
    return bytes(stored)


def _sound(repository: Repository) -> bool:
    report = check_repository(
        repository, cancel=CancelToken(), progress=SilentProgress(), read_data=True
    )
    return report.is_sound


def _random(size: int, seed: int) -> bytes:
    import random

    return random.Random(seed).randbytes(size)


def test_deleted_points_give_their_space_back(repository: Repository) -> None:
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 64 * _CHUNK})
    vm.disks["vda"].write(0, _random(64 * _CHUNK, 1))
    first = _point(repository, driver, vm)
    vm.disks["vda"].write(0, _random(60 * _CHUNK, 2))
    second = _point(repository, driver, vm)
    expected = _content(repository, second)
    repository.delete_point(first)
    report = _run(repository)
    assert report.deleted_bytes > 50 * _CHUNK
    assert _content(repository, second) == expected
    assert _sound(repository)
    again = _run(repository)
    assert (again.deleted_packs, again.tombstoned_packs) == (0, 0)


def test_with_grace_nothing_is_deleted_at_once(repository: Repository) -> None:
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 16 * _CHUNK})
    vm.disks["vda"].write(0, _random(16 * _CHUNK, 1))
    repository.delete_point(_point(repository, driver, vm))
    report = _run(repository, CompactOptions(maximum_delete_share=1.0))
    assert report.tombstoned_packs > 0
    assert report.deleted_packs == 0
    later = _run(repository, CompactOptions(maximum_delete_share=1.0))
    assert later.deleted_packs == 0
    assert later.waiting


def test_a_backup_stores_again_what_is_in_tombstoned_packs(repository: Repository) -> None:
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 16 * _CHUNK})
    vm.disks["vda"].write(0, _random(16 * _CHUNK, 1))
    repository.delete_point(_point(repository, driver, vm))
    _run(repository, CompactOptions(maximum_delete_share=1.0))
    reopened = Repository.open(repository.store, Credential.passphrase("x"))
    point = _point(reopened, driver, vm)
    assert reopened.point(point).manifest.stored_bytes > 16 * _CHUNK
    _run(reopened)
    assert _content(reopened, point) == vm.disks["vda"].content.read(0, 16 * _CHUNK)
    assert _sound(reopened)


def test_a_running_backup_keeps_tombstoned_packs(repository: Repository) -> None:
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 16 * _CHUNK})
    vm.disks["vda"].write(0, _random(16 * _CHUNK, 1))
    first = _point(repository, driver, vm)
    with repository.begin_backup(platform="p", vm_id="other", vm_name="other"):
        repository.delete_point(first)
        report = _run(repository)
        assert report.deleted_packs == 0
        assert report.waiting
    assert _run(repository).deleted_packs > 0


def test_a_large_deletion_stops_and_asks(repository: Repository) -> None:
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 16 * _CHUNK})
    for seed in range(3):
        vm.disks["vda"].write(0, _random(16 * _CHUNK, seed))
        repository.delete_point(_point(repository, driver, vm))
    with pytest.raises(CompactTooLarge):
        _run(repository, CompactOptions(grace=timedelta(0)))
    assert _sound(repository)


def test_an_unreadable_point_stops_it(repository: Repository) -> None:
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 16 * _CHUNK})
    vm.disks["vda"].write(0, _random(16 * _CHUNK, 1))
    point = _point(repository, driver, vm)
    assert isinstance(repository.store, LocalStore)
    path = Path(repository.store.location, "points", point)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    packs = list(repository.store.list("packs/"))
    with pytest.raises(Exception, match="damaged"):
        _run(repository)
    assert list(repository.store.list("packs/")) == packs


def test_a_reader_with_an_old_index_finds_rewritten_chunks(repository: Repository) -> None:
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 64 * _CHUNK})
    vm.disks["vda"].write(0, _random(64 * _CHUNK, 1))
    first = _point(repository, driver, vm)
    vm.disks["vda"].write(0, _random(60 * _CHUNK, 2))
    second = _point(repository, driver, vm)
    expected = _content(repository, second)
    reader = Repository.open(repository.store, Credential.passphrase("x"))
    reader.load_index()
    repository.delete_point(first)
    assert _run(repository).rewritten_packs
    assert _content(reader, second) == expected


def test_chunks_move_as_they_are(repository: Repository) -> None:
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 64 * _CHUNK})
    vm.disks["vda"].write(0, _text(64 * _CHUNK, 1))
    first = _point(repository, driver, vm)
    vm.disks["vda"].write(0, _random(60 * _CHUNK, 2))
    second = _point(repository, driver, vm)
    (kept,) = {_chunk_at(repository, first, 62)} & {_chunk_at(repository, second, 62)}
    before = repository.chunks.locate(kept, ChunkType.DATA)
    repository.delete_point(first)
    assert _run(repository).rewritten_packs
    reopened = Repository.open(repository.store, Credential.passphrase("x"))
    reopened.load_index()
    after = reopened.chunks.locate(kept, ChunkType.DATA)
    assert after.pack_hash != before.pack_hash
    assert (after.meta, after.stored_bytes) == (before.meta, before.stored_bytes)
    assert before.meta.codec is Codec.ZSTD
    assert _sound(reopened)


def test_a_chunk_that_was_sealed_wrong_is_not_moved(repository: Repository) -> None:
    """Its seal is good, so only its content says that it is not the chunk of its id."""
    driver = FakeDriver()
    vm = driver.add_vm("vm", {"vda": 64 * _CHUNK})
    vm.disks["vda"].write(0, _random(64 * _CHUNK, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChunkIds, "of", _id_of_other_content)
        first = _point(repository, driver, vm)
        vm.disks["vda"].write(0, _random(60 * _CHUNK, 2))
        _point(repository, driver, vm)
    repository.delete_point(first)
    packs = list(repository.store.list("packs/"))
    with pytest.raises(ObjectDamaged, match="not the one it should be"):
        _run(repository)
    assert {info.key for info in packs} <= {info.key for info in repository.store.list("packs/")}


def _id_of_other_content(
    ids: ChunkIds, kind: ChunkType, plaintext: bytes | memoryview | bytearray
) -> bytes:
    wrong = b"x" if kind is ChunkType.DATA and bytes(plaintext) == _MARKED else b""
    return _REAL_ID(ids, kind, bytes(plaintext) + wrong)


_MARKED = _random(64 * _CHUNK, 1)[62 * _CHUNK : 63 * _CHUNK]
_REAL_ID = ChunkIds.of


def _text(size: int, seed: int) -> bytes:
    """Compresses to about half."""
    return b"".join(_random(32, seed * 1000 + number) * 2 for number in range(size // 64))


def _chunk_at(repository: Repository, point_id: str, place: int) -> bytes:
    point = repository.point(point_id)
    repository.load_index()
    return repository.disk_map(point.manifest.disks[0]).chunk_id(place)
