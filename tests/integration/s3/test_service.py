"""An immutable repository in a bucket with Object Lock, added to a service and kept by it."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.repository.store.store import ObjectStore
from tests.support.seaweedfs import (
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    S3Server,
    boto_client,
    locking_bucket,
    new_location,
)
from tests.support.served import back_up, get, post, serve, until, wait

PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105


@pytest.fixture
def client(tmp_path: Path) -> Generator[httpx.Client]:
    with serve(tmp_path) as signed_in:
        yield signed_in


def test_it_is_made_shown_kept_and_missed(
    client: httpx.Client, server: S3Server, tmp_path: Path
) -> None:
    where = new_location(locking_bucket())
    made = _create(client, server, f"s3://{where.bucket}/{where.prefix}")
    assert made["immutable"], made["immutable_message"]
    assert made["immutable_message"].startswith("Immutable: points are locked for 1 days")
    store = server.store(where)
    backup = _one_backup(client, tmp_path, made["id"])

    [listed] = get(client, "/backup/list")["backups"]
    assert datetime.fromisoformat(listed["immutable_until"]) > _in_days(0.9)
    assert not listed["can_delete"] and "immutable until" in listed["cannot_delete_reason"]
    refused = client.delete(f"/api/v1/backup/{backup['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "object_locked")

    # Somebody makes it last longer: what is there already is locked for as long.
    where_rule = f"/api/v1/repositories/{made['id']}/immutability"
    answer = client.put(where_rule, json={"days": 3})
    assert answer.status_code == 202, answer.text
    run = wait(client, answer.json()["run_id"])
    assert (run["kind"], run["state"]) == ("lock", "completed"), run
    assert _ends_of_packs(store), "there is a pack"
    assert all(end > _in_days(2.9) for end in _ends_of_packs(store))
    until(lambda: _shown(client)["locks_renewed_at"] is not None)
    assert (_shown(client)["immutable_days"], _shown(client)["immutable"]) == (3, True)
    log = " ".join(line["message"] for line in get(client, "/logs", run_id=run["id"])["entries"])
    assert "locks were renewed" in log and "Immutable: points are locked for 3 days" in log
    again = post(client, f"/repositories/{made['id']}/lock")
    assert wait(client, again["run_id"])["result"]["renewed"] == 0

    # An intruder with the credentials hides a pack: the run says so, and which.
    pack = next(iter(store.list("packs/"))).key
    boto_client().delete_object(Bucket=where.bucket, Key=where.path(pack))
    failed = wait(client, post(client, f"/repositories/{made['id']}/lock")["run_id"])
    assert (failed["state"], failed["error_code"]) == ("failed", "locks_incomplete")
    lines = get(client, "/logs", run_id=failed["id"])["entries"]
    assert any(pack in line["message"] for line in lines if line["level"] == "error")


def test_a_bucket_without_locks_is_refused_before_anything_is_made(
    client: httpx.Client, server: S3Server
) -> None:
    where = new_location()
    body = _body(server, f"s3://{where.bucket}/{where.prefix}")
    answer = client.post("/api/v1/repositories", json=body)
    assert answer.json()["code"] == "locks_unsupported", answer.text
    assert list(server.store(where).list("")) == []
    assert get(client, "/repositories")["total"] == 0


def _body(server: S3Server, location: str) -> dict[str, Any]:
    credentials = {
        "endpoint": server.endpoint,
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
        "allow_http": True,
    }
    return {
        "name": "Vault",
        "location": location,
        "mode": "create",
        "passphrase": PASSPHRASE,
        "immutable_days": 1,
        "s3": credentials,
    }


def _create(client: httpx.Client, server: S3Server, location: str) -> dict[str, Any]:
    return post(client, "/repositories", _body(server, location))


def _one_backup(client: httpx.Client, folder: Path, repository_id: str) -> dict[str, Any]:
    images = folder / "images"
    images.mkdir()
    (images / "web.raw").write_bytes(b"x" * 4096)
    body = {"kind": "images", "name": "Images", "path": str(images)}
    platform = post(client, "/platforms", body)
    [vm] = post(client, f"/platforms/{platform['id']}/discover")["vms"]
    wanted = {"platform_vm_ids": [vm["platform_vm_id"]]}
    post(client, f"/platforms/{platform['id']}/vms", wanted)
    job = back_up(client, "web", repository_id, "full")
    assert job["status"] == "completed", job
    return job


def _shown(client: httpx.Client) -> dict[str, Any]:
    [repository] = get(client, "/repositories")["repositories"]
    return repository


def _ends_of_packs(store: ObjectStore) -> list[datetime]:
    ends = [store.locked_until(info.key) for info in store.list("packs/")]
    return [end for end in ends if end is not None]


def _in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
