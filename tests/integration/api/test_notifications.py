"""Messages, delivered over HTTP to a server of this test; their addresses stay secret."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from holdfast.api.upkeep import retry_messages, watch
from holdfast.catalog.models import Repository, Run, VirtualMachine
from holdfast.jobs.notifications import Notifications
from holdfast.policy.access import Role
from tests.support.http_sink import Sink, run_sink
from tests.support.place import Place
from tests.support.service import TestService, everywhere, problem_of

CANARY = "canary-webhook-0451"
RUN = {
    "kind": "backup",
    "vm_name": "web",
    "state": "failed",
    "error_code": "disk_full",
    "error_message": "the disk is full",
    "error_hint": "make room",
    "stored_bytes": 0,
    "read_bytes": 0,
}


@pytest.fixture
def sink() -> Generator[Sink]:
    with run_sink() as running:
        yield running


@pytest.fixture
def root(service: TestService) -> TestClient:
    return service.administrator()


def add(root: TestClient, sink: Sink, *events: str, name: str = "ops", **more: Any) -> Any:
    url = f"json://anna:{CANARY}@127.0.0.1:{sink.port}/hook"
    body = {"name": name, "url": url, "events": events, **more}
    answer = root.post("/api/v1/notifications", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def told(service: TestService, *pauses_s: float) -> Notifications:
    context = service.context
    return Notifications(context.database, context.sealing, context.clock, pauses_s=pauses_s)


def run(**values: Any) -> Run:
    return Run(id="run-1", **{**RUN, **values})


def test_the_test_button_delivers(service: TestService, root: TestClient, sink: Sink) -> None:
    made = add(root, sink)
    assert (made["service"], made["last_sent_at"]) == ("json", None)
    answer = root.post(f"/api/v1/notifications/{made['id']}/test").json()
    assert answer["ok"], answer
    [(path, authorization, message)] = sink.requests
    assert path == "/hook" and authorization.startswith("Basic ")
    assert message["title"] == "Holdfast: test message"
    sink.status = 500
    answer = root.post(f"/api/v1/notifications/{made['id']}/test").json()
    assert not answer["ok"] and answer["message"]
    [listed] = root.get("/api/v1/notifications").json()["items"]
    assert listed["last_sent_at"] and listed["last_error"] == answer["message"]


def test_runs_that_fail_are_told_to_who_wants_to_know(
    service: TestService, root: TestClient, sink: Sink
) -> None:
    add(root, sink, "backup_failed", "integrity_problem", "restore_failed")
    add(root, sink, "backup_failed", name="off", enabled=False)
    tell = told(service)
    tell(run())
    [(_, _, message)] = sink.requests
    assert message["title"] == "Holdfast: backup of web failed"
    assert "the disk is full" in message["message"] and "make room" in message["message"]
    tell(run(state="completed", error_message="", error_hint=""))
    tell(run(state="cancelled"))
    assert len(sink.requests) == 1, "nobody asked for those"
    tell(run(kind="verify", error_code="damage_found"))
    tell(run(kind="restore_vm"))
    assert [item[2]["title"].partition(": ")[2] for item in sink.requests[1:]] == [
        "damage was found in a repository",
        "restore of web failed",
    ]


def test_it_tries_again_and_remembers_that_it_failed(
    service: TestService, root: TestClient, sink: Sink
) -> None:
    made = add(root, sink, "backup_failed")
    sink.status = 503
    told(service, 0.0, 0.0)(run())
    assert len(sink.requests) == 3
    [listed] = root.get("/api/v1/notifications").json()["items"]
    assert listed["id"] == made["id"] and "did not take it" in listed["last_error"]


def test_what_was_not_delivered_is_tried_again_after_a_restart(
    service: TestService, root: TestClient, sink: Sink
) -> None:
    made = add(root, sink, "backup_failed")
    sink.status = 503
    told(service)(run())
    [listed] = root.get("/api/v1/notifications").json()["items"]
    assert listed["waiting"] == 1 and "it is tried again at" in listed["last_error"]
    # Another process, with nothing of this one but the database.
    assert retry_messages(service.context) == 0 and len(sink.requests) == 1, "not before its time"
    service.clock.ahead += timedelta(seconds=61)
    assert retry_messages(service.context) == 0 and len(sink.requests) == 2
    sink.status = 200
    service.clock.ahead += timedelta(minutes=6)
    assert retry_messages(service.context) == 1
    assert sink.requests[2][2]["title"] == "Holdfast: backup of web failed"
    [listed] = root.get("/api/v1/notifications").json()["items"]
    assert (listed["waiting"], listed["last_error"]) == (0, "") and listed["last_sent_at"]
    # One that never gets through is given up after a day, and said so.
    sink.status = 500
    told(service)(run())
    for _ in range(10):
        service.clock.ahead += timedelta(hours=19)
        retry_messages(service.context)
    assert len(sink.requests) == 3 + 1 + 6
    root = service.administrator("later")
    [listed] = root.get("/api/v1/notifications").json()["items"]
    assert listed["waiting"] == 0 and "given up" in listed["last_error"]
    # One whose target is gone is nobody's.
    told(service)(run())
    root.delete(f"/api/v1/notifications/{made['id']}")
    service.clock.ahead += timedelta(hours=19)
    asked = len(sink.requests)
    assert retry_messages(service.context) == 0 and len(sink.requests) == asked


def test_the_address_is_write_only(service: TestService, root: TestClient, sink: Sink) -> None:
    made = add(root, sink, "backup_failed")
    path = f"/api/v1/notifications/{made['id']}"
    body = {"name": "renamed", "events": ["backup_completed"], "enabled": False}
    answers = [root.patch(path, json=body), root.get("/api/v1/notifications")]
    answers += [root.post(f"{path}/test"), root.get("/api/v1/audit")]
    assert all(answer.status_code == 200 for answer in answers)
    assert sink.requests, "the address was kept"
    assert all(CANARY not in answer.text for answer in answers)
    database = service.context.settings.database_url
    if database.startswith("sqlite"):
        for file in service.context.settings.state_root.glob("holdfast.db*"):
            assert CANARY.encode() not in file.read_bytes()
    assert root.delete(path).status_code == 204
    assert problem_of(root.delete(path))["code"] == "not_found"


@pytest.mark.parametrize(
    "url",
    ["nonsense", "nonsense://x", "dbus://", "syslog://", "json://127.0.0.1:1, dbus://", "json://"],
)
def test_what_is_no_address_is_refused_without_repeating_it(root: TestClient, url: str) -> None:
    body = {"name": "x", "url": f"{url}?{CANARY}", "events": []}
    answer = root.post("/api/v1/notifications", json=body)
    assert answer.status_code == 422 and CANARY not in answer.text
    assert problem_of(answer)["params"]["what"] == "url"


def test_without_an_address_or_with_a_taken_name(root: TestClient, sink: Sink) -> None:
    add(root, sink)
    body = {"name": "ops", "events": []}
    assert problem_of(root.post("/api/v1/notifications", json=body))["params"]["what"] == "url"
    url = f"json://127.0.0.1:{sink.port}"
    taken = root.post("/api/v1/notifications", json={**body, "url": url})
    assert problem_of(taken)["code"] == "name_taken"
    unknown = root.post("/api/v1/notifications", json={**body, "url": url, "events": ["x"]})
    assert problem_of(unknown)["code"] == "invalid_request"


def test_only_who_manages_the_service_comes_near(service: TestService) -> None:
    operator = service.browser(service.add_user("op", everywhere(Role.OPERATOR)))
    assert problem_of(operator.get("/api/v1/notifications"))["code"] == "not_allowed"


def test_conditions_are_told_once_and_again_when_they_come_back(stocked: Place) -> None:
    events = ["repository_offline", "repository_nearly_full", "vm_unprotected"]
    with run_sink() as sink:
        body = {"name": "ops", "url": f"json://127.0.0.1:{sink.port}", "events": events}
        stocked.post("/notifications", body, 201)
        _set_space(stocked, available=50)
        assert watch(stocked.context) == []
        aside = stocked.repository.with_name("aside")
        stocked.repository.rename(aside)
        [message] = watch(stocked.context)
        assert message.event == "repository_offline" and "Main" in message.body
        assert stocked.get("/repositories")["repositories"][0]["state"] == "offline"
        assert watch(stocked.context) == []
        aside.rename(stocked.repository)
        assert watch(stocked.context) == []
        assert stocked.get("/repositories")["repositories"][0]["state"] == "online"
        with stocked.context.database.writing() as session:
            [vm] = session.query(VirtualMachine).all()
            vm.added_at -= timedelta(days=9)
            vm.last_backup_at = vm.added_at
        _set_space(stocked, available=1)
        assert [item.event for item in watch(stocked.context)] == events[1:]
        assert len(sink.requests) == 3


def _set_space(place: Place, *, available: int) -> None:
    """Of a hundred bytes, however full the disk of this machine is."""
    with place.context.database.writing() as session:
        [repository] = session.query(Repository).all()
        repository.available_bytes, repository.total_bytes = available, 100
