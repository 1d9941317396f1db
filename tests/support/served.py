"""The service as a user starts it, `holdfast serve` with its worker, and words to speak to it.
Enter at `serve`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

BINARY = Path(sys.executable).parent / "holdfast"
_NEW_PASSWORD = "a-quiet-lake-in-autumn"  # noqa: S105


def environment(folder: Path) -> dict[str, str]:
    """Of every process of a service whose state is in that folder."""
    return {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "HOLDFAST_STATE": str(folder / "state"),
        "HOLDFAST_CACHE": str(folder / "cache"),
    }


@contextmanager
def serve(folder: Path) -> Generator[httpx.Client]:
    """A first start; who uses the client is signed in as the administrator."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(folder),
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


def get(client: httpx.Client, path: str, **query: Any) -> Any:
    answer = client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(client: httpx.Client, path: str, body: Any = None) -> Any:
    answer = client.post(f"/api/v1{path}", json=body)
    assert answer.status_code in {200, 201, 202}, answer.text
    return answer.json()


def back_up(client: httpx.Client, vm: str, repository: str, kind: str) -> Any:
    """Start, and wait until it has ended."""
    body = {"vm_name": vm, "backup_type": kind, "repository_id": repository}
    job = post(client, "/backup/start", body)
    assert job["status"] in {"pending", "running"}
    same = post(client, "/backup/start", body)
    assert same["id"] == job["id"], "of one VM one backup at a time"
    deadline = time.monotonic() + 90
    # Its point is on record a moment after the run has ended.
    while job["status"] in {"pending", "running"} or (
        job["status"] == "completed" and not job["file_path"]
    ):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        job = get(client, f"/backup/{job['id']}")
    return job


def wait(client: httpx.Client, run_id: str) -> Any:
    deadline = time.monotonic() + 90
    while (run := get(client, f"/runs/{run_id}"))["state"] in {"pending", "running"}:
        assert time.monotonic() < deadline, run
        time.sleep(0.1)
    return run


def until(condition: Callable[[], bool]) -> None:
    """What follows a run, its points and figures, is on record a moment after it has ended."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "what followed the run is not on record"
        time.sleep(0.1)
