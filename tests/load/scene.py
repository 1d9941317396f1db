"""What the load consists of and what is measured. Enter at `put_under_load`."""

from __future__ import annotations

import random
import statistics
import subprocess
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from holdfast.catalog.database import Database
from holdfast.catalog.models import VirtualMachine
from holdfast.core.clock import SystemClock
from holdfast.core.ids import uuid7
from tests.load.cpu_times import CpuTimes
from tests.support.live_events import ManyListeners
from tests.support.running_service import (
    RunningService,
    base_environment,
    command,
    run_service,
)
from tests.support.service_lab import ServiceLab, furnish, post

CLOCK = SystemClock()
BACKUPS = 4
_OF_ONE_TOKEN = 40
_THREADS = 4
_FIRST_PRIORITY = 10
_PATHS = (
    "/overview",
    "/vms?limit=50",
    "/backup/list?limit=50",
    "/runs?limit=50",
    "/logs?limit=100",
    "/monitoring",
    "/repositories",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    queued: int
    clients: int
    seconds: float
    """Of requests while four backups run."""
    disk_bytes: int
    pause_s: float = 0.05
    """Between two requests of each of the four threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    queueing_ms: list[float]
    """Of each request that queued a run."""
    requests_ms: Mapping[str, list[float]]
    """By path, while four backups ran."""
    events_ms: list[float]
    """From the service's look at a run to the client."""
    cpu_s: Mapping[str, float]
    """Spent while requests were made, by who spent it; of the client of the requests, and of
    the event clients, too: they share the host's cores."""
    running: int
    """Backups that ran before and after all of these requests."""
    pending: int
    """Runs in the queue at the end."""
    deaf: int
    """Clients that did not hear of all running backups."""

    @property
    def all_ms(self) -> list[float]:
        return [value for values in self.requests_ms.values() for value in values]


def put_under_load(folder: Path, load: Load, *, held: bool = False) -> Found:
    """`held`: the movers stop in the middle of their bytes, so that small disks last."""
    state = folder / "state"
    with run_service(state, environment={"HOLDFAST_LOG_LEVEL": "info"}) as service:
        lab = furnish(service, folder, {f"busy{number}": 4096 for number in range(BACKUPS)})
        tokens = [
            post(lab.http, "/tokens", name=f"t{number}", grants=[{"role": "viewer"}])["token"]
            for number in range(1 + load.clients // _OF_ONE_TOKEN)
        ]
        names = [*lab.vm_ids, *_add_vms(state, lab, load.queued)]
        for name in lab.vm_ids:
            _grow(folder / "images" / f"{name}.raw", load.disk_bytes)
        listening = [tokens[number % len(tokens)] for number in range(load.clients)]
        queueing_ms = [_queue(lab, name) for name in names]
        listeners = ManyListeners(service, listening)
        with listeners, _worker(state, held=held) as worker:
            running = _await_running(lab)
            spent = CpuTimes(service.process.pid, worker, listeners.pid)
            requests_ms = _ask(service, tokens[0], load)
            cpu_s = spent.since()
            after = _running(lab)
            monitoring = lab.get("/monitoring")
        service.stop()
    return Found(
        queueing_ms=queueing_ms,
        requests_ms=requests_ms,
        events_ms=[1000 * delay for one in listeners.heard for delay in one.delays_s],
        cpu_s=cpu_s,
        running=len(running & after),
        pending=monitoring["pending_total"],
        deaf=sum(not running <= one.runs for one in listeners.heard),
    )


@contextmanager
def _worker(state: Path, *, held: bool) -> Generator[int]:
    """Its process id."""
    environment = base_environment(state)
    if held:
        environment["HOLDFAST_FAILPOINTS"] = "pack.before_put:stop:2"
    with state.with_name("worker.log").open("ab") as log:
        process = subprocess.Popen(
            [*command(), "worker", "--slots", str(BACKUPS)], env=environment, stderr=log
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _add_vms(state: Path, lab: ServiceLab, count: int) -> list[str]:
    """VMs that are never reached: their backups wait."""
    names = [f"waiting{number:04}" for number in range(count)]
    database = Database.open(f"sqlite:///{state}/holdfast.db")
    with database.writing() as session:
        for name in names:
            session.add(
                VirtualMachine(
                    id=str(uuid7(CLOCK)),
                    platform_id=lab.platform_id,
                    platform_identity="load",
                    platform_vm_id=f"/nonexistent/{name}",
                    name=name,
                    power="shut_off",
                    firmware="none",
                    vcpus=0,
                    memory_bytes=0,
                    size_bytes=0,
                    disks=[],
                    networks=[],
                    added_at=CLOCK.now(),
                )
            )
    database.close()
    return names


def _grow(path: Path, size: int) -> None:
    """Noise, a block at a time."""
    noise = random.Random(path.name)
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(noise.randbytes(min(1 << 20, size - file.tell())))


def _queue(lab: ServiceLab, name: str) -> float:
    started_s = time.perf_counter()
    lab.start_backup(name, priority=_FIRST_PRIORITY if name in lab.vm_ids else 0)
    return 1000 * (time.perf_counter() - started_s)


def _running(lab: ServiceLab) -> set[str]:
    return {run["id"] for run in lab.get("/monitoring")["running"]}


def _await_running(lab: ServiceLab) -> set[str]:
    deadline = time.monotonic() + 120
    while len(found := _running(lab)) < BACKUPS:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def _ask(service: RunningService, token: str, load: Load) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {path: [] for path in _PATHS}
    problems: list[str] = []
    end_s = time.perf_counter() + load.seconds

    def ask(number: int) -> None:
        dice = random.Random(number)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=60) as client:
            client.get("/overview")  # connects
            while time.perf_counter() < end_s:
                path = dice.choice(_PATHS)
                started_s = time.perf_counter()
                answer = client.get(path)
                taken[path].append(1000 * (time.perf_counter() - started_s))
                if answer.status_code != 200:
                    problems.append(f"{path}: {answer.text}")
                time.sleep(load.pause_s * dice.uniform(0.5, 1.5))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:3]
    return taken
