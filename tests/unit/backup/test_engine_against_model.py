"""The engine against a dictionary: whatever is written, backed up, broken off, deleted and opened
again in whatever order, the oracle holds after every step.

The dictionary is the guest's disks copied at each acknowledged backup. `--hypothesis-profile
nightly` runs thousands of longer machines.
"""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Cancelled, HoldfastError, OutOfSpace
from holdfast.core.progress import SilentProgress
from holdfast.hypervisors.errors import SourceReadFailed
from holdfast.repository import Repository
from holdfast.repository.compact import CompactOptions, run_compact
from holdfast.repository.errors import ParentVanished, PointNotFound
from holdfast.repository.leases import TTL_S
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs
from tests.support.fake_lies import LieKind
from tests.support.interleaving import StoreClock
from tests.support.memory_store import FaultyStore, MemoryStore
from tests.support.oracle import assert_repository_sound

MOST_BYTES = 50 * CHUNK_BYTES
"""Fewer chunks than the audit's minimum: every incremental re-reads all of them, so that no lie
stays hidden and the model needs no probabilities."""

_sizes = st.one_of(
    st.integers(0, MOST_BYTES),
    st.sampled_from([0, 1, 511, 512, 513, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1]),
)
_places = st.floats(0, 1, exclude_max=True)
_disks = st.sampled_from(["vda", "vdb", "vdc"])


class EngineMachine(RuleBasedStateMachine):
    """One VM, one repository in memory, one process that may die at any write."""

    @initialize(size=_sizes)
    def create(self, size: int) -> None:
        self.memory = MemoryStore()
        self.store = FaultyStore(self.memory)
        self.engine = Engine.create(self.store, disks={"vda": size})
        self.vm = self.engine.vm
        self.pieces = random.Random(7)

    # -- the guest ------------------------------------------------------------------------------

    @rule(key=_disks, place=_places, length=st.integers(1, 16 * CHUNK_BYTES), repeat=st.booleans())
    def write(self, key: str, place: float, length: int, repeat: bool) -> None:
        disk = self.vm.disks.get(key)
        if disk is None or disk.size_bytes == 0:
            return
        offset = int(place * disk.size_bytes)
        length = min(length, disk.size_bytes - offset)
        data = b"\x5a" * length if repeat else self.pieces.randbytes(length)
        disk.write(offset, data)

    @rule(key=_disks, place=_places, length=st.integers(1, 20 * CHUNK_BYTES))
    def trim(self, key: str, place: float, length: int) -> None:
        disk = self.vm.disks.get(key)
        if disk is not None:
            offset = int(place * disk.size_bytes)
            disk.trim(offset, min(length, disk.size_bytes - offset))

    @rule(key=_disks, size=_sizes)
    def resize(self, key: str, size: int) -> None:
        if key in self.vm.disks:
            self.vm.disks[key].resize(size)

    @rule(key=_disks, size=_sizes)
    def add_disk(self, key: str, size: int) -> None:
        if key not in self.vm.disks:
            self.vm.add_disk(key, size, granule_bytes=CHUNK_BYTES)

    @rule(key=_disks)
    def remove_disk(self, key: str) -> None:
        self.vm.disks.pop(key, None)

    @rule(key=_disks)
    def lose_bitmap(self, key: str) -> None:
        if key in self.vm.disks:
            self.vm.disks[key].forget_changes()

    # -- backups --------------------------------------------------------------------------------

    @rule(full=st.booleans(), lie=st.one_of(st.none(), st.sampled_from(LieKind)))
    def back_up(self, full: bool, lie: LieKind | None) -> None:
        self.vm.lie(lie)
        try:
            self.engine.back_up(full=full)
        finally:
            self.vm.lie(None)

    @rule(write=st.integers(1, 12), applied=st.booleans())
    def back_up_and_die(self, write: int, applied: bool) -> None:
        """The process dies at one of its writes; its successor finds the lease expired."""
        self.store.die_at(write, applied=applied)
        try:
            self.engine.back_up()
        except HoldfastError:
            self.vm.kill_capture()
        self.start_new_process()

    @rule(read=st.integers(1, 6), gone=st.booleans())
    def back_up_and_lose_source(self, read: int, gone: bool) -> None:
        def fault(key: str, offset: int) -> None:
            nonlocal read
            read -= 1
            if read == 0 and gone:
                raise SourceReadFailed(source=key, offset=offset, problem="I/O error")
            if read == 0:
                token.cancel()

        token = CancelToken()
        self.vm.on_read = fault
        try:
            self.engine.back_up(cancel=token)
        except (SourceReadFailed, Cancelled):
            pass
        finally:
            self.vm.on_read = None

    @rule(put=st.integers(1, 4))
    def back_up_on_full_store(self, put: int) -> None:
        """No space for one object; the same process goes on afterwards."""

        def refuse(operation: str, key: str) -> None:
            nonlocal put
            if operation == "put_new" and not key.startswith("leases/"):
                put -= 1
                if put == 0:
                    raise OutOfSpace(location="memory")

        self.store.before = refuse
        with suppress(OutOfSpace):
            self.engine.back_up()
        self.store.before = None

    @rule()
    def delete_parent_during_backup(self) -> None:
        def delete_latest(operation: str, key: str) -> None:
            if operation == "put_new" and key.startswith("index/") and newest:
                self.memory.delete(f"points/{newest}")
                self.engine.acknowledged.pop(newest)
                self.store.before = None

        newest = max(self.engine.acknowledged, default="")
        self.store.before = delete_latest
        try:
            self.engine.back_up()
        except ParentVanished:
            assert newest
        finally:
            self.store.before = None

    # -- the repository -------------------------------------------------------------------------

    @precondition(lambda self: self.engine.acknowledged)
    @rule(place=_places)
    def delete_point(self, place: float) -> None:
        known = sorted(self.engine.acknowledged)
        point_id = known[int(place * len(known))]
        self.engine.acknowledged.pop(point_id)
        self.engine.repository.delete_point(point_id)
        with pytest.raises(PointNotFound):
            self.engine.repository.point(point_id)

    @rule(grace_s=st.sampled_from([0, 3600]), fill=st.sampled_from([0.0, 0.5, 1.0]))
    def compact(self, grace_s: int, fill: float) -> None:
        self._compact(self.engine.repository, grace_s, fill)

    @rule(write=st.integers(1, 20), applied=st.booleans())
    def compact_and_die(self, write: int, applied: bool) -> None:
        self.store.die_at(write, applied=applied)
        with suppress(HoldfastError):
            self._compact(self.engine.repository, 0, 1.0)
        self.start_new_process()

    @rule(hours=st.integers(1, 48))
    def wait(self, hours: int) -> None:
        """Grace periods and leases run out."""
        self.memory.advance(hours * 3600)

    @rule(grace_s=st.sampled_from([0, 3600]))
    def compact_during_backup(self, grace_s: int) -> None:
        """By another process, when the backup is about to put its index."""

        def run(operation: str, key: str) -> None:
            if operation == "put_new" and key.startswith("index/"):
                self.store.before = None
                self._compact(Repository.open(self.memory, CREDENTIAL), grace_s, 1.0)

        self.store.before = run
        self.engine.back_up()
        self.store.before = None

    def _compact(self, repository: Repository, grace_s: int, fill: float) -> None:
        repository.clock = StoreClock(store=self.memory)
        options = CompactOptions(
            grace=timedelta(seconds=grace_s), minimum_fill=fill, maximum_delete_share=1.0
        )
        run_compact(repository, options, cancel=CancelToken(), progress=SilentProgress())

    @rule(full=st.booleans())
    def back_up_by_another_process(self, full: bool) -> None:
        """This process's index is of the past from here on."""
        other = Repository.open(self.memory, CREDENTIAL)
        self.engine.back_up(repository=other, full=full)

    @rule()
    def start_new_process(self) -> None:
        self.store = FaultyStore(self.memory)
        self.memory.advance(TTL_S + 1)
        self.engine.store = self.store
        self.engine.reopen()

    @invariant()
    def sound(self) -> None:
        assert_repository_sound(self.memory, CREDENTIAL, self.engine.acknowledged)


@pytest.fixture(autouse=True)
def _many_packs(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    small_packs(monkeypatch, 5 * CHUNK_BYTES)


TestEngineMachine = EngineMachine.TestCase
