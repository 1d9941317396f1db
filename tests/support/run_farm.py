"""A catalogue, a repository and VMs that are image files: what tests of runs begin with.

Enter at `Farm.create`. Workers are processes (`start_worker`), so that they can be killed, or run
in a thread of the test (`worker`). What a worker process is told is in `FARM.json` in the folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from holdfast.catalog.database import Database
from holdfast.catalog.models import (
    Base,
    LogEntry,
    Platform,
    Repository,
    Run,
    Setting,
    VirtualMachine,
)
from holdfast.catalog.repository_secrets import RepositorySecret
from holdfast.catalog.resources import LIMITS_KEY
from holdfast.catalog.runs import FINAL
from holdfast.core.clock import SystemClock
from holdfast.core.ids import uuid7
from holdfast.core.units import KIB, MIB
from holdfast.jobs.attempt import OnFinished
from holdfast.jobs.orders import MoverSettings
from holdfast.jobs.queueing import Jobs, RunRequest
from holdfast.jobs.worker import Worker, WorkerSettings
from holdfast.policy.run_states import RunKind
from holdfast.repository import Credential, LocalStore
from holdfast.repository import Repository as OpenedRepository
from holdfast.repository.format.recovery_kit import format_recovery_key
from tests.support.engine import CREDENTIAL

PASSPHRASE = format_recovery_key(CREDENTIAL)
"""Opens with one hash instead of the quarter of a second that a passphrase takes."""
CLOCK = SystemClock()


class FarmSecrets:
    """Test double of the sealed columns: every repository has the same secret."""

    def repository(self, row: Repository) -> RepositorySecret:
        del row
        return RepositorySecret(passphrase=PASSPHRASE)


@dataclass(kw_only=True)
class Farm:
    folder: Path
    database_url: str
    database: Database
    repository_id: str
    platform_id: str
    vm_ids: list[str] = field(default_factory=list[str])
    contents: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Of the one disk of each VM, by its id."""

    @classmethod
    def create(
        cls, folder: Path, database_url: str = "", *, vms: int = 1, size_bytes: int = 1 * MIB
    ) -> Farm:
        folder.mkdir(parents=True, exist_ok=True)
        database_url = database_url or f"sqlite:///{folder / 'catalogue.db'}"
        database = Database.open(database_url)
        Base.metadata.create_all(database.engine)
        (folder / "images").mkdir()
        farm = cls(
            folder=folder,
            database_url=database_url,
            database=database,
            repository_id="",
            platform_id=str(uuid7(CLOCK)),
        )
        farm.repository_id = farm.add_repository("repository")
        with database.writing() as session:
            session.add(
                Platform(
                    id=farm.platform_id,
                    name="images",
                    kind="images",
                    identity=f"images:{folder / 'images'}",
                    settings={"path": str(folder / "images")},
                    created_at=CLOCK.now(),
                )
            )
        for number in range(vms):
            farm.add_vm(f"vm{number}", size_bytes)
        return farm

    def add_repository(self, name: str) -> str:
        store = LocalStore(self.folder / name)
        store.prepare()
        opened, _ = OpenedRepository.create(store, CREDENTIAL, chunk_bytes=64 * KIB)
        with self.database.writing() as session:
            session.add(
                Repository(
                    id=opened.id,
                    name=name,
                    kind="local",
                    location=str(self.folder / name),
                    settings={},
                    chunk_bytes=64 * KIB,
                    created_at=CLOCK.now(),
                )
            )
        return opened.id

    def add_vm(self, name: str, size_bytes: int) -> str:
        path = self.folder / "images" / f"{name}.raw"
        content = np.random.default_rng(list(name.encode())).bytes(size_bytes)
        path.write_bytes(content)
        vm_id = str(uuid7(CLOCK))
        with self.database.writing() as session:
            session.add(
                VirtualMachine(
                    id=vm_id,
                    platform_id=self.platform_id,
                    platform_identity="images",
                    platform_vm_id=str(path),
                    name=name,
                    power="shut_off",
                    firmware="none",
                    vcpus=0,
                    memory_bytes=0,
                    size_bytes=size_bytes,
                    disks=[],
                    networks=[],
                    added_at=CLOCK.now(),
                )
            )
        self.vm_ids.append(vm_id)
        self.contents[vm_id] = content
        return vm_id

    # -- runs -----------------------------------------------------------------------------------

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.database)

    def backup_request(self, vm_id: str | None = None, **values: Any) -> RunRequest:
        vm_id = vm_id or self.vm_ids[0]
        return RunRequest(
            **{
                "kind": RunKind.BACKUP,
                "request": {"backup_type": "incremental"},
                "vm_id": vm_id,
                "platform_id": self.platform_id,
                "repository_id": self.repository_id,
                "backup_type": "incremental",
                "created_by": "test",
                **values,
            }
        )

    def repository_request(self, kind: RunKind, **request: Any) -> RunRequest:
        point_id = request.get("point_id")
        return RunRequest(
            kind=kind, request=request, repository_id=self.repository_id, point_id=point_id
        )

    def submit_backup(self, vm_id: str | None = None, **values: Any) -> str:
        return self.jobs.submit(self.backup_request(vm_id, **values)).run.id

    def run(self, run_id: str) -> Run:
        with self.database.reading() as session:
            run = session.get(Run, run_id)
            assert run is not None
            session.expunge(run)
            return run

    def await_run(
        self, run_id: str, until: Callable[[Run], bool] | None = None, timeout_s: float = 120.0
    ) -> Run:
        """Wait until the run has ended, or for what `until` says."""
        wanted = until or (lambda run: run.state in FINAL)
        deadline = time.monotonic() + timeout_s
        while True:
            run = self.run(run_id)
            if wanted(run):
                return run
            shown = (run.state, run.phase, run.error_code, run.error_message, run.attempt)
            assert time.monotonic() < deadline, f"run {run_id} stays {shown}"
            time.sleep(0.02)

    def await_hanging_mover(self, timeout_s: float = 120.0) -> None:
        """Until a mover of a worker in this process hangs at a failpoint: waits in pause(2)."""
        deadline = time.monotonic() + timeout_s
        while not any(is_paused(pid) for pid in children_of(os.getpid())):
            assert time.monotonic() < deadline, "no mover hangs"
            time.sleep(0.02)

    def await_stopped_mover(self, worker_pid: int | None = None, timeout_s: float = 120.0) -> int:
        """Until a mover stopped itself at a failpoint; its process id. SIGCONT lets it go on."""
        deadline = time.monotonic() + timeout_s
        while True:
            for pid in children_of(worker_pid or os.getpid()):
                if state_of(pid) == "T":
                    return pid
            assert time.monotonic() < deadline, "no mover stops"
            time.sleep(0.02)

    def await_log(self, run_id: str, text: str, timeout_s: float = 120.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not any(text in line for line in self.log_of(run_id)):
            assert time.monotonic() < deadline, self.log_of(run_id)
            time.sleep(0.02)

    def log_of(self, run_id: str) -> list[str]:
        """Level and message of each line, oldest first."""
        query = select(LogEntry).where(LogEntry.run_id == run_id).order_by(LogEntry.seq)
        with self.database.reading() as session:
            return [f"{line.level}: {line.message}" for line in session.scalars(query)]

    def set_limits(self, **values: int) -> None:
        with self.database.writing() as session:
            session.merge(Setting(key=LIMITS_KEY, value=values, changed_at=CLOCK.now()))

    # -- the repository -------------------------------------------------------------------------

    @property
    def credential(self) -> Credential:
        return CREDENTIAL

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.folder / "repository")

    def open(self) -> OpenedRepository:
        return OpenedRepository.open(self.store, CREDENTIAL)

    def points_of_run(self, run_id: str) -> list[str]:
        return [point.id for point in self.open().points() if point.manifest.run_id == run_id]

    # -- workers --------------------------------------------------------------------------------

    def settings(self, name: str = "worker", **values: Any) -> WorkerSettings:
        mover = MoverSettings(
            scratch_root=self.folder / "scratch",
            cache_root=self.folder / "cache",
            **values.pop("mover", {}),
        )
        return WorkerSettings(
            **{
                "state_root": self.folder / f"state-{name}",
                "mover": mover,
                "name": name,
                "poll_s": 0.05,
                "heartbeat_s": 0.2,
                **values,
            }
        )

    @contextmanager
    def worker(
        self, name: str = "worker", *, on_finished: Sequence[OnFinished] = (), **values: Any
    ) -> Generator[Worker]:
        """One in a thread of this process, stopped in an orderly way at the end."""
        worker = Worker(
            self.database, FarmSecrets(), self.settings(name, **values), on_finished=on_finished
        )
        stop = threading.Event()
        thread = threading.Thread(target=worker.run, args=(stop,), name=name)
        thread.start()
        try:
            yield worker
        finally:
            stop.set()
            worker.wake()
            thread.join(timeout=30)
            assert not thread.is_alive(), "the worker did not stop"

    def start_worker(
        self, name: str, *, environment: Mapping[str, str] | None = None, **values: Any
    ) -> WorkerProcess:
        order = {"url": self.database_url, "folder": str(self.folder), "name": name, **values}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.run_farm", json.dumps(order)],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"{name}.log").open("ab"),
            env={**os.environ, **(environment or {})},
        )
        return WorkerProcess(process=process)


@dataclass(kw_only=True)
class WorkerProcess:
    process: subprocess.Popen[bytes]

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """In an orderly way; its exit status."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(timeout=120)


_PAUSE = "34"


def is_paused(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/syscall").read_text().split()[0] == _PAUSE
    return False


def state_of(pid: int) -> str:
    """As in proc(5): `T` for stopped; empty when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def children_of(parent: int) -> list[int]:
    """Living child processes, of every thread."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, ppid = path.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.append(int(path.parent.name))
    return found


def main() -> None:
    """A worker process of a farm."""
    order = json.loads(sys.argv[1])
    farm = Farm(
        folder=Path(order.pop("folder")),
        database_url=order["url"],
        database=Database.open(order.pop("url")),
        repository_id="",
        platform_id="",
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    worker = Worker(farm.database, FarmSecrets(), farm.settings(**order))
    worker.run(stop)


if __name__ == "__main__":
    main()
