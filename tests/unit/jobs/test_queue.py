"""The queue in the catalogue, on SQLite in memory's speed; PostgreSQL in tests/integration/jobs."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.catalog.changes import newest_revision, revisions_after
from holdfast.catalog.database import Database
from holdfast.catalog.models import Base, Worker
from holdfast.catalog.resources import (
    Limits,
    WorkerIdentity,
    beat,
    claim_next,
    give_back,
    held_run,
    list_workers,
    register_worker,
    release_places,
    take_over,
)
from holdfast.catalog.runs import (
    RunEnded,
    RunNotRetryable,
    RunRequest,
    RunTakenOver,
    move_run,
)
from holdfast.core.clock import SystemClock
from holdfast.jobs.queueing import Jobs
from holdfast.policy.run_states import RunKind, RunState

CLOCK = SystemClock()
LIMITS = Limits(platform_limit=1, repository_limit=1)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database.open(f"sqlite:///{tmp_path / 'catalogue.db'}")
    Base.metadata.create_all(opened.engine)
    return opened


def restore(**values: object) -> RunRequest:
    return RunRequest(**{"kind": RunKind.RESTORE_DISK, **values})  # type: ignore[arg-type]


def register(database: Database, id: str = "w", slots: int = 10) -> WorkerIdentity:
    with database.writing() as session:
        return register_worker(
            session, id=id, host="h", pid=1, version="0", slots=slots, clock=CLOCK
        )


def claim(database: Database, worker: WorkerIdentity, limits: Limits = LIMITS) -> str | None:
    with database.writing() as session:
        run = claim_next(session, worker, limits, CLOCK)
        return run.id if run else None


def end(database: Database, run_id: str, worker: WorkerIdentity, generation: int = 1) -> None:
    with database.writing() as session:
        run = held_run(session, run_id, worker, generation)
        move_run(session, run, RunState.COMPLETED, CLOCK)
        release_places(session, run_id)


class TestSubmit:
    def test_the_same_twice_is_one_run(self, database: Database) -> None:
        jobs = Jobs(database)
        request = RunRequest(kind=RunKind.BACKUP, vm_id=None, exclusive_key="vm:1")
        first, second = jobs.submit(request), jobs.submit(request)
        assert (first.existing, second.existing) == (False, True)
        assert first.run.id == second.run.id

    def test_many_at_the_same_moment_are_one_run(self, database: Database) -> None:
        jobs = Jobs(database)
        start = threading.Barrier(8)
        found: list[tuple[str, bool]] = []

        def submit() -> None:
            start.wait()
            done = jobs.submit(RunRequest(kind=RunKind.BACKUP, exclusive_key="vm:1"))
            found.append((done.run.id, done.existing))

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({run_id for run_id, _ in found}) == 1
        assert sorted(existing for _, existing in found) == [False] + [True] * 7

    def test_after_the_end_it_can_be_asked_for_again(self, database: Database) -> None:
        jobs, worker = Jobs(database), register(database)
        request = RunRequest(kind=RunKind.BACKUP, exclusive_key="vm:1")
        first = jobs.submit(request).run.id
        assert claim(database, worker) == first
        end(database, first, worker)
        assert jobs.submit(request).existing is False


class TestOrder:
    def test_priority_then_age(self, database: Database) -> None:
        jobs, worker = Jobs(database), register(database)
        ids = [jobs.submit(restore(priority=priority)).run.id for priority in (0, 5, 0, 5)]
        taken = [claim(database, worker) for _ in ids]
        assert taken == [ids[1], ids[3], ids[0], ids[2]]
        assert claim(database, worker) is None

    def test_not_before_its_time(self, database: Database) -> None:
        jobs, worker = Jobs(database), register(database)
        run_id = jobs.submit(restore()).run.id
        assert claim(database, worker) == run_id
        with database.writing() as session:
            run = held_run(session, run_id, worker, 1)
            give_back(session, run, "failed", CLOCK)
            run.not_before = CLOCK.now() + timedelta(minutes=1)
        assert claim(database, worker) is None

    def test_slots_of_the_worker(self, database: Database) -> None:
        jobs, worker = Jobs(database), register(database, slots=1)
        for _ in range(2):
            jobs.submit(restore())
        first = claim(database, worker)
        assert first is not None
        assert claim(database, worker) is None
        end(database, first, worker)
        assert claim(database, worker) is not None


class TestWatching:
    def test_every_change_has_a_revision_of_its_own(self, database: Database) -> None:
        jobs, worker = Jobs(database), register(database)
        ids = [jobs.submit(restore()).run.id for _ in range(3)]
        with database.reading() as session:
            seen = revisions_after(session, 0)
            assert sorted(seen, key=lambda run_id: seen[run_id]) == ids
            assert newest_revision(session) == max(seen.values())
            assert len(set(seen.values())) == 3
        claim(database, worker)
        with database.reading() as session:
            now = revisions_after(session, 0)
        assert now == {**seen, ids[0]: max(seen.values()) + 1}


class TestCancel:
    def test_a_waiting_run_at_once(self, database: Database) -> None:
        jobs = Jobs(database)
        run_id = jobs.submit(restore(exclusive_key="x")).run.id
        run = jobs.cancel(run_id, "by me")
        assert (run.state, run.cancel_reason, run.exclusive_key) == ("cancelled", "by me", None)
        with pytest.raises(RunEnded):
            jobs.cancel(run_id, "again")

    def test_a_running_one_is_asked_and_stays_running(self, database: Database) -> None:
        jobs, worker = Jobs(database), register(database)
        run_id = jobs.submit(restore()).run.id
        claim(database, worker)
        first = jobs.cancel(run_id, "by me")
        second = jobs.cancel(run_id, "by another")
        assert (second.state, second.cancel_reason) == ("running", "by me")
        assert first.cancel_requested_at == second.cancel_requested_at


class TestRetry:
    def test_only_what_did_not_succeed(self, database: Database) -> None:
        jobs, worker = Jobs(database), register(database)
        request = restore(request={"point_id": "p"}, priority=3, vm_name="web")
        run_id = jobs.submit(request).run.id
        with pytest.raises(RunNotRetryable):
            jobs.retry(run_id, "me")
        jobs.cancel(run_id, "by me")
        again = jobs.retry(run_id, "me").run
        assert (again.retry_of, again.state, again.priority) == (run_id, "pending", 3)
        assert (again.request, again.vm_name, again.created_by) == ({"point_id": "p"}, "web", "me")
        claim(database, worker)
        end(database, again.id, worker)
        with pytest.raises(RunNotRetryable):
            jobs.retry(again.id, "me")


class TestTakeOver:
    def _row(self, database: Database, id: str) -> Worker:
        with database.reading() as session:
            row = next(row for row in list_workers(session) if row.id == id)
            session.expunge(row)
            return row

    def test_exactly_once(self, database: Database) -> None:
        jobs, dead = Jobs(database), register(database, "dead")
        run_id = jobs.submit(restore()).run.id
        assert claim(database, dead) == run_id
        row = self._row(database, "dead")
        with database.writing() as session:
            assert take_over(session, row, CLOCK) == [run_id]
        with database.writing() as session:
            assert take_over(session, row, CLOCK) == []

    def test_not_of_one_that_showed_a_sign_of_life(self, database: Database) -> None:
        jobs, worker = Jobs(database), register(database, "slow")
        jobs.submit(restore())
        claim(database, worker)
        row = self._row(database, "slow")
        with database.writing() as session:
            assert beat(session, worker, CLOCK, stopping=False)
        with database.writing() as session:
            assert take_over(session, row, CLOCK) == []

    def test_the_old_one_is_refused_whatever_it_does(self, database: Database) -> None:
        jobs, zombie = Jobs(database), register(database, "zombie")
        run_id = jobs.submit(restore()).run.id
        claim(database, zombie)
        with database.writing() as session:
            take_over(session, self._row(database, "zombie"), CLOCK)
        survivor = register(database, "survivor")
        assert claim(database, survivor) == run_id
        with database.writing() as session, pytest.raises(RunTakenOver):
            held_run(session, run_id, zombie, 1)
        with pytest.raises(RunTakenOver):
            claim(database, zombie)
        with database.writing() as session:
            assert not beat(session, zombie, CLOCK, stopping=False)
        end(database, run_id, survivor, generation=3)

    def test_a_worker_started_again_has_no_runs(self, database: Database) -> None:
        jobs, first = Jobs(database), register(database, "w")
        run_id = jobs.submit(restore()).run.id
        claim(database, first)
        second = register(database, "w")
        assert second.generation == first.generation + 1
        with database.writing() as session, pytest.raises(RunTakenOver):
            held_run(session, run_id, first, 1)
        assert claim(database, second) == run_id
