"""A backup through the whole service, looked at from outside while it runs: its worker and the
process that moves the bytes show no secret and open no port, and nothing that can be asked or read
afterwards has one in it. The message of the run arrives."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from holdfast.core.units import MIB
from tests.support.http_sink import Sink, run_sink
from tests.support.running_service import RunningService, run_service

PASSPHRASE = "canary-passphrase-0451-tall-oak"  # noqa: S105
WEBHOOK = "canary-webhook-0451"
S3_KEY = "canary-s3-key-0451"
PASSWORD = "canary-password-0451-river"  # noqa: S105
CANARIES = (PASSPHRASE, WEBHOOK, S3_KEY, PASSWORD)
DEADLINE_S = 120.0


class Watch:
    """What the service's processes show to the host."""

    def __init__(self, pid: int) -> None:
        self._service = psutil.Process(pid)
        self.texts: dict[str, set[str]] = {}
        """By process: command lines and environments."""
        self.listening: set[tuple[str, int]] = set()

    def look(self) -> None:
        for process in (self._service, *self._service.children(recursive=True)):
            # A process may end at any time, and a dying one shows nothing.
            with suppress(psutil.Error, OSError):
                command = " ".join(process.cmdline())
                environment = Path(f"/proc/{process.pid}/environ").read_text(errors="replace")
                self.texts.setdefault(_kind(command), set()).update({command, environment})
                self.listening |= {
                    (item.laddr.ip, item.laddr.port)
                    for item in process.net_connections(kind="inet")
                    if item.status == psutil.CONN_LISTEN
                }


def _kind(command: str) -> str:
    known = {"holdfast.jobs.mover": "mover", " worker ": "worker", " serve ": "service"}
    return next((kind for part, kind in known.items() if part in command), "other")


@pytest.fixture
def sink() -> Generator[Sink]:
    with run_sink() as running:
        yield running


@pytest.fixture
def service(tmp_path: Path) -> Generator[RunningService]:
    with run_service(tmp_path / "state", worker=True) as running:
        yield running


def signed_in(service: RunningService) -> httpx.Client:
    http = service.client(Origin=service.url)
    http.post("/api/v1/auth/login", json={"name": "admin", "password": service.password})
    change = {"current_password": service.password, "new_password": PASSWORD}
    assert http.post("/api/v1/auth/password", json=change).status_code == 204
    login = http.post("/api/v1/auth/login", json={"name": "admin", "password": PASSWORD})
    assert login.json()["state"] == "signed_in"
    return http


def post(http: httpx.Client, path: str, body: Any) -> Any:
    answer = http.post(f"/api/v1{path}", json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


def test_no_secret_and_no_port_while_a_backup_runs_and_after(
    service: RunningService, tmp_path: Path, sink: Sink
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "web.raw").write_bytes(np.random.default_rng(1).bytes(32 * MIB))
    http = signed_in(service)
    platform = post(http, "/platforms", {"kind": "images", "name": "P", "path": str(images)})
    ids = {"platform_vm_ids": [str(images / "web.raw")]}
    post(http, f"/platforms/{platform['id']}/vms", ids)
    place = {"location": str(tmp_path / "repository"), "name": "R", "mode": "create"}
    repository = post(http, "/repositories", {**place, "passphrase": PASSPHRASE})
    url = f"json://anna:{WEBHOOK}@127.0.0.1:{sink.port}"
    post(http, "/notifications", {"name": "N", "url": url, "events": ["backup_completed"]})
    bucket = {"location": "s3://bucket/x", "s3": {"endpoint": "http://127.0.0.1:1", "region": "x"}}
    bucket["s3"] |= {"access_key_id": "id", "secret_access_key": S3_KEY, "allow_http": True}
    answers = [http.post("/api/v1/repositories/test", json=bucket)]
    wrong = {**place, "passphrase": [PASSPHRASE], "mode": S3_KEY}
    answers.append(http.post("/api/v1/repositories", json=wrong))
    watch = Watch(service.process.pid)
    body = {"vm_name": "web", "backup_type": "full", "repository_id": repository["id"]}
    run_id = _back_up(http, body, watch)
    _await(lambda: bool(sink.requests), "the message of the run did not arrive")
    assert sink.requests[0][2]["title"] == "Holdfast: backup of web completed"
    port = int(service.url.rsplit(":", 1)[1])
    assert watch.listening == {("127.0.0.1", port)}
    assert {"service", "worker", "mover"} <= set(watch.texts)
    answers += _everything(http, {"backup_id": run_id, "run_id": run_id})
    shown = {f"{kind} on the host": text for kind, text in watch.texts.items()}
    for place_name, texts in shown.items():
        for canary in CANARIES:
            assert all(canary not in text for text in texts), (place_name, canary)
    for answer in answers:
        for canary in CANARIES:
            assert canary not in answer.text, answer.request.url
    assert service.stop() == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file() and images not in path.parents]
    assert service.log in files and any(path.name == "holdfast.db" for path in files)
    for path in files:
        content = path.read_bytes()
        for canary in CANARIES:
            assert canary.encode() not in content, path


def _back_up(http: httpx.Client, body: Any, watch: Watch) -> str:
    """Until the process that moves the bytes was seen at work; a fast machine may need two."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        job = post(http, "/backup/start", body)
        while job["status"] in {"pending", "running"}:
            assert time.monotonic() < deadline, job
            watch.look()
            job = http.get(f"/api/v1/backup/{job['id']}").json()
        assert job["status"] == "completed", job
        if "mover" in watch.texts:
            return str(job["id"])


def _everything(http: httpx.Client, ids: dict[str, str]) -> list[httpx.Response]:
    """Every answer that reading gives, of what is there."""
    document = http.get("/api/v1/openapi.json").json()
    for kind, path, field in (
        ("repository_id", "repositories", "repositories"),
        ("platform_id", "platforms", "items"),
        ("vm_id", "vms", "items"),
        ("user_id", "users", "items"),
    ):
        ids[kind] = http.get(f"/api/v1/{path}").json()[field][0]["id"]
    ids["mount_id"] = post(http, "/restore/mount", {"backup_id": ids["backup_id"]})["mount_id"]
    answers: list[httpx.Response] = []
    for path, methods in document["paths"].items():
        if "get" in methods:
            answers.append(http.get(path.format_map(_Known(ids)), params={"vm_id": ids["vm_id"]}))
    assert sum(answer.status_code == 200 for answer in answers) > 30, [
        (answer.status_code, str(answer.request.url)) for answer in answers
    ]
    return answers


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "none"


def _await(condition: Any, problem: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.05)


@pytest.fixture
def small_folder(tmp_path: Path) -> Generator[Path]:
    """A file system of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs"]
    subprocess.run([*mount, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_repository_is_said_in_words_and_holds_nothing_half_done(
    small_folder: Path, service: RunningService, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "web.raw").write_bytes(np.random.default_rng(1).bytes(48 * MIB))
    http = signed_in(service)
    assert http.patch("/api/v1/settings", json={"retry_attempts": 0}).status_code == 200
    platform = post(http, "/platforms", {"kind": "images", "name": "P", "path": str(images)})
    ids = {"platform_vm_ids": [str(images / "web.raw")]}
    post(http, f"/platforms/{platform['id']}/vms", ids)
    place = {"location": str(small_folder / "repository"), "name": "R", "mode": "create"}
    repository = post(http, "/repositories", {**place, "passphrase": PASSPHRASE})
    body = {"vm_name": "web", "backup_type": "full", "repository_id": repository["id"]}
    job = post(http, "/backup/start", body)
    deadline = time.monotonic() + DEADLINE_S
    while job["status"] in {"pending", "running"}:
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        job = http.get(f"/api/v1/backup/{job['id']}").json()
    assert (job["status"], job["error_code"]) == ("failed", "out_of_space"), job
    assert "repository" in job["error_message"] and job["error_hint"] and job["can_retry"]
    assert job["point_id"] is None and not list((small_folder / "repository/points").glob("*"))

    def is_failing() -> bool:
        return http.get("/api/v1/vms").json()["items"][0]["protection"] == "failing"

    _await(is_failing, "the VM is not shown as failing")


def test_the_watch_would_see_a_secret() -> None:
    """What it looks at is where a secret would be."""
    with psutil.Popen(["sleep", "60"], env={"X": PASSPHRASE}) as child:
        try:
            watch = Watch(psutil.Process().pid)
            watch.look()
            assert any(PASSPHRASE in text for text in watch.texts["other"])
        finally:
            child.kill()
