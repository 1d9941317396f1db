"""The routes on real parts: images on disk, a repository in a folder, sandboxed readers, SQLite. No
worker: what is backed up here was backed up by the data path before the service saw it."""

from __future__ import annotations

import io
import time
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from holdfast.api.guest_mounts import MountSource
from holdfast.api.mount_access import source_of
from holdfast.api.unique_bytes import PointsSeen
from holdfast.api.upkeep import end_expired_mounts
from holdfast.catalog.models import Repository, RestoreMount
from holdfast.core.units import MIB
from holdfast.policy.access import Grant, Role, ScopeKind
from tests.support.place import PASSPHRASE, Place


def test_backups_of_an_added_repository_are_listed(stocked: Place) -> None:
    listed = stocked.get("/backup/list")
    assert listed["total"] == 2
    newest, oldest = listed["backups"]
    assert (oldest["backup_type"], newest["backup_type"]) == ("full", "incremental")
    assert newest["status"] == "completed" and newest["progress_percent"] == 100
    assert newest["size_bytes"] == 24 * MIB
    assert newest["plan"][0]["mode"] == "compare"
    assert stocked.get("/backup/list", backup_type="full")["total"] == 1
    assert stocked.get("/backup/list", vm_name="nobody")["total"] == 0
    assert stocked.get(f"/backup/{newest['id']}") == newest
    [vm] = stocked.get("/vms")["items"]
    assert vm["has_backups"] and vm["point_count"] == 2 and vm["protection"] == "protected"
    chain = stocked.get("/backup/chain", vm_name="web", disk_id="web.raw")
    assert chain["backup_count"] == 2 and chain["full_backup_id"] == oldest["id"]
    assert len(stocked.get("/backup/chain", vm_id=vm["id"])["chains"]) == 1
    timeline = stocked.get(f"/vms/{vm['id']}/timeline")
    assert [point["captured_as"] for point in timeline["points"]] == ["full", "incremental"]
    overview = stocked.get("/overview")
    assert (overview["vm_count"], overview["backups_today"]) == (1, 2)
    [repository] = stocked.get("/repositories")["repositories"]
    storage = stocked.get(f"/repositories/{repository['id']}/storage")
    assert storage["backup_count"] == 2 and storage["logical_bytes"] == 48 * MIB
    on_disk = sum(path.stat().st_size for path in stocked.repository.rglob("*") if path.is_file())
    assert abs(storage["used_bytes"] - on_disk) < 64 * 1024


def test_browse_and_download_both_versions(stocked: Place) -> None:
    newest, oldest = stocked.get("/backup/list")["backups"]
    for backup, text in ((oldest, b"version one\n"), (newest, b"version two\n")):
        mount = stocked.post("/restore/mount", {"backup_id": backup["id"]}, 201)
        again = stocked.post("/restore/mount", {"backup_id": backup["id"]}, 201)
        assert mount["mount_id"] == again["mount_id"]
        assert mount["nbd_device"].startswith("nbd+unix:")
        base = f"/restore/{mount['mount_id']}"
        [volume] = stocked.get(f"{base}/files")["files"]
        folder = stocked.get(f"{base}/files", path=f"{volume['path']}/srv")
        assert [entry["name"] for entry in folder["files"]] == ["big", "letter.txt"]
        first = stocked.get(f"{base}/files", path=f"{volume['path']}/srv", limit=1)
        assert first["next_cursor"] and first["total"] == 2
        path = f"{volume['path']}/srv/letter.txt"
        answer = stocked.client.get(f"/api/v1{base}/download", params={"path": path})
        assert answer.content == text
        assert answer.headers["content-disposition"].startswith("attachment;")
        part = stocked.client.get(
            f"/api/v1{base}/download", params={"path": path}, headers={"Range": "bytes=8-10"}
        )
        assert (part.status_code, part.content) == (206, text[8:11])
        beyond = stocked.client.get(
            f"/api/v1{base}/download", params={"path": path}, headers={"Range": "bytes=99-"}
        )
        assert beyond.status_code == 416
        assert stocked.get(f"{base}/preview", path=path)["text"] == text.decode()
        archive = stocked.client.get(
            f"/api/v1{base}/download", params={"path": f"{volume['path']}/srv"}
        )
        with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
            assert files.read("srv/letter.txt") == text
            assert len(files.read("srv/big")) == 3 * MIB
        told = int(archive.headers["x-holdfast-file-bytes"])
        assert told == 3 * MIB + len(text)
        assert 0.99 < len(archive.content) / told < 1.01, "random bytes do not compress"
        everything = stocked.client.get(f"/api/v1{base}/download", params={"path": "/"})
        assert int(everything.headers["x-holdfast-file-bytes"]) == told
        assert "x-holdfast-file-bytes" not in answer.headers, "a file says its length itself"
        found = stocked.get(f"{base}/search", q="LETTER")
        assert [entry["name"] for entry in found["files"]] == ["letter.txt"]
    assert stocked.get("/restore/mounts")["total"] == 2
    assert stocked.client.delete(f"/api/v1{base}").status_code == 204
    gone = stocked.client.get(f"/api/v1{base}/files")
    assert (gone.status_code, gone.json()["code"]) == (404, "mount_expired")


def test_delete_one_point_and_the_other_still_restores(stocked: Place) -> None:
    newest, oldest = stocked.get("/backup/list")["backups"]
    held = stocked.client.put(f"/api/v1/backup/{oldest['id']}/hold", json={"reason": "audit"})
    assert held.json()["held"] == "audit" and not held.json()["can_delete"]
    refused = stocked.client.delete(f"/api/v1/backup/{oldest['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "point_held")
    assert stocked.client.delete(f"/api/v1/backup/{oldest['id']}/hold").json()["held"] == ""
    assert stocked.client.delete(f"/api/v1/backup/{oldest['id']}").status_code == 204
    assert stocked.client.get(f"/api/v1/backup/{oldest['id']}").status_code == 404
    assert len(list((stocked.repository / "points").iterdir())) == 1
    mount = stocked.post("/restore/mount", {"backup_id": newest["id"]}, 201)
    [volume] = stocked.get(f"/restore/{mount['mount_id']}/files")["files"]
    answer = stocked.client.get(
        f"/api/v1/restore/{mount['mount_id']}/download",
        params={"path": f"{volume['path']}/srv/letter.txt"},
    )
    assert answer.content == b"version two\n"


def test_forgetting_removes_nothing_and_adding_again_finds_all(stocked: Place) -> None:
    [repository] = stocked.get("/repositories")["repositories"]
    assert stocked.client.delete(f"/api/v1/repositories/{repository['id']}").status_code == 204
    assert stocked.get("/backup/list")["total"] == 2, "their record stays"
    body = {"location": str(stocked.repository), "name": "Again", "mode": "open"}
    wrong = stocked.client.post("/api/v1/repositories", json={**body, "passphrase": "wrong"})
    assert wrong.json()["code"] == "wrong_passphrase"
    again = stocked.post("/repositories", {**body, "passphrase": PASSPHRASE}, 201)
    assert again["imported_backups"] == 2
    assert stocked.get("/backup/list")["total"] == 2


def test_a_scope_shows_its_own_vms_only(stocked: Place) -> None:
    [vm] = stocked.get("/vms")["items"]
    [backup, _] = stocked.get("/backup/list")["backups"]
    mine = stocked.token(Grant(role=Role.VIEWER, scope=ScopeKind.TAG, value="mine"))
    for path in ("/vms", "/backup/list"):
        answer = stocked.client.get(f"/api/v1{path}", headers=mine)
        assert answer.json()["total"] == 0
    for path in (f"/vms/{vm['id']}", f"/backup/{backup['id']}"):
        assert stocked.client.get(f"/api/v1{path}", headers=mine).status_code == 404
    stocked.client.patch(f"/api/v1/vms/{vm['id']}", json={"tags": ["mine"]})
    assert stocked.client.get("/api/v1/vms", headers=mine).json()["total"] == 1
    assert stocked.client.get("/api/v1/backup/list", headers=mine).json()["total"] == 2
    mount = {"backup_id": backup["id"]}
    assert stocked.client.post("/api/v1/restore/mount", json=mount, headers=mine).status_code == 403


def test_a_new_repository_gives_its_kit_once(place: Place) -> None:
    target = {"location": str(place.repository)}
    assert place.post("/repositories/test", target)["ok"]
    body = {**target, "name": "New", "mode": "create", "passphrase": PASSPHRASE}
    made = place.post("/repositories", body, 201)
    assert "HFK1-" in made["recovery_kit"]
    assert "recovery_kit" not in place.get(f"/repositories/{made['id']}")
    for path in (place.context.settings.state_root).rglob("*"):
        if path.is_file():
            assert PASSPHRASE.encode() not in path.read_bytes()
    tested = place.post("/repositories/test", target)
    assert tested["ok"] and tested["exists"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/vms/nobody", 404, "not_found"),
        ("/backup/nothing", 404, "not_found"),
        ("/backup/chain", 422, "invalid_input"),
        ("/backup/list?cursor=junk", 422, "invalid_input"),
        ("/restore/nothing/files", 404, "mount_expired"),
        ("/repositories/nothing/storage", 404, "not_found"),
    ],
)
def test_what_is_not_there(place: Place, path: str, status: int, code: str) -> None:
    answer = place.client.get(f"/api/v1{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_cancelling_needs_what_starting_needs(stocked: Place) -> None:
    [backup, _] = stocked.get("/backup/list")["backups"]
    viewer = stocked.token(Grant(role=Role.VIEWER))
    for action in ("cancel", "retry"):
        path = f"/api/v1/runs/{backup['id']}/{action}"
        assert stocked.client.post(path, headers=viewer).status_code == 403
        refused = stocked.client.post(path)
        assert refused.status_code == 409 and refused.json()["code"].startswith("run_")


def test_a_prune_is_repeated_only_by_who_may_delete(stocked: Place) -> None:
    [repository] = stocked.get("/repositories")["repositories"]
    body = {"rule": {"keep_last": 1}, "dry_run": False, "confirm_point_ids": []}
    run = stocked.post(f"/repositories/{repository['id']}/prune", body, 202)
    operator = stocked.token(Grant(role=Role.OPERATOR))
    for action in ("cancel", "retry"):
        path = f"/api/v1/runs/{run['run_id']}/{action}"
        assert stocked.client.post(path, headers=operator).status_code == 403


def test_the_plan_is_seen_before_the_start(stocked: Place) -> None:
    [repository] = stocked.get("/repositories")["repositories"]
    newest, _ = stocked.get("/backup/list")["backups"]
    body = {"vm_name": "web", "repository_id": repository["id"]}
    preview = stocked.post("/backup/preview", {**body, "backup_type": "incremental"})
    assert (preview["backup_type"], preview["parent_id"]) == ("incremental", newest["point_id"])
    [disk] = preview["plan"]
    assert (disk["key"], disk["mode"], disk["planned_bytes"]) == ("web.raw", "compare", 24 * MIB)
    assert disk["reason"] and preview["planned_bytes"] == 24 * MIB
    full = stocked.post("/backup/preview", {**body, "backup_type": "full"})
    assert full["backup_type"] == full["plan"][0]["mode"] == "full"
    assert full["plan"][0]["reason"] == "a full backup was asked for"
    with (stocked.images / "web.raw").open("r+b") as file:
        file.truncate(32 * MIB)
    resized = stocked.post("/backup/preview", {**body, "backup_type": "incremental"})
    assert "resized from 24.0 MiB to 32.0 MiB" in resized["plan"][0]["reason"]
    assert stocked.get("/backup/list")["total"] == 2, "nothing was started"
    assert len(list((stocked.repository / "points").iterdir())) == 2


def test_a_plan_without_a_parent_says_why_it_is_a_full(stocked: Place, tmp_path: Path) -> None:
    body = {"location": str(tmp_path / "second"), "name": "Second", "mode": "create"}
    made = stocked.post("/repositories", {**body, "passphrase": PASSPHRASE}, 201)
    wanted = {"vm_name": "web", "repository_id": made["id"], "backup_type": "incremental"}
    preview = stocked.post("/backup/preview", wanted)
    assert (preview["backup_type"], preview["parent_id"]) == ("full", None)
    assert "no earlier point" in preview["plan"][0]["reason"]
    unknown = stocked.client.post("/api/v1/backup/preview", json={**wanted, "disks": ["x"]})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_input")
    stocked.images.rename(tmp_path / "away")
    gone = stocked.client.post("/api/v1/backup/preview", json=wanted)
    assert gone.status_code in {404, 503} and gone.json()["detail"]


def test_expired_mounts_are_ended_and_used_ones_live_on(stocked: Place) -> None:
    [backup, _] = stocked.get("/backup/list")["backups"]
    first = stocked.post("/restore/mount", {"backup_id": backup["id"]}, 201)["mount_id"]
    context = stocked.context
    assert context.mounts.served_ids() == [first]

    def expire() -> None:
        with context.database.writing() as session:
            row = session.get(RestoreMount, first)
            assert row is not None
            row.expires_at = context.clock.now() - timedelta(seconds=1)
            row.used_at = row.expires_at

    def source() -> MountSource:
        with context.database.reading() as session:
            row = session.get(RestoreMount, first)
            assert row is not None
            return source_of(context, row)

    assert end_expired_mounts(context) == []
    with context.mounts.use(source()):
        expire()
        assert end_expired_mounts(context) == [], "it is being read from"
    assert stocked.get(f"/restore/{first}/files")["total"] == 1
    expire()
    answer = stocked.client.get(f"/api/v1/restore/{first}/files")
    assert (answer.status_code, answer.json()["code"]) == (404, "mount_expired")
    assert end_expired_mounts(context) == [first]
    assert context.mounts.served_ids() == []
    assert stocked.get("/restore/mounts")["total"] == 0


def test_a_mount_outlives_the_process_that_served_it(stocked: Place) -> None:
    [backup, _] = stocked.get("/backup/list")["backups"]
    before = stocked.post("/restore/mount", {"backup_id": backup["id"]}, 201)
    stocked.context.mounts.close()  # as when the service was killed: the row stays
    after = stocked.post("/restore/mount", {"backup_id": backup["id"]}, 201)
    assert after["mount_id"] == before["mount_id"]
    assert after["nbd_device"] not in {"", before["nbd_device"]}
    assert stocked.get("/restore/mounts")["mounts"][0]["nbd_device"] == after["nbd_device"]


def test_a_chain_says_what_each_point_alone_holds(stocked: Place) -> None:
    def chain() -> list[int | None]:
        return stocked.get("/backup/chain", vm_name="web", disk_id="web.raw")["unique_bytes"]

    deadline = time.monotonic() + 60
    while None in (unique := chain()):
        assert time.monotonic() < deadline, "never measured"
    assert len(unique) == 2 and all(0 < (size or 0) < 1 * MIB for size in unique), unique
    _, oldest = stocked.get("/backup/list")["backups"]
    assert stocked.client.delete(f"/api/v1/backup/{oldest['id']}").status_code == 204
    while None in (left := chain()) or len(left) != 1:
        assert time.monotonic() < deadline, "never measured again"
    assert (left[0] or 0) > 3 * MIB, "what both needed is now held by one"


def test_short_lists_come_in_pages_too(place: Place) -> None:
    for name in "abc":
        place.post("/machine-groups", {"name": name, "vm_ids": []}, 201)
    assert place.get("/machine-groups")["total"] == 3
    first = place.get("/machine-groups", limit=2)
    assert ([item["name"] for item in first["items"]], first["total"]) == (["a", "b"], 3)
    rest = place.get("/machine-groups", limit=2, cursor=first["next_cursor"])
    assert ([item["name"] for item in rest["items"]], rest["next_cursor"]) == (["c"], None)
    for path in ("/platforms", "/repositories", "/restore/mounts", "/notifications"):
        assert place.get(path, limit=1)["total"] == 0
        wrong = place.client.get(f"/api/v1{path}", params={"cursor": "junk"})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_input")


def test_what_a_point_alone_holds_stays_known_while_it_is_measured_anew(stocked: Place) -> None:
    unique = stocked.context.unique
    with stocked.context.database.reading() as session:
        [row] = session.scalars(select(Repository)).all()
    before = unique.of(row, PointsSeen(count=2, newest_id="a"), wait_s=60)
    assert before
    assert unique.of(row, PointsSeen(count=3, newest_id="b"), wait_s=0) == before
