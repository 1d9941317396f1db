"""What the pictures show: VMs of this host's libvirt and a fortnight of their backups.

The backups are real and are made within a minute; then their times are moved apart. Enter at
`open_scenery`, then `make_history`.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from holdfast.catalog.database import Database
from holdfast.catalog.models import (
    LogEntry,
    RestorePoint,
    Run,
    RunTransition,
    StorageSample,
    VirtualMachine,
)
from holdfast.core.units import MIB
from tests.support.guestless import GuestlessDisk, GuestlessVm, create_image, guestless_vm
from tests.web.lab import LONG_NAME, PASSPHRASE, Lab, noise, open_service, web_server, write_image

FOLDER = Path("/var/lib/holdfast/example")
"""QEMU's user must be able to pass through, and it is seen in the pictures."""
_NIGHT = timedelta(hours=2, minutes=10)
_HISTORY = (
    (11, "web-server"),
    (10, "database"),
    (9, "web-server"),
    (7, "web-server"),
    (6, "database"),
    (5, "web-server"),
    (3, LONG_NAME),
    (2, "web-server"),
    (1, "database"),
    (1, "mail"),
    (0, "web-server"),
)
"""Days ago, in this order."""
_LONG_BYTES = 2560 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenery:
    lab: Lab
    database: GuestlessVm
    """The VM of that name; it runs, as far as a VM without an operating system does."""

    def image(self, name: str) -> Path:
        return self.lab.image(name)


@contextmanager
def open_scenery() -> Generator[Scenery]:
    """Raises FileExistsError when another one is open."""
    FOLDER.mkdir(mode=0o711, parents=True)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, FOLDER)
        lab = undo.enter_context(open_service(FOLDER))
        (FOLDER / "images").mkdir(mode=0o711)
        write_image(lab.image("web-server"), web_server(1))
        names = ("mail", "build-runner", LONG_NAME)
        for number, name in enumerate(names):
            tree = {"etc/hostname": f"{name}\n".encode(), "data": noise(1000 + number, 2 * MIB)}
            write_image(lab.image(name), tree, 24 * MIB)
        for name in ("web-server", *names):
            disk = GuestlessDisk(target="vda", path=lab.image(name), format="raw")
            shape = {"name": name, "vcpus": 2, "memory_mib": 4096, "started": False}
            undo.enter_context(guestless_vm([disk], **shape))
        system = create_image(FOLDER / "images" / "database.qcow2", "64M")
        data = create_image(FOLDER / "images" / "database-data.qcow2", "128M")
        disks = [
            GuestlessDisk(target="vda", path=system),
            GuestlessDisk(target="vdb", path=data),
        ]
        database = undo.enter_context(
            guestless_vm(disks, name="database", vcpus=4, memory_mib=1024)
        )
        address = {"transport": "local", "instance": "system"}
        platform = {"kind": "libvirt", "name": "This host", "address": address}
        lab.manage(platform, "web-server", "database", *names)
        yield Scenery(lab=lab, database=database)


def make_history(scenery: Scenery) -> dict[str, str]:
    """Ids of what there is to see, by what it is."""
    lab = scenery.lab
    lab.patch("/settings", {"retry_attempts": 0})
    runs = [(days, _back_up(scenery, name, place)) for place, (days, name) in enumerate(_HISTORY)]
    lab.patch("/settings", {"retry_attempts": 5, "platform_limit": 2})
    _move_apart(scenery, {run["id"]: days for days, run in runs})
    lab.post(
        "/users",
        {
            "name": "grace",
            "display_name": "Grace Hopper",
            "password": PASSPHRASE,
            "grants": [{"role": "restore-operator", "scope_kind": "tag", "scope_value": "web"}],
        },
    )
    lab.post("/tokens", {"name": "nightly report", "grants": [{"role": "viewer"}]})
    lab.post(
        "/notifications",
        {
            "name": "On call",
            "url": "ntfys://ntfy.sh/holdfast-on-call",
            "events": ["backup_failed", "repository_offline", "integrity_problem"],
        },
    )
    completed = runs[-1][1]
    failed = next(run for _, run in runs if run["status"] == "failed")
    mount = lab.post("/restore/mount", {"backup_id": completed["id"]})
    return {
        "vm": lab.vms["web-server"],
        "repository": lab.repository_id,
        "completed": completed["id"],
        "failed": failed["id"],
        "volume": mount["volumes"][0]["id"],
    }


@contextmanager
def long_runs(scenery: Scenery) -> Generator[str]:
    """Two backups that take a while, the id of one, and one that waits; cancelled at the end."""
    names = ("build-runner", "mail", "web-server")
    for seed, name in enumerate(names[:2]):
        _fill(scenery.image(name), seed)
    started: list[str] = []
    try:
        for name in names:
            started.append(scenery.lab.start(name, "full")["id"])
        yield started[0]
    finally:
        for run in started:
            scenery.lab.client.post(f"/api/v1/runs/{run}/cancel")
        for run in started:
            scenery.lab.run_ended(run)


def _back_up(scenery: Scenery, name: str, place: int) -> Any:
    lab, image = scenery.lab, scenery.image(name)
    if name == "web-server":
        night = datetime.now(UTC) - timedelta(days=_HISTORY[place][0] + 1)
        write_image(image, web_server(place + 1), modified_s=night.timestamp())
    if name == "database":
        for target, length in (("vda", 1 + place // 4), ("vdb", 4 + place)):
            piece = noise(place, length * MIB)
            scenery.database.write_bytes(target, (1 + place) * MIB, piece, FOLDER)
    if name != "mail":
        return lab.back_up(name)
    away = image.with_suffix(".away")
    image.rename(away)
    try:
        return lab.back_up(name)
    finally:
        away.rename(image)


def _fill(image: Path, seed: int) -> None:
    """With bytes that no backup holds yet."""
    random = np.random.default_rng((seed, image.stat().st_mtime_ns))
    with image.open("wb") as file:
        for _ in range(_LONG_BYTES // (16 * MIB)):
            file.write(random.bytes(16 * MIB))


def _move_apart(scenery: Scenery, days_ago: dict[str, int]) -> None:
    """Runs, their points and log lines to the nights of those days; a sample of the storage for
    each day, from what the points say."""
    database = Database.open(f"sqlite:///{FOLDER / 'state' / 'holdfast.db'}")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with database.writing() as session:
        for place, (run_id, days) in enumerate(days_ago.items()):
            run = session.get_one(Run, run_id)
            then = today - timedelta(days=days) + _NIGHT + timedelta(minutes=7 * place)
            back = min(then, datetime.now(UTC)) - run.created_at
            run.created_at += back
            run.started_at = run.started_at and run.started_at + back
            run.completed_at = run.completed_at and run.completed_at + back
            for table in (LogEntry, RunTransition):
                for row in session.scalars(select(table).where(table.run_id == run_id)):
                    row.at += back
            for point in session.scalars(select(RestorePoint).where(RestorePoint.run_id == run_id)):
                point.captured_at += back
                point.created_at += back
        session.flush()
        points = list(session.scalars(select(RestorePoint).order_by(RestorePoint.captured_at)))
        for vm in session.scalars(select(VirtualMachine)):
            own = [point.captured_at for point in points if point.vm_id == vm.id]
            vm.last_backup_at = max(own, default=None)
            vm.added_at = today - timedelta(days=12)
        for days in range(11, 0, -1):
            at = today - timedelta(days=days) + timedelta(hours=12)
            there = [point for point in points if point.captured_at < at]
            session.add(
                StorageSample(
                    repository_id=scenery.lab.repository_id,
                    at=at,
                    used_bytes=sum(point.stored_bytes for point in there),
                    logical_bytes=sum(point.size_bytes for point in there),
                    available_bytes=None,
                    backup_count=len(there),
                )
            )
