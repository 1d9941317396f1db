"""Runs as the service and its worker carry them out, processes as a user starts them."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from holdfast.core.units import MIB
from tests.support.live_events import Listener
from tests.support.run_farm import children_of, state_of
from tests.support.running_service import run_service
from tests.support.service_lab import furnish, post, sign_in

_LEAST_S = 0.45
_FINAL = {"completed", "failed", "cancelled"}


def await_stopped_grandchild(pid: int) -> None:
    """A mover of the service's worker stopped itself."""
    deadline = time.monotonic() + 60
    while not any(state_of(mover) == "T" for own in children_of(pid) for mover in children_of(own)):
        assert time.monotonic() < deadline, "no mover stops"
        time.sleep(0.02)


def test_runs_go_on_after_the_service_was_killed(tmp_path: Path, database_url: str) -> None:
    state = tmp_path / "state"
    database = {"HOLDFAST_DATABASE_URL": database_url}
    stopping = {**database, "HOLDFAST_FAILPOINTS": "pack.before_put:stop:2"}
    with run_service(state, environment=stopping, worker=True) as first:
        lab = furnish(first, tmp_path, {"web": 96 * MIB, "mail": 2 * MIB})
        run_id = lab.start_backup("web")
        await_stopped_grandchild(first.process.pid)
        first.process.kill()
        first.process.wait()
    with run_service(state, environment=database, worker=True) as second:
        http = second.client(Origin=second.url)
        sign_in(http)
        lab = replace(lab, http=http)
        run = lab.await_end(run_id)
        assert (run["state"], run["attempt"]) == ("completed", 2), run
        other = lab.await_end(lab.start_backup("mail"))
        assert other["state"] == "completed"
        jobs = await_points(lab, 2)
        assert sorted(job["vm_name"] for job in jobs) == ["mail", "web"], "one point of each"
        entries = lab.get("/logs", run_id=run_id)["entries"]
        messages = [entry["message"] for entry in reversed(entries)]
        begun = [text for text in messages if " begins on " in text]
        assert [text.split(" begins")[0] for text in begun] == ["attempt 1", "attempt 2"]
        assert messages[-1].startswith("completed: ")
        assert {entry["vm_id"] for entry in entries} == {lab.vm_ids["web"]}
        assert all(entry["at"] and entry["level"] for entry in entries)
        workers = lab.get("/logs", source="worker")["entries"]
        assert sum("is ready" in entry["message"] for entry in workers) == 2
        assert second.stop() == 0


def await_points(lab: Any, count: int) -> Any:
    """Points are on record a moment after their runs have ended."""
    deadline = time.monotonic() + 60
    while (
        len(jobs := [job for job in lab.get("/backup/list")["backups"] if job["file_path"]]) < count
    ):
        assert time.monotonic() < deadline, jobs
        time.sleep(0.05)
    return jobs


def test_progress_as_browsers_hear_it(tmp_path: Path) -> None:
    slow = {"HOLDFAST_FAILPOINTS": "pack.before_put:slow"}
    with run_service(tmp_path / "state", environment=slow, worker=True) as service:
        lab = furnish(service, tmp_path, {"web": 128 * MIB})
        token = post(lab.http, "/tokens", name="t", grants=[{"role": "viewer"}])["token"]
        listener = Listener(service, token)
        run_id = lab.start_backup("web")
        listener.wait_for("run_progress", id=run_id, status="completed")
        listener.client.disconnect()
    heard = [payload for name, payload in listener.heard if name == "run_progress"]
    heard = [payload for payload in heard if payload["id"] == run_id]
    running = [payload for payload in heard if payload["status"] == "running"]
    assert len(running) >= 3
    moments = [datetime.fromisoformat(payload["at"]) for payload in running]
    pauses = [(after - before).total_seconds() for before, after in itertools.pairwise(moments)]
    assert min(pauses) >= _LEAST_S, "twice a second at most"
    for name in ("progress_percent", "bytes_transferred", "bytes_read", "stored_bytes"):
        values = [payload[name] for payload in heard]
        assert values == sorted(values), f"{name} never goes back"
    assert all(payload["phase"] for payload in running)
    moving = [payload for payload in running if payload["throughput_bps"] > 0]
    assert moving, running
    assert all(payload["eta_seconds"] is not None for payload in moving)
    [disk] = moving[-1]["disks"]
    assert (disk["key"], disk["size_bytes"]) == ("web.raw", 128 * MIB)
    assert disk["state"] in {"running", "completed"}
    assert 0 < disk["done_bytes"] <= disk["total_bytes"] == 128 * MIB
    assert disk["read_bytes"] > 0 and disk["stored_bytes"] >= 0
    shares = moving[-1]["bottleneck"]
    assert set(shares) == {"source", "network", "cpu", "repository"}
    assert sum(shares.values()) == 100
    assert heard[-1]["progress_percent"] == 100
    assert heard[-1]["status"] in _FINAL
