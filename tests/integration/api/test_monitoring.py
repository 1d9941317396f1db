"""What is going on, whether it works, and the figures for Prometheus."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from holdfast.catalog.models import Platform
from holdfast.catalog.resources import claim_next, read_limits, register_worker
from holdfast.catalog.runs import RunRequest, add_run
from holdfast.policy.access import Grant, Role
from holdfast.policy.run_states import RunKind
from tests.support.rows import add_vm_row
from tests.support.service import TestService, everywhere, problem_of, tagged


def queue_two_and_begin_one(service: TestService) -> None:
    """Two VMs with a backup each on a platform with one place, and a worker that took the first."""
    clock = service.clock
    with service.context.database.writing() as session:
        platform = Platform(
            id="p1",
            name="Lab",
            kind="images",
            identity="images:/srv/images",
            settings={"path": "/srv/images"},
            created_at=clock.now(),
        )
        session.add(platform)
        for name in ("vm-blue", "vm-red"):
            tag = "blue" if name == "vm-blue" else ""
            add_vm_row(session, name, clock.now(), platform_id="p1", tag=tag)
            wanted = RunRequest(kind=RunKind.BACKUP, vm_id=name, platform_id="p1")
            add_run(session, wanted, clock)
        worker = register_worker(
            session, id="host:w", host="host", pid=1, version="0", slots=2, clock=clock
        )
        limits = read_limits(session)
        assert claim_next(session, worker, limits, clock)


def test_running_and_waiting_runs_queues_workers_and_load(service: TestService) -> None:
    root = service.administrator()
    assert root.patch("/api/v1/settings", json={"platform_limit": 1}).status_code == 200
    assert root.get("/api/v1/settings").json()["platform_limit"] == 1
    queue_two_and_begin_one(service)
    found = root.get("/api/v1/monitoring").json()
    assert [run["vm_name"] for run in found["running"]] == ["vm-blue"]
    assert [run["vm_name"] for run in found["pending"]] == ["vm-red"]
    assert found["pending_total"] == 1
    [queue] = found["queues"]
    assert queue == {
        "resource": "platform:p1",
        "name": "Lab",
        "limit": 1,
        "running": 1,
        "waiting": 1,
    }
    [worker] = found["workers"]
    assert (worker["state"], worker["running"], worker["slots"]) == ("alive", 1, 2)
    host = found["host"]
    assert 0 < host["memory_used_bytes"] < host["memory_total_bytes"]
    assert host["cpu_count"] >= 1 and 0 <= host["cpu_percent"] <= 100
    service.clock.ahead = timedelta(minutes=5)
    [worker] = root.get("/api/v1/monitoring").json()["workers"]
    assert worker["state"] == "lost"
    blue = service.browser(service.add_user("blue", tagged(Role.VIEWER)))
    seen = blue.get("/api/v1/monitoring").json()
    assert (len(seen["running"]), seen["pending"], seen["pending_total"]) == (1, [], 0)


def test_health_in_detail(service: TestService) -> None:
    viewer = service.browser(service.add_user("v", everywhere(Role.VIEWER)))
    checks = viewer.get("/api/v1/system/health/detail").json()
    by_name = {check["name"]: check for check in checks["checks"]}
    assert checks["status"] == "degraded" and not by_name["workers"]["ok"]
    assert by_name["database"]["ok"] and by_name["repositories"]["ok"]
    queue_two_and_begin_one(service)
    with service.context.database.writing() as session:
        [platform] = session.query(Platform).all()
        platform.state = "unreachable"
    checks = viewer.get("/api/v1/system/health/detail").json()
    by_name = {check["name"]: check for check in checks["checks"]}
    assert by_name["workers"]["ok"]
    assert by_name["platforms"] == {
        "name": "platforms",
        "ok": False,
        "message": "unreachable: Lab",
    }
    assert service.anonymous().get("/api/v1/system/health").json() == {"status": "ok"}


def test_metrics_in_the_format_of_prometheus(service: TestService) -> None:
    assert problem_of(service.anonymous().get("/metrics"))["code"] == "not_signed_in"
    assert machine_of(service, tagged(Role.VIEWER)).get("/metrics").status_code == 403
    queue_two_and_begin_one(service)
    answer = machine_of(service, everywhere(Role.VIEWER)).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["holdfast_runs", ("backup", "running")] == 1
    assert found["holdfast_runs", ("backup", "pending")] == 1
    assert found["holdfast_queue_waiting", ("Lab", "platform:p1")] == 1
    assert found["holdfast_worker_running", ("host:w",)] == 1
    assert found["holdfast_vms", ("unprotected",)] == 2
    assert any(name == "holdfast_process_resident_memory_bytes" for name, _ in found)


def machine_of(service: TestService, grant: Grant) -> TestClient:
    user = service.add_user(f"m{len(grant.value)}", grant)
    return service.machine(service.token(user, grant))
