"""Workers that die, sleep, or are many: every run ends once and makes one point."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from holdfast.catalog.models import ResourceLease, Run, RunTransition, Worker
from holdfast.catalog.runs import ACTIVE
from holdfast.core.units import MIB
from holdfast.policy.run_states import RunKind
from tests.support.oracle import assert_repository_sound
from tests.support.run_farm import Farm, WorkerProcess, children_of

KILLS = int(os.environ.get("HOLDFAST_TEST_WORKER_KILLS", "8"))
QUICK: dict[str, Any] = {
    "slots": 3,
    "stale_s": 1.5,
    "mover": {"keepalive_s": 0.8, "stop_s": 0.4},
}
"""A worker is dead after 1.5 s; its movers have ended by then."""


def stopping() -> dict[str, str]:
    """A mover stops in the middle of its bytes, so that it is certainly there."""
    return {"HOLDFAST_FAILPOINTS": "pack.before_put:stop:2"}


def ids_of_runs(farm: Farm) -> list[str]:
    with farm.database.reading() as session:
        return list(session.scalars(select(Run.id).where(Run.kind == RunKind.BACKUP.value)))


def await_busy_worker(farm: Farm, workers: Mapping[str, WorkerProcess], dice: random.Random) -> str:
    """The name of a worker that has a run in its present life."""
    pids = {worker.process.pid: name for name, worker in workers.items()}
    deadline = time.monotonic() + 120
    while True:
        with farm.database.reading() as session:
            busy = session.scalars(
                select(Worker.pid)
                .join(Run, Run.worker_id == Worker.id)
                .where(Run.state == "running", Worker.pid.in_(pids))
            ).all()
        if busy:
            return pids[dice.choice(busy)]
        assert time.monotonic() < deadline, "no worker takes a run"
        time.sleep(0.02)


def put_to_sleep(farm: Farm, worker: WorkerProcess) -> None:
    """Not while it holds SQLite's one write lock, which nobody but itself could give back."""
    while True:
        worker.signal(signal.SIGSTOP)
        if not farm.database.is_sqlite:
            return
        with sqlite3.connect(str(farm.database.engine.url.database), timeout=0.2) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                worker.signal(signal.SIGCONT)
                continue
            connection.rollback()
            return


def await_quiet(farm: Farm, timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with farm.database.reading() as session:
            active = session.execute(
                select(Run.id, Run.state, Run.phase, Run.error_code).where(Run.state.in_(ACTIVE))
            ).all()
        if not active:
            return
        assert time.monotonic() < deadline, active
        time.sleep(0.1)


def assert_each_ended_once(farm: Farm) -> None:
    """Completed, by one move, with the one point that the repository has of it."""
    points = Counter(point.manifest.run_id for point in farm.open().points())
    acknowledged: dict[str, dict[str, bytes]] = {}
    for run_id in ids_of_runs(farm):
        run = farm.run(run_id)
        assert run.state == "completed", (run.error_code, run.error_message)
        assert points.pop(run_id) == 1
        content = farm.contents[str(run.vm_id)]
        acknowledged[str(run.point_id)] = {f"{run.vm_name}.raw": content}
    assert not points, "points of no run"
    with farm.database.reading() as session:
        ends = session.scalars(
            select(func.count())
            .select_from(RunTransition)
            .where(RunTransition.after == "completed")
            .group_by(RunTransition.run_id)
        ).all()
        assert set(ends) == {1}
        assert session.scalars(select(ResourceLease)).all() == []
    assert_repository_sound(farm.store, farm.credential, acknowledged, no_writer=True)


class TestKilledWorkers:
    def test_at_random_moments(self, tmp_path: Path, database_url: str) -> None:
        farm = Farm.create(tmp_path, database_url, vms=6, size_bytes=4 * MIB)
        farm.set_limits(retry_delay_seconds=0, retry_attempts=20)
        dice = random.Random(database_url[:6])
        names = ["a", "b"]
        workers = {name: farm.start_worker(name, **QUICK) for name in names}
        try:
            for _ in range(KILLS):
                for vm_id in farm.vm_ids:
                    farm.submit_backup(vm_id)  # the running one, where there is one
                name = await_busy_worker(farm, workers, dice)
                time.sleep(dice.uniform(0, 0.8))  # the moment is what the test varies
                workers[name].kill()
                workers[name] = farm.start_worker(name, **QUICK)
            await_quiet(farm)
        finally:
            for worker in workers.values():
                worker.kill()
        assert_each_ended_once(farm)
        with farm.database.reading() as session:
            lost = session.scalar(
                select(func.count())
                .select_from(RunTransition)
                .where(RunTransition.message.startswith("its worker"))
            )
        print(f"{len(ids_of_runs(farm))} runs, {lost} attempts lost to {KILLS} kills")
        assert lost

    def test_the_survivor_takes_over_though_nobody_starts_it_again(
        self, tmp_path: Path, database_url: str
    ) -> None:
        farm = Farm.create(tmp_path, database_url, size_bytes=64 * MIB)
        dead = farm.start_worker("dead", environment=stopping(), **QUICK)
        run_id = farm.submit_backup()
        try:
            farm.await_stopped_mover(dead.process.pid)
        finally:
            dead.kill()
        with farm.worker("survivor", stale_s=1.5):
            run = farm.await_run(run_id)
        assert (run.state, run.attempt) == ("completed", 2)
        assert_each_ended_once(farm)


class TestZombie:
    def test_a_worker_that_slept_is_refused_and_its_mover_has_ended(
        self, tmp_path: Path, database_url: str
    ) -> None:
        farm = Farm.create(tmp_path, database_url, size_bytes=96 * MIB)
        farm.set_limits(retry_delay_seconds=0, retry_attempts=20)
        # The third pack is of the first backup; the last one stores nothing new.
        hanging = {"HOLDFAST_FAILPOINTS": "pack.before_put:hang:3"}
        zombie = farm.start_worker("zombie", environment=hanging, **QUICK)
        try:
            run_id = farm.submit_backup()
            farm.await_run(run_id, lambda run: run.done_bytes > 0)
            put_to_sleep(farm, zombie)
            with farm.worker("survivor", stale_s=1.5) as survivor:
                farm.await_run(run_id, lambda run: run.worker_id == survivor.id)
                assert children_of(zombie.process.pid) == []
                zombie.signal(signal.SIGCONT)
                run = farm.await_run(run_id)
            assert run.attempt >= 2
            # It lives on, in a new life, and works.
            again = farm.await_run(farm.submit_backup())
            assert again.state == "completed"
        finally:
            status = zombie.stop()
        assert status == 0
        assert_each_ended_once(farm)


class TestStopAndStart:
    def test_what_ran_goes_on_after_a_restart(self, tmp_path: Path, database_url: str) -> None:
        farm = Farm.create(tmp_path, database_url, size_bytes=96 * MIB)
        run_id = farm.submit_backup()
        worker = farm.start_worker("w", environment=stopping(), **QUICK)
        try:
            farm.await_stopped_mover(worker.process.pid)
            status = worker.stop()
        finally:
            worker.kill()
        assert status == 0
        run = farm.run(run_id)
        assert (run.state, run.failures) == ("pending", 0)
        with farm.worker("w"):
            run = farm.await_run(run_id)
        assert (run.state, run.attempt) == ("completed", 2)
        assert_each_ended_once(farm)


class TestLimits:
    def test_never_more_at_once_than_allowed(self, tmp_path: Path, database_url: str) -> None:
        farm = Farm.create(tmp_path, database_url, vms=8)
        farm.set_limits(platform_limit=2, repository_limit=3)
        most: Counter[str] = Counter()
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                with farm.database.reading() as session:
                    running = session.scalars(select(Run).where(Run.state == "running")).all()
                    backups = sum(run.kind == "backup" for run in running)
                    most["all"] = max(most["all"], len(running))
                    most["platform"] = max(most["platform"], backups)
                time.sleep(0.01)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            with farm.worker("a", slots=8), farm.worker("b", slots=8):
                ids = [farm.submit_backup(vm_id) for vm_id in farm.vm_ids]
                for _ in range(4):
                    missing = farm.repository_request(RunKind.RESTORE_DISK, point_id="x", disk="d")
                    farm.jobs.submit(missing)
                for run_id in ids:
                    farm.await_run(run_id, timeout_s=60)
                await_quiet(farm)
        finally:
            stop.set()
            watcher.join()
        assert most["platform"] == 2
        assert most["all"] <= 3
