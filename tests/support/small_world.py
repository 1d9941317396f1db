"""A small repository in memory whose points share chunks, and what processes do to it.

Enter at `small_world`. Its actors take the store through which they act, so that a test can order,
break or watch their operations; each opens the repository by itself, as a process would.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError
from holdfast.core.ids import uuid7
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import DiskRecord, Manifest, Repository, VmRecord
from holdfast.repository.compact import CompactOptions, run_compact
from holdfast.repository.errors import ChunkMissing, ObjectMissing
from holdfast.repository.format.config import decode_config, encode_config
from holdfast.repository.session import BackupSession
from holdfast.repository.store.store import ObjectStore
from tests.support.engine import CREDENTIAL
from tests.support.interleaving import StoreClock, TickingStore
from tests.support.memory_store import FaultyStore
from tests.support.oracle import read_disk

CHUNK = 4 * KIB
AT_ONCE = CompactOptions(grace=timedelta(0), maximum_delete_share=1.0)

Actor = Callable[[ObjectStore], None]
Content = tuple[int, ...]
"""A disk by the number of each chunk's content; 0 is a chunk of zeroes."""
OLD: Content = (1, 2, 3, 4, 5, 6)
CHANGED: Content = (1, 9, 3, 10, 11, 12)
"""Needs one chunk each of two packs of `OLD`, which compact rewrites when that is deleted."""
OTHER: Content = (1, 20, 21, 22, 23, 24)


@cache
def _chunk(number: int) -> bytes:
    return random.Random(number).randbytes(CHUNK)


def content_of(content: Content) -> bytes:
    return b"".join(_chunk(number) for number in content)


@dataclass(kw_only=True)
class World:
    """A repository with a deleted past: points of two VMs that share chunks."""

    store: TickingStore
    key: Mapping[str, str]
    """A `Repository.share` document, so that no process has to derive a key."""
    acknowledged: dict[str, Content] = field(default_factory=dict[str, Content])
    names: dict[str, str] = field(default_factory=dict[str, str])
    deleted: set[str] = field(default_factory=set[str])
    clock: Clock | None = None
    """Of the processes; by default it agrees with the store's."""

    def open(self, store: ObjectStore) -> Repository:
        config = decode_config(self.key["config"].encode(), location="memory")
        master = bytes.fromhex(self.key["master"])
        return Repository(store, config, master, self.clock or StoreClock(store=self.store))

    # -- actors ---------------------------------------------------------------------------------

    def back_up(self, vm: str, content: Content, *, in_old_process: bool = False) -> Actor:
        """Like a run: on the VM's latest point when there is one, else a full one. An old process
        has read all of the index before the others begin."""
        handle = FaultyStore(self.store)
        repository = self.open(handle)
        if in_old_process:
            repository.load_index()

        def act(store: ObjectStore) -> None:
            handle.inner = store
            with repository.begin_backup(platform="p", vm_id=vm, vm_name=vm) as session:
                mine = [point for point in repository.points() if point.manifest.vm.id == vm]
                parent = mine[-1].manifest if mine else None
                repository.load_index()
                manifest = store_disk(repository, session, vm, content, parent)
                session.commit(manifest)
                self.acknowledged[manifest.id] = content

        return act

    def delete(self, name: str) -> Actor:
        def act(store: ObjectStore) -> None:
            point_id = self.names[name]
            self.acknowledged.pop(point_id)
            self.deleted.add(point_id)
            self.open(store).delete_point(point_id)

        return act

    def compact(self, runs: int = 2, *, old_data_keys: bool = False) -> Actor:
        def act(store: ObjectStore) -> None:
            for _ in range(runs):
                compact_once(self.open(store), old_data_keys=old_data_keys)

        return act

    def rotate(self) -> Actor:
        def act(store: ObjectStore) -> None:
            repository = self.open(store)
            with repository.begin_maintenance():
                repository.data_keys.rotate()

        return act

    def restore(self, name: str, *, index_first: bool) -> Actor:
        """Reads a point whose manifest was read before the others began. With `index_first` the
        index was too, so that every later move of a chunk is news to it."""
        handle = FaultyStore(self.store)
        repository = self.open(handle)
        point = repository.point(self.names[name])
        expected = self.acknowledged[point.id]
        if index_first:
            repository.load_index()

        def act(store: ObjectStore) -> None:
            handle.inner = store
            try:
                if not index_first:
                    repository.load_index()
                content = read_disk(repository, point.manifest.disks[0])
            except (ChunkMissing, ObjectMissing):
                assert point.id in self.deleted, "a restore of a living point failed"
                return
            assert content == content_of(expected)

        return act

    # -- the oracle -----------------------------------------------------------------------------

    def assert_sound(self) -> None:
        repository = self.open(self.store)
        points = {point.id: point for point in repository.points()}
        assert set(self.acknowledged) <= set(points), "an acknowledged point is gone"
        repository.load_index()
        for point_id, point in points.items():
            try:
                content = read_disk(repository, point.manifest.disks[0])
            except HoldfastError as error:
                raise AssertionError(f"point {point_id} lost a chunk: {error}") from error
            if point_id in self.acknowledged:
                assert content == content_of(self.acknowledged[point_id]), f"{point_id} differs"

    def assert_no_garbage_left(self) -> None:
        """Within two more runs, whatever the order before, only what is needed is left."""
        for _ in range(2):
            compact_once(self.open(self.store))
        assert compact_once(self.open(self.store)) == (0, 0), "compact does not come to an end"


def compact_once(repository: Repository, *, old_data_keys: bool = False) -> tuple[int, int]:
    options = replace(AT_ONCE, old_data_keys=old_data_keys)
    report = run_compact(repository, options, cancel=CancelToken(), progress=SilentProgress())
    return report.tombstoned_packs, report.deleted_packs


def store_disk(
    repository: Repository,
    session: BackupSession,
    vm: str,
    content: Content,
    parent: Manifest | None,
) -> Manifest:
    base = repository.disk_map(parent.disks[0]) if parent else None
    disk_map = session.new_map(len(content) * CHUNK, base)
    for index, number in enumerate(content):
        chunk_id = session.chunk_id(_chunk(number))
        if base is None or base.chunk_id(index) != chunk_id:
            session.store_chunk(chunk_id, _chunk(number))
            disk_map.set(index, chunk_id)
    root, height = disk_map.finish()
    now = repository.clock.now()
    disk = DiskRecord(
        key="vda",
        size_bytes=len(content) * CHUNK,
        format="raw",
        root=root,
        height=height,
        mode="full",
        reason="test",
        read_bytes=0,
        changed_bytes=0,
        stored_bytes=0,
        proven=True,
        token=None,
    )
    return Manifest(
        id=str(uuid7(repository.clock)),
        vm=VmRecord(id=vm, name=vm, platform="p"),
        run_id=str(uuid7(repository.clock)),
        captured_at=now,
        created_at=now,
        captured_as="full",
        parent_id=parent.id if parent else None,
        consistency="crash",
        chunk_bytes=CHUNK,
        disks=[disk],
        artifacts=[],
    )


@cache
def _past() -> tuple[dict[str, bytes], World]:
    """`first` and its increment `second` of vm-a, and `third` of vm-b."""
    store = TickingStore()
    clock = StoreClock(store=store)
    repository, _ = Repository.create(store, CREDENTIAL, chunk_bytes=CHUNK, clock=clock)
    key = {
        "config": encode_config(repository.config, vars(repository)["_master"]).decode(),
        "master": vars(repository)["_master"].hex(),
    }
    world = World(store=store, key=key)
    points = (("first", "vm-a", OLD), ("second", "vm-a", CHANGED), ("third", "vm-b", OTHER))
    for name, vm, content in points:
        known = set(world.acknowledged)
        world.back_up(vm, content)(store)
        world.names[name] = next(iter(set(world.acknowledged) - known))
    return store.objects, world


def small_world() -> World:
    objects, past = _past()
    store = TickingStore(objects)
    store.advance(3600)
    return World(
        store=store,
        key=past.key,
        acknowledged=dict(past.acknowledged),
        names=dict(past.names),
    )
