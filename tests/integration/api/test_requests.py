"""What surrounds every request: limits, headers, problem documents, repeated requests, pages."""

from __future__ import annotations

import base64
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from holdfast.api.gate import LONGEST_BODY
from holdfast.catalog.models import IdempotentRequest, User
from holdfast.policy.access import Role
from tests.support.service import ORIGIN, TestService, open_test_service, problem_of


def test_every_answer_carries_the_headers(service: TestService) -> None:
    for path in ("/", "/api/docs", "/api/v1/system/health", "/api/v1/nothing", "/nothing"):
        answer = service.anonymous().get(path)
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert "unsafe-inline" not in answer.headers["content-security-policy"].split("style")[0]
        assert answer.headers["x-request-id"]


def test_wrong_requests_say_which_field_and_never_repeat_a_secret(service: TestService) -> None:
    root = service.administrator()
    body = {"name": "UPPER", "password": "canary-short", "grants": "all", "surplus": 1}
    found = problem_of(root.post("/api/v1/users", json=body))
    assert found["code"] == "invalid_request"
    assert {field["field"] for field in found["fields"]} == {"name", "grants", "surplus"}
    answer = root.post("/api/v1/users", json={**body, "password": ["canary-password"]})
    assert "canary" not in answer.text
    assert problem_of(root.post("/api/v1/users", content=b"{"))["code"] == "invalid_request"
    assert problem_of(root.get("/api/v1/audit?cursor=x"))["code"] == "invalid_input"
    assert problem_of(root.get("/api/v1/nothing"))["code"] == "not_found"
    assert problem_of(root.put("/api/v1/users"))["status"] == 405
    for strange in (b"\\u0000", b"\\ud800", b"\\uffff"):
        content = b'{"name": "a", "grants": [], "display_name": "%s"}' % strange
        answer = root.post("/api/v1/users", content=content)
        assert answer.status_code in {201, 409, 422}, (strange, answer.text)


def test_large_and_long_requests_are_refused(service: TestService) -> None:
    client = service.anonymous()
    body = b"x" * (LONGEST_BODY + 1)
    assert problem_of(client.post("/api/v1/auth/login", content=body))["code"] == "body_too_large"

    def parts() -> Any:
        for _ in range(40):
            yield b"x" * 65536

    chunked = client.post("/api/v1/auth/login", content=parts())
    assert chunked.status_code == 413
    long = client.get("/api/v1/auth/methods?x=" + "y" * 20_000)
    assert problem_of(long)["code"] == "address_too_long"


def test_what_is_unexpected_says_nothing_of_the_inside(
    service: TestService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = service.administrator()

    def broken(*_: object) -> None:
        raise KeyError("canary-inside")

    monkeypatch.setattr("holdfast.catalog.audit.verify", broken)
    answer = root.get("/api/v1/audit/verify")
    found = problem_of(answer)
    assert (found["status"], found["code"]) == (500, "internal_error")
    assert "canary" not in answer.text
    assert "KeyError" not in answer.text
    logged = capsys.readouterr().out
    assert found["request_id"] in logged
    assert "canary-inside" in logged


def test_a_repeated_request_is_carried_out_once(service: TestService) -> None:
    root = service.administrator()
    body = {"name": "ci", "grants": [{"role": "viewer"}]}
    key = {"Idempotency-Key": "k-1"}
    first = root.post("/api/v1/tokens", json=body, headers=key)
    again = root.post("/api/v1/tokens", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotent-replay"] == "true"
    assert root.get("/api/v1/tokens").json()["total"] == 1
    other = root.post("/api/v1/tokens", json={**body, "name": "x"}, headers=key)
    assert problem_of(other)["code"] == "idempotency_key_reused"
    stranger = service.administrator("other")
    assert stranger.post("/api/v1/tokens", json=body, headers=key).json() != first.json()
    with service.context.database.reading() as session:
        bodies = session.scalars(select(IdempotentRequest.body)).all()
    token = first.json()["token"].encode()
    assert len(bodies) == 2
    assert all(stored and token not in stored for stored in bodies), "sealed, not in clear"


def test_a_failure_frees_its_key(service: TestService) -> None:
    root = service.administrator()
    body: dict[str, Any] = {"name": "anna", "grants": []}
    root.post("/api/v1/users", json=body)
    key = {"Idempotency-Key": "k-2"}
    assert root.post("/api/v1/users", json=body, headers=key).status_code == 409
    with service.context.database.writing() as session:
        session.delete(session.scalars(select(User).where(User.name == "anna")).one())
    assert root.post("/api/v1/users", json=body, headers=key).status_code == 201


def test_of_duplicates_at_once_one_is_carried_out(
    service: TestService, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = service.administrator()
    cookie = {"Cookie": f"__Host-holdfast={root.cookies['__Host-holdfast']}", "Origin": ORIGIN}
    inside, go_on = threading.Event(), threading.Event()
    real = service.context.passwords.hash

    def held(password: str) -> str:
        inside.set()
        assert go_on.wait(30)
        return real(password)

    monkeypatch.setattr(service.context.passwords, "hash", held)
    body = {"name": "anna", "grants": []}
    headers = {**cookie, "Idempotency-Key": "k-3"}
    answers: list[Any] = []

    def send() -> None:
        answers.append(service.anonymous(**headers).post("/api/v1/users", json=body))

    thread = threading.Thread(target=send)
    thread.start()
    assert inside.wait(30)
    second = service.anonymous(**headers).post("/api/v1/users", json=body)
    go_on.set()
    thread.join()
    assert problem_of(second)["code"] == "request_in_progress"
    assert answers[0].status_code == 201


@pytest.fixture
def built(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    pages = {
        "index.html": "<html><script>self.a=1</script><script src='/_next/static/x.js'></script>",
        "404.html": "none",
        "backups.html": "list",
        "backups.txt": "list data",
        "backups/_.html": "<html><script>self.b=2</script>one",
        "backups/_.txt": "one data",
        "backups/restore.html": "restore",
        "vms/_/disks/_.html": "disk",
        "_next/static/x.js": "x",
    }
    for name, content in pages.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "secret").symlink_to("/etc/passwd")
    (tmp_path / "outside.txt").write_text("outside")
    return root


def test_pages_of_the_dashboard(tmp_path: Path, built: Path) -> None:
    with open_test_service(tmp_path, dashboard=built) as service:
        client = service.anonymous()
        expected = {
            "/backups": "list",
            "/backups.txt": "list data",
            "/backups/0123": "one",
            "/backups/0123.txt": "one data",
            "/backups/restore": "restore",
            "/vms/a/disks/b": "disk",
            "/backups/a.b": "one",
        }
        for path, content in expected.items():
            answer = client.get(path)
            assert (answer.status_code, content in answer.text) == (200, True), path
        for path in ("/nothing", "/secret", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/a/b/c"):
            answer = client.get(path)
            assert (answer.status_code, answer.text) == (404, "none"), path
        assert client.get("/backups/").headers["location"] == "/backups"
        assert client.get(ORIGIN + "//evil.test/").headers["location"] == "/evil.test"
        assert client.post("/backups").status_code == 405
        assert "immutable" in client.get("/_next/static/x.js").headers["cache-control"]
        page = client.get("/backups/1")
        assert page.headers["cache-control"] == "no-cache"
        own = base64.b64encode(hashlib.sha256(b"self.b=2").digest()).decode()
        other = base64.b64encode(hashlib.sha256(b"self.a=1").digest()).decode()
        policy = page.headers["content-security-policy"]
        assert f"script-src 'self' 'sha256-{own}';" in policy
        assert other not in policy
        assert other in client.get("/").headers["content-security-policy"]


def test_without_a_build_the_page_says_so(tmp_path: Path) -> None:
    with open_test_service(tmp_path) as service:
        assert "was not built" in service.anonymous().get("/").text
        assert service.anonymous().get("/backups").status_code == 404


def test_roles_by_name(service: TestService) -> None:
    root = service.administrator()
    items = root.get("/api/v1/roles").json()["items"]
    assert [item["name"] for item in items] == [role.value for role in Role]
