"""What every hypervisor driver owes to its callers (`holdfast/hypervisors/driver.py`), against each
platform of `subjects.py`."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Cancelled, Category, HoldfastError
from holdfast.core.extents import Extent
from holdfast.core.units import KIB, MIB
from holdfast.hypervisors.driver import (
    Capture,
    CapturedDisk,
    CaptureRequest,
    ChangesKnown,
    ChangesUnknown,
    ChangeToken,
)
from holdfast.hypervisors.errors import CaptureLost, VmBusy, VmNotFound
from tests.conformance.subjects import SUBJECTS, Subject

REPOSITORY = "0190a0b0-0000-7000-8000-00000000aaaa"
OTHER_REPOSITORY = "0190a0b0-0000-7000-8000-00000000bbbb"


@pytest.fixture(params=list(SUBJECTS))
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    subject = SUBJECTS[request.param](tmp_path)
    yield subject
    subject.close()


def asked(tokens: Mapping[str, ChangeToken] | None = None) -> CaptureRequest:
    return CaptureRequest(
        run_id=str(uuid.uuid4()),
        repository_id=REPOSITORY,
        parent_tokens=tokens or {},
        cancel=CancelToken(),
        freeze=False,
    )


def begin(subject: Subject, request: CaptureRequest | None = None) -> Capture:
    return subject.driver.capture(subject.vm(), request or asked())


def commit(subject: Subject, request: CaptureRequest | None = None) -> dict[str, ChangeToken]:
    """A backup that succeeds: the tokens its point would record."""
    with begin(subject, request) as capture:
        capture.check()
        capture.promote()
        return {disk.disk.key: disk.token for disk in capture.disks if disk.token is not None}


def read(disk: CapturedDisk, step: int = 640 * KIB + 3) -> bytes:
    reader = disk.open_reader()
    try:
        size = disk.disk.size_bytes
        data = bytearray(size)
        for offset in range(0, size, step):
            reader.pread_into(offset, memoryview(data)[offset : offset + step])
        return bytes(data)
    finally:
        reader.close()


def allocated(disk: CapturedDisk, offset: int, length: int) -> list[Extent]:
    reader = disk.open_reader()
    try:
        return list(reader.allocated(offset, length))
    finally:
        reader.close()


def named(capture: Capture) -> dict[str, CapturedDisk]:
    return {disk.disk.key: disk for disk in capture.disks}


class TestInventory:
    def test_a_vm_is_found_by_name_and_by_id(self, subject: Subject) -> None:
        vm = subject.vm()
        assert subject.driver.find_vm(vm.name) == subject.driver.find_vm(vm.id) == vm
        assert vm in subject.driver.list_vms()
        names = [vm.name for vm in subject.driver.list_vms()]
        assert names == sorted(names)
        assert vm.platform == subject.driver.platform

    def test_an_unknown_name_is_an_error(self, subject: Subject) -> None:
        with pytest.raises(VmNotFound):
            subject.driver.find_vm("no such vm")

    def test_disks_have_stable_keys_and_exact_sizes(self, subject: Subject) -> None:
        vm = subject.vm()
        assert tuple(disk.key for disk in vm.disks) == subject.keys
        for disk in vm.disks:
            assert disk.size_bytes == len(subject.content(disk.key))
            assert disk.included
            assert disk.key.isascii() and disk.key.isprintable() and "/" not in disk.key

    def test_a_preview_names_each_disk_and_touches_nothing(self, subject: Subject) -> None:
        before = subject.left_behind()
        assert set(subject.driver.preview(subject.vm(), {})) == set(subject.keys)
        assert subject.left_behind() == before


class TestReading:
    def test_bytes_are_those_of_the_guest(self, subject: Subject) -> None:
        with begin(subject) as capture:
            assert [disk.disk.key for disk in capture.disks] == list(subject.keys)
            assert [disk.key for disk in capture.vm.disks] == list(subject.keys)
            for key, disk in named(capture).items():
                assert disk.disk.size_bytes == len(subject.content(key))
                assert read(disk) == subject.content(key)
            capture.check()

    def test_allocation_is_gapless_and_zero_means_zero(self, subject: Subject) -> None:
        chance = random.Random(3)
        with begin(subject) as capture:
            for key, disk in named(capture).items():
                content = subject.content(key)
                ranges = [(0, len(content)), (0, 0), (len(content), 0)]
                for _ in range(20):
                    start = chance.randrange(len(content))
                    ranges.append((start, chance.randrange(len(content) - start)))
                for offset, length in ranges:
                    position = offset
                    for extent in allocated(disk, offset, length):
                        assert extent.offset == position
                        assert extent.length > 0
                        assert not extent.zero or not any(content[extent.offset : extent.end])
                        position = extent.end
                    assert position == offset + length

    def test_holes_are_told(self, subject: Subject) -> None:
        with begin(subject) as capture:
            disk = capture.disks[0]
            extents = allocated(disk, 0, disk.disk.size_bytes)
        zero_bytes = sum(extent.length for extent in extents if extent.zero)
        assert zero_bytes > disk.disk.size_bytes // 2

    def test_readers_are_independent(self, subject: Subject) -> None:
        def shuffled(disk: CapturedDisk, seed: int) -> bytes:
            size = disk.disk.size_bytes
            data = bytearray(size)
            offsets = list(range(0, size, 100_000))
            random.Random(seed).shuffle(offsets)
            reader = disk.open_reader()
            for offset in offsets:
                reader.pread_into(offset, memoryview(data)[offset : offset + 100_000])
            reader.close()
            return bytes(data)

        with begin(subject) as capture, ThreadPoolExecutor(6) as threads:
            work = [(disk, seed) for disk in capture.disks for seed in range(3)]
            results = [threads.submit(shuffled, disk, seed) for disk, seed in work]
            for (disk, _), result in zip(work, results, strict=True):
                assert result.result() == subject.content(disk.disk.key)

    def test_only_the_buffer_is_written(self, subject: Subject) -> None:
        content = subject.content(subject.keys[0])
        with begin(subject) as capture:
            reader = capture.disks[0].open_reader()
            data = bytearray(b"\xaa" * 3000)
            reader.pread_into(512, memoryview(data)[1000:2000])
            reader.pread_into(0, memoryview(data)[:0])
            reader.close()
        assert data == b"\xaa" * 1000 + content[512:1512] + b"\xaa" * 1000

    def test_reading_beyond_the_end_fails(self, subject: Subject) -> None:
        with begin(subject) as capture:
            for disk in capture.disks:
                reader = disk.open_reader()
                with pytest.raises(HoldfastError) as caught:
                    reader.pread_into(disk.disk.size_bytes - 1, memoryview(bytearray(2)))
                assert caught.value.code == "source_read_failed"
                reader.close()

    def test_no_reader_after_the_end(self, subject: Subject) -> None:
        with begin(subject) as capture:
            disk = capture.disks[0]
        with pytest.raises(HoldfastError) as caught:
            disk.open_reader()
        assert caught.value.code == "source_unavailable"


class TestInstant:
    def test_later_writes_do_not_show(self, subject: Subject) -> None:
        before = {key: subject.content(key) for key in subject.keys}
        with begin(subject) as capture:
            for key in subject.keys:
                subject.write(key, 4096, b"written after the instant")
            if subject.survives_writes:
                capture.check()
                assert {key: read(disk) for key, disk in named(capture).items()} == before
            else:
                with pytest.raises(CaptureLost):
                    capture.check()

    def test_check_tells_when_the_instant_is_lost(self, subject: Subject) -> None:
        with begin(subject) as capture:
            capture.check()
            subject.lose_instant()
            with pytest.raises(CaptureLost):
                capture.check()
        assert subject.left_behind() == []

    def test_the_next_capture_shows_the_present(self, subject: Subject) -> None:
        commit(subject)
        subject.write(subject.keys[0], MIB, b"second")
        with begin(subject) as capture:
            assert read(capture.disks[0]) == subject.content(subject.keys[0])

    def test_two_at_once_are_refused_or_both_right(self, subject: Subject) -> None:
        with begin(subject) as first:
            try:
                with begin(subject, replace(asked(), repository_id=OTHER_REPOSITORY)) as second:
                    assert read(second.disks[0]) == subject.content(subject.keys[0])
            except VmBusy:
                pass
            first.check()
            assert read(first.disks[0]) == subject.content(subject.keys[0])


class TestChanges:
    def test_without_a_token_nothing_is_known(self, subject: Subject) -> None:
        with begin(subject) as capture:
            for disk in capture.disks:
                assert isinstance(disk.changes, ChangesUnknown)
                assert disk.changes.reason

    def test_changes_name_all_that_differs(self, subject: Subject) -> None:
        tokens = commit(subject)
        assert bool(tokens) == subject.tracks_changes
        chance = random.Random(11)
        for _ in range(3):
            before = {key: subject.content(key) for key in subject.keys}
            for key in subject.keys:
                size = len(before[key])
                for _ in range(3):
                    subject.write(key, chance.randrange(size - 700), chance.randbytes(700))
                subject.write(key, size - 512, chance.randbytes(512))
            with begin(subject, asked(tokens)) as capture:
                for key, disk in named(capture).items():
                    self.require_superset(subject, disk, before[key], subject.content(key))
                capture.promote()
                tokens = {d.disk.key: d.token for d in capture.disks if d.token is not None}

    @staticmethod
    def require_superset(subject: Subject, disk: CapturedDisk, old: bytes, new: bytes) -> None:
        if not subject.tracks_changes:
            assert isinstance(disk.changes, ChangesUnknown)
            return
        assert isinstance(disk.changes, ChangesKnown)
        patched = bytearray(old)
        position = 0
        for extent in disk.changes.extents:
            assert extent.length > 0
            assert position <= extent.offset <= extent.end <= len(new)
            position = extent.end
            patched[extent.offset : extent.end] = new[extent.offset : extent.end]
        assert patched == new
        listed = sum(extent.length for extent in disk.changes.extents)
        assert listed < len(new), "everything listed is no change tracking"

    def test_tokens_survive_storage(self, subject: Subject) -> None:
        for token in commit(subject).values():
            again = json.loads(json.dumps([token.kind, dict(token.values)]))
            assert ChangeToken(kind=again[0], values=again[1]) == token

    def test_a_token_of_another_kind_is_not_believed(self, subject: Subject) -> None:
        foreign = {
            key: ChangeToken(kind="vsphere-cbt", values={"id": "52"}) for key in subject.keys
        }
        with begin(subject, asked(foreign)) as capture:
            assert all(isinstance(disk.changes, ChangesUnknown) for disk in capture.disks)

    def test_a_failed_capture_leaves_the_last_token_true(self, subject: Subject) -> None:
        tokens = commit(subject)
        before = {key: subject.content(key) for key in subject.keys}
        subject.write(subject.keys[0], 0, b"first")
        with pytest.raises(ZeroDivisionError), begin(subject, asked(tokens)):
            raise ZeroDivisionError
        subject.write(subject.keys[0], 2 * MIB, b"second")
        with begin(subject, asked(tokens)) as capture:
            for key, disk in named(capture).items():
                self.require_superset(subject, disk, before[key], subject.content(key))


class TestLeaving:
    def test_nothing_is_left_without_promote(self, subject: Subject) -> None:
        assert subject.left_behind() == []
        with begin(subject) as capture:
            read(capture.disks[0])
        assert subject.left_behind() == []

    def test_nothing_is_left_after_an_error(self, subject: Subject) -> None:
        with pytest.raises(ZeroDivisionError), begin(subject):
            raise ZeroDivisionError
        assert subject.left_behind() == []

    def test_one_token_a_repository_is_kept(self, subject: Subject) -> None:
        tokens = commit(subject)
        kept = subject.left_behind()
        assert bool(kept) == subject.tracks_changes
        commit(subject, asked(tokens))
        assert len(subject.left_behind()) == len(kept)

    def test_tokens_of_another_repository_are_left_alone(self, subject: Subject) -> None:
        theirs = commit(subject, replace(asked(), repository_id=OTHER_REPOSITORY))
        for _ in range(2):
            commit(subject)
        subject.write(subject.keys[0], 0, b"new")
        request = replace(asked(theirs), repository_id=OTHER_REPOSITORY)
        with begin(subject, request) as capture:
            known = [isinstance(disk.changes, ChangesKnown) for disk in capture.disks]
        assert known == [subject.tracks_changes] * len(known)


class TestRefusals:
    def test_a_cancelled_run_captures_nothing(self, subject: Subject) -> None:
        request = asked()
        request.cancel.cancel()
        with pytest.raises(Cancelled):
            begin(subject, request)
        assert subject.left_behind() == []

    def test_an_unknown_disk_is_an_error(self, subject: Subject) -> None:
        with pytest.raises(HoldfastError) as caught:
            begin(subject, replace(asked(), disk_keys=["no-such-disk"]))
        assert caught.value.category in {Category.USAGE, Category.NOT_FOUND}
        assert subject.left_behind() == []

    def test_only_the_disks_asked_for(self, subject: Subject) -> None:
        with begin(subject, replace(asked(), disk_keys=[subject.keys[1]])) as capture:
            assert [disk.disk.key for disk in capture.disks] == [subject.keys[1]]
            assert [disk.key for disk in capture.vm.disks] == [subject.keys[1]]
            assert read(capture.disks[0]) == subject.content(subject.keys[1])

    def test_a_vm_that_is_gone_is_an_error(self, subject: Subject) -> None:
        gone = replace(subject.vm(), id="00000000-0000-4000-8000-ffffffffffff", name="gone")
        with pytest.raises(VmNotFound):
            subject.driver.capture(gone, asked())
