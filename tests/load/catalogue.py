"""A catalogue as large as a big installation's, written into the tables of a service: VMs, backups
with their restore points, their transitions and log lines, and weeks of storage figures.

Enter at `fill`. The backups are evenly spread over the last weeks; one in fifty failed. No bytes
are behind them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from holdfast.catalog.database import Database
from holdfast.catalog.models import (
    Base,
    LogEntry,
    MachineGroup,
    MachineGroupMember,
    RestorePoint,
    Run,
    RunTransition,
    StorageSample,
    VirtualMachine,
    VmTag,
)
from holdfast.catalog.points import renew_summaries
from holdfast.core.clock import SystemClock
from holdfast.core.ids import uuid7
from holdfast.core.units import GIB, MIB

_ROWS_AT_ONCE = 2000
_GROUPS, _SAMPLES, _STORAGE_DAYS = 20, 60, 90
_FULL_EVERY = 10
_TAGS = ("production", "test", "database", "web", "windows", "linux")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    vms: int
    backups: int
    days: int = 20


@dataclass(frozen=True, slots=True)
class _At:
    """A clock that stands still."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return 0.0


def fill(database: Database, size: Size, *, platform_id: str, repository_id: str) -> None:
    """Beside what is there already."""
    dice = random.Random(size.backups)
    now = SystemClock().now()
    vms = [_vm(number, platform_id, now, dice) for number in range(size.vms)]
    with database.writing() as session:
        _insert(session, VirtualMachine, vms)
        _label(session, vms, now)
        _insert(session, StorageSample, _storage(repository_id, now))
    backups = _backups(vms, size, platform_id, repository_id, now, dice)
    for start in range(0, len(backups), _ROWS_AT_ONCE):
        part = backups[start : start + _ROWS_AT_ONCE]
        with database.writing() as session:
            _insert(session, Run, part)
            _insert(session, RestorePoint, (_point(run) for run in part if run["point_id"]))
            _insert(session, RunTransition, (row for run in part for row in _transitions(run)))
            _insert(session, LogEntry, (row for run in part for row in _lines(run)))
    for start in range(0, len(vms), _ROWS_AT_ONCE):
        with database.writing() as session:
            renew_summaries(session, [vm["id"] for vm in vms[start : start + _ROWS_AT_ONCE]])


def _insert(session: Session, model: type[Base], rows: Any) -> None:
    found = list(rows)
    if found:
        session.execute(insert(model), found)


def _vm(number: int, platform_id: str, now: datetime, dice: random.Random) -> dict[str, Any]:
    name = f"{dice.choice(_TAGS)}-{number:05}"
    size = dice.choice((20, 40, 80, 200)) * GIB
    return {
        "id": str(uuid7(SystemClock())),
        "platform_id": platform_id,
        "platform_identity": "load",
        "platform_vm_id": f"/nonexistent/{name}",
        "name": name,
        "power": dice.choice(("running", "running", "running", "shut_off")),
        "firmware": "uefi",
        "vcpus": 2,
        "memory_bytes": 4 * GIB,
        "size_bytes": size,
        "disks": [_vm_disk(name, key, size // 2) for key in ("vda", "vdb")],
        "networks": [{"mac": "52:54:00:00:00:01", "network": "default", "model": "virtio"}],
        "added_at": now - timedelta(days=60, seconds=number),
        "seen_at": now,
    }


def _vm_disk(name: str, key: str, size: int) -> dict[str, Any]:
    return {
        "key": key,
        "size_bytes": size,
        "format": "qcow2",
        "path": f"/nonexistent/{name}-{key}.qcow2",
        "included": True,
        "excluded_reason": "",
        "tracks_changes": True,
    }


def _label(session: Session, vms: list[dict[str, Any]], now: datetime) -> None:
    groups = [
        {"id": str(uuid7(SystemClock())), "name": f"Group {number:02}", "created_at": now}
        for number in range(_GROUPS)
    ]
    _insert(session, MachineGroup, groups)
    _insert(session, VmTag, ({"vm_id": vm["id"], "tag": vm["name"].split("-")[0]} for vm in vms))
    members = (
        {"group_id": groups[number % _GROUPS]["id"], "vm_id": vm["id"]}
        for number, vm in enumerate(vms)
    )
    _insert(session, MachineGroupMember, members)


def _storage(repository_id: str, now: datetime) -> Iterator[dict[str, Any]]:
    for day in range(_STORAGE_DAYS, 0, -1):
        used = (_STORAGE_DAYS - day + 1) * 20 * GIB
        yield {
            "repository_id": repository_id,
            "at": now - timedelta(days=day),
            "used_bytes": used,
            "logical_bytes": used * 9,
            "available_bytes": 9000 * GIB,
            "backup_count": (_STORAGE_DAYS - day) * 100,
        }


def _backups(
    vms: list[dict[str, Any]],
    size: Size,
    platform_id: str,
    repository_id: str,
    now: datetime,
    dice: random.Random,
) -> list[dict[str, Any]]:
    """Oldest first."""
    step = timedelta(days=size.days) / size.backups
    return [
        _run(
            vms[number % len(vms)],
            "full" if (number // len(vms)) % _FULL_EVERY == 0 else "incremental",
            platform_id,
            repository_id,
            now - step * (size.backups - number),
            dice,
            revision=number + 1,
        )
        for number in range(size.backups)
    ]


def _run(
    vm: dict[str, Any],
    kind: str,
    platform_id: str,
    repository_id: str,
    at: datetime,
    dice: random.Random,
    *,
    revision: int,
) -> dict[str, Any]:
    failed = dice.randrange(50) == 0
    read = dice.randrange(20, 2000) * MIB if kind == "incremental" else vm["size_bytes"] // 3
    stored = 0 if failed else read // 2
    half = vm["size_bytes"] // 2
    seconds = dice.randrange(20, 600)
    return {
        "id": str(uuid7(_At(at))),
        "kind": "backup",
        "state": "failed" if failed else "completed",
        "vm_id": vm["id"],
        "vm_name": vm["name"],
        "platform_id": platform_id,
        "repository_id": repository_id,
        "point_id": None if failed else str(uuid7(_At(at))),
        "backup_type": kind,
        "request": {"backup_type": kind},
        "plan": [_planned(key, kind, read // 2, half) for key in ("vda", "vdb")],
        "disks": [_moved(key, read // 2, stored // 2, half) for key in ("vda", "vdb")],
        "percent": 40.0 if failed else 100.0,
        "done_bytes": read,
        "total_bytes": read,
        "read_bytes": read,
        "stored_bytes": stored,
        "bottleneck": {"source": 20, "network": 0, "cpu": 60, "repository": 20},
        "samples": [[second, dice.randrange(300 * MIB)] for second in range(_SAMPLES)],
        "result": {} if failed else {"consistency": "filesystem", "size_bytes": vm["size_bytes"]},
        "phase": "failed" if failed else "completed",
        "error_code": "source_failed" if failed else "",
        "error_message": "the source stopped answering" if failed else "",
        "error_hint": "Look at the hypervisor's log" if failed else "",
        "error_retry": "later" if failed else "",
        "attempt": 1,
        "created_at": at,
        "started_at": at + timedelta(seconds=1),
        "completed_at": at + timedelta(seconds=1 + seconds),
        "created_by": "admin",
        "revision": revision,
    }


def _planned(key: str, kind: str, read: int, size: int) -> dict[str, Any]:
    return {
        "key": key,
        "mode": "full" if kind == "full" else "changed",
        "reason": "the blocks that changed since the last backup, by its checkpoint",
        "planned_bytes": read,
        "size_bytes": size,
    }


def _moved(key: str, read: int, stored: int, size: int) -> dict[str, Any]:
    return {
        "key": key,
        "state": "completed",
        "size_bytes": size,
        "done_bytes": read,
        "total_bytes": read,
        "read_bytes": read,
        "stored_bytes": stored,
    }


def _point(run: dict[str, Any]) -> dict[str, Any]:
    size = sum(disk["size_bytes"] for disk in run["disks"])
    return {
        "repository_id": run["repository_id"],
        "id": run["point_id"],
        "run_id": run["id"],
        "vm_id": run["vm_id"],
        "platform_identity": "load",
        "platform_vm_id": f"/nonexistent/{run['vm_name']}",
        "vm_name": run["vm_name"],
        "captured_at": run["started_at"],
        "created_at": run["completed_at"],
        "captured_as": run["backup_type"],
        "consistency": "filesystem",
        "size_bytes": size,
        "read_bytes": run["read_bytes"],
        "stored_bytes": run["stored_bytes"],
        "disks": [_stored(run, disk) for disk in run["disks"]],
        "tags": [],
        "notes": [],
    }


def _stored(run: dict[str, Any], disk: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": disk["key"],
        "size_bytes": disk["size_bytes"],
        "format": "qcow2",
        "mode": "full" if run["backup_type"] == "full" else "changed",
        "reason": "as planned",
        "read_bytes": disk["read_bytes"],
        "changed_bytes": disk["read_bytes"],
        "stored_bytes": disk["stored_bytes"],
        "proven": True,
    }


def _transitions(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for at, before, after in (
        (run["started_at"], "pending", "running"),
        (run["completed_at"], "running", run["state"]),
    ):
        yield {
            "run_id": run["id"],
            "at": at,
            "before": before,
            "after": after,
            "attempt": 1,
            "worker_id": "load:worker",
        }


def _lines(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    ended = "error" if run["state"] == "failed" else "info"
    for at, level, message in (
        (run["started_at"], "info", "attempt 1 begins on load:worker"),
        (run["completed_at"], ended, run["error_message"] or "completed"),
    ):
        yield {
            "at": at,
            "level": level,
            "source": "run",
            "run_id": run["id"],
            "vm_id": run["vm_id"],
            "message": message,
            "fields": {"attempt": 1},
        }
