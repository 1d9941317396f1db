"""A small engine around one VM of the fake hypervisor: what most engine tests begin with.

Enter at `Engine.create`. Sizes are small (4 KiB chunks, packs of 64 KiB) and the key slot opens
without a costly key derivation, so that a test can run hundreds of backups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest

from holdfast.backup.run import BackupOptions, BackupResult, back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import ProgressSink
from holdfast.core.units import KIB
from holdfast.repository import Credential, Repository
from holdfast.repository.packs import PackWriter
from holdfast.repository.store.store import ObjectStore
from tests.support.fake_driver import FakeDriver, FakeVm
from tests.support.memory_store import MemoryStore
from tests.support.oracle import DiskContent

CHUNK_BYTES = 4 * KIB
CREDENTIAL = Credential(kind="recovery", secret=bytes(range(32)))
"""Its slot costs one hash to open instead of the quarter of a second that a passphrase's does."""


def small_packs(patch: pytest.MonkeyPatch, pack_bytes: int = 64 * KIB) -> None:
    """Make backups of a few hundred KiB fill several packs."""
    writer = partial(PackWriter, pack_bytes=pack_bytes)
    patch.setattr("holdfast.repository.repository.PackWriter", writer)


@dataclass(slots=True, kw_only=True)
class Engine:
    """A repository, a VM, and what its backups acknowledged."""

    store: ObjectStore
    driver: FakeDriver
    vm: FakeVm
    repository: Repository
    acknowledged: dict[str, dict[str, DiskContent]] = field(
        default_factory=dict[str, dict[str, DiskContent]]
    )

    @classmethod
    def create(
        cls,
        store: ObjectStore | None = None,
        *,
        disks: dict[str, int] | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        granule_bytes: int = CHUNK_BYTES,
    ) -> Engine:
        chosen = store or MemoryStore()
        repository, _ = Repository.create(chosen, CREDENTIAL, chunk_bytes=chunk_bytes)
        return cls.create_in(repository, chosen, disks=disks, granule_bytes=granule_bytes)

    @classmethod
    def create_in(
        cls,
        repository: Repository,
        store: ObjectStore,
        *,
        disks: dict[str, int] | None = None,
        granule_bytes: int = CHUNK_BYTES,
    ) -> Engine:
        driver = FakeDriver()
        vm = driver.add_vm("guest")
        for key, size_bytes in (disks or {"vda": 40 * CHUNK_BYTES}).items():
            vm.add_disk(key, size_bytes, granule_bytes=granule_bytes)
        return cls(store=store, driver=driver, vm=vm, repository=repository)

    def reopen(self) -> None:
        self.repository = Repository.open(self.store, CREDENTIAL)

    def back_up(
        self,
        *,
        repository: Repository | None = None,
        full: bool = False,
        disk_keys: Sequence[str] | None = None,
        cancel: CancelToken | None = None,
        progress: ProgressSink | None = None,
        workers: int = 2,
    ) -> BackupResult:
        """One backup; when it returns, its content counts as acknowledged."""
        result = back_up_vm(
            driver=self.driver,
            vm=self.vm.describe(),
            repository=repository or self.repository,
            cancel=cancel or CancelToken(),
            options=BackupOptions(full=full, disk_keys=disk_keys, workers=workers),
            progress=progress,
        )
        self.acknowledged[result.manifest.id] = self.contents(
            [disk.key for disk in result.manifest.disks]
        )
        return result

    def contents(self, keys: Sequence[str] | None = None) -> dict[str, DiskContent]:
        chosen = keys if keys is not None else list(self.vm.disks)
        return {key: self.vm.disks[key].content.copy() for key in chosen}

    def next_backup(self, repository: Repository) -> str:
        """For the oracle: the next run of a new process."""
        return self.back_up(repository=repository).manifest.id
