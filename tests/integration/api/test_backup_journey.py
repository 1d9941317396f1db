"""From a VM to a downloaded file through the service as a user starts it: `holdfast serve` with its
worker, real processes, one image as the VM."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.core.units import MIB

BINARY = Path(sys.executable).parent / "holdfast"
PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105
_NEW_PASSWORD = "a-quiet-lake-in-autumn"  # noqa: S105


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    environment = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "HOLDFAST_STATE": str(tmp_path / "state"),
        "HOLDFAST_CACHE": str(tmp_path / "cache"),
    }
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [BINARY, "serve", "--listen", "127.0.0.1:0", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        text=True,
    )
    try:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        url = started["url"].rstrip("/")
        with httpx.Client(base_url=url, timeout=60) as client:
            client.headers["Origin"] = url
            _sign_in(client, started["administrator"], started["password"])
            yield client
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _sign_in(client: httpx.Client, name: str, password: str) -> None:
    body = {"name": name, "password": password}
    answer = client.post("/api/v1/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "password_change_required"
    change = {"current_password": password, "new_password": _NEW_PASSWORD}
    answer = client.post("/api/v1/auth/password", json=change)
    assert answer.status_code < 300, answer.text
    again = client.post("/api/v1/auth/login", json={"name": name, "password": _NEW_PASSWORD})
    assert again.json()["state"] == "signed_in", again.text


def _image(path: Path, tree: Path, text: str) -> None:
    (tree / "srv").mkdir(parents=True)
    (tree / "srv" / "letter.txt").write_text(text)
    (tree / "srv" / "noise").write_bytes(random.Random(1).randbytes(3 * MIB))
    with path.open("wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, path], check=True, timeout=60)


def _get(client: httpx.Client, path: str, **query: Any) -> Any:
    answer = client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _post(client: httpx.Client, path: str, body: Any = None) -> Any:
    answer = client.post(f"/api/v1{path}", json=body)
    assert answer.status_code in {200, 201, 202}, answer.text
    return answer.json()


def _back_up(client: httpx.Client, vm: str, repository: str, kind: str) -> Any:
    """Start, and wait until it has ended."""
    body = {"vm_name": vm, "backup_type": kind, "repository_id": repository}
    job = _post(client, "/backup/start", body)
    assert job["status"] in {"pending", "running"}
    same = _post(client, "/backup/start", body)
    assert same["id"] == job["id"], "of one VM one backup at a time"
    deadline = time.monotonic() + 90
    # Its point is on record a moment after the run has ended.
    while job["status"] in {"pending", "running"} or (
        job["status"] == "completed" and not job["file_path"]
    ):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        job = _get(client, f"/backup/{job['id']}")
    return job


def test_vm_to_downloaded_file(service: httpx.Client, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    _image(images / "web.raw", tmp_path / "tree1", "version one\n")
    platform = _post(
        service, "/platforms", {"kind": "images", "name": "Images", "path": str(images)}
    )
    [found] = _post(service, f"/platforms/{platform['id']}/discover")["vms"]
    ids = {"platform_vm_ids": [found["platform_vm_id"]]}
    assert _post(service, f"/platforms/{platform['id']}/vms", ids)["added"] == 1
    made = {"location": str(tmp_path / "repository"), "name": "Main", "mode": "create"}
    repository = _post(service, "/repositories", {**made, "passphrase": PASSPHRASE})
    first = _back_up(service, "web", repository["id"], "incremental")
    assert (first["status"], first["backup_type"]) == ("completed", "full"), first
    assert first["plan"][0]["reason"], "an incremental without a parent says why it is a full"
    _image(images / "web.raw", tmp_path / "tree2", "version two\n")
    second = _back_up(service, "web", repository["id"], "incremental")
    assert (second["status"], second["backup_type"]) == ("completed", "incremental"), second
    assert second["progress_percent"] == 100 and second["file_path"].startswith("/")
    _until(lambda: _get(service, "/vms")["items"][0]["point_count"] == 2)
    assert _get(service, "/vms")["items"][0]["protection"] == "protected"
    assert _get(service, "/overview")["backups_today"] == 2
    for job, text in ((first, "version one\n"), (second, "version two\n")):
        mount = _post(service, "/restore/mount", {"backup_id": job["id"]})
        [volume] = _get(service, f"/restore/{mount['mount_id']}/files")["files"]
        answer = service.get(
            f"/api/v1/restore/{mount['mount_id']}/download",
            params={"path": f"{volume['path']}/srv/letter.txt"},
        )
        assert answer.text == text
    checked = _post(service, f"/repositories/{repository['id']}/check", {})
    _wait(service, checked["run_id"])
    where = f"/repositories/{repository['id']}"
    _until(lambda: _get(service, where)["last_check_result"] == "sound")
    rule = {"rule": {"keep_last": 1, "minimum_age_days": 0}}
    preview = _post(service, f"/repositories/{repository['id']}/prune/preview", rule)
    assert (preview["keep_count"], preview["delete_count"]) == (1, 1)
    body = {**rule, "dry_run": False, "confirm_points": 1, "compact": False}
    pruned = _post(service, f"/repositories/{repository['id']}/prune", body)
    assert _wait(service, pruned["run_id"])["state"] == "completed"
    _until(
        lambda: [job["id"] for job in _get(service, "/backup/list")["backups"]] == [second["id"]]
    )


def _wait(client: httpx.Client, run_id: str) -> Any:
    deadline = time.monotonic() + 90
    while (run := _get(client, f"/runs/{run_id}"))["state"] in {"pending", "running"}:
        assert time.monotonic() < deadline, run
        time.sleep(0.1)
    return run


def _until(condition: Callable[[], bool]) -> None:
    """What follows a run, its points and figures, is on record a moment after it has ended."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "what followed the run is not on record"
        time.sleep(0.1)
