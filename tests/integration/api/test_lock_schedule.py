"""When the service itself renews the locks of immutable repositories."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from holdfast.api.upkeep import renew_locks
from holdfast.catalog.models import Repository, Run
from holdfast.catalog.runs import find_run, lock_runs, move_run
from holdfast.jobs.notifications import message_of
from holdfast.policy.run_states import RunState
from tests.support.service import TestService

ROWS = (("vault", 7, "online"), ("open", 0, "online"), ("away", 7, "offline"))


@pytest.fixture(autouse=True)
def repositories(service: TestService) -> None:
    with service.context.database.writing() as session:
        for name, days, state in (
            ("vault", 7, "online"),
            ("open", 0, "online"),
            ("away", 7, "offline"),
        ):
            session.add(
                Repository(
                    id=name,
                    name=name,
                    kind="local",
                    location=f"/{name}",
                    settings={},
                    chunk_bytes=4096,
                    created_at=service.clock.now(),
                    state=state,
                    immutable_days=days,
                    damaged_points=[],
                )
            )


def test_every_day_and_sooner_after_a_failure(service: TestService) -> None:
    [first] = renew_locks(service.context)
    assert renew_locks(service.context) == [], "it is queued already"
    run = end(service, first, RunState.COMPLETED)
    assert (run.kind, run.repository_id, run.created_by) == ("lock", "vault", "service")
    service.clock.ahead += timedelta(hours=23)
    assert renew_locks(service.context) == []
    service.clock.ahead += timedelta(hours=2)
    [second] = renew_locks(service.context)
    failed = end(service, second, RunState.FAILED)
    message = message_of(failed)
    assert message is not None
    assert (message.event, message.bad) == ("integrity_problem", True)
    assert "locks" in message.title
    service.clock.ahead += timedelta(hours=3)
    assert renew_locks(service.context) == []
    service.clock.ahead += timedelta(hours=2)
    assert len(renew_locks(service.context)) == 1


def test_of_several_processes_one_queues_it(service: TestService) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: renew_locks(service.context), range(8)))
    assert sum(map(len, found)) == 1


def end(service: TestService, run_id: str, state: RunState) -> Run:
    with service.context.database.writing() as session:
        lock_runs(session)
        run = find_run(session, run_id)
        run.started_at = service.clock.now()
        move_run(session, run, state, service.clock, message="")
        session.flush()
        session.expunge(run)
    return run
