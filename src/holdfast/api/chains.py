"""Chains as the plan has them: per disk, a full capture and the incrementals since. They say how
bytes were chosen; every point of one restores alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.api.schemas.backups import BackupChain, BackupJob
from holdfast.catalog.models import RestorePoint
from holdfast.repository.unique import Owner


@dataclass(slots=True)
class _Open:
    full: str
    jobs: list[BackupJob] = field(default_factory=list[BackupJob])
    stored: list[int] = field(default_factory=list[int])
    unique: list[int | None] = field(default_factory=list[int | None])


def chains_of(
    vm_id: str,
    points: Sequence[RestorePoint],
    jobs: Mapping[str, BackupJob],
    disk_id: str | None,
    unique: Mapping[Owner, int],
) -> list[BackupChain]:
    """By repository and disk, oldest first. `points` are a VM's, oldest first; `unique`: what each
    alone holds, as far as it was measured."""
    chains: list[BackupChain] = []
    for repository_id in sorted({point.repository_id for point in points}):
        mine = [point for point in points if point.repository_id == repository_id]
        keys = sorted({str(disk["key"]) for point in mine for disk in point.disks})
        for key in keys:
            if disk_id in (None, key):
                chains += _of_disk(vm_id, repository_id, key, mine, jobs, unique)
    return chains


def _of_disk(
    vm_id: str,
    repository_id: str,
    key: str,
    points: Sequence[RestorePoint],
    jobs: Mapping[str, BackupJob],
    unique: Mapping[Owner, int],
) -> list[BackupChain]:
    found: list[_Open] = []
    for point in points:
        disk = _disk(point, key)
        job = jobs.get(point.run_id)
        if disk is None or job is None:
            continue
        # The first that is left begins a chain, also when what it was compared with is gone.
        if not found or disk["mode"] == "full":
            found.append(_Open(point.run_id))
        found[-1].jobs.append(job)
        found[-1].stored.append(int(disk["stored_bytes"]))
        found[-1].unique.append(unique.get((point.id, key)))
    return [
        BackupChain(
            chain_id=f"{chain.full}:{key}",
            vm_context_id=vm_id,
            disk_id=key,
            full_backup_id=chain.full,
            backups=chain.jobs,
            total_size_bytes=sum(chain.stored),
            backup_count=len(chain.jobs),
            repository_id=repository_id,
            disk_stored_bytes=chain.stored,
            unique_bytes=chain.unique,
        )
        for chain in found
    ]


def _disk(point: RestorePoint, key: str) -> dict[str, Any] | None:
    return next((disk for disk in point.disks if disk["key"] == key), None)
