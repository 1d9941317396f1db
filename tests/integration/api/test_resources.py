"""The routes on real parts: images on disk, a repository in a folder, sandboxed readers, SQLite. No
worker: what is backed up here was backed up by the data path before the service saw it."""

from __future__ import annotations

import io
import random
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from holdfast.api.app import create_app
from holdfast.api.context import ServiceContext
from holdfast.api.first_start import create_first_administrator, open_service
from holdfast.backup.run import back_up_vm
from holdfast.catalog import tokens, users
from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import SystemClock
from holdfast.core.units import MIB
from holdfast.hypervisors.images.driver import ImagesDriver
from holdfast.policy.access import Grant, Role, ScopeKind
from holdfast.repository import Credential, LocalStore, Repository
from holdfast.settings import read_service_settings

PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A service, and images and a repository beside it."""

    context: ServiceContext
    client: TestClient
    images: Path
    repository: Path

    def token(self, *grants: Grant) -> dict[str, str]:
        with self.context.database.writing() as session:
            owner = users.find_user_by_name(session, "admin")
            assert owner is not None
            _, token = tokens.add_token(
                session,
                owner,
                name="test",
                grants=grants,
                expires_at=None,
                clock=self.context.clock,
            )
        return {"Authorization": f"Bearer {token}"}

    def get(self, route: str, /, **query: Any) -> Any:
        answer = self.client.get(f"/api/v1{route}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(f"/api/v1{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    clock = SystemClock()
    settings = read_service_settings(
        {"HOLDFAST_STATE": str(tmp_path / "state"), "HOLDFAST_CACHE": str(tmp_path / "cache")}
    )
    context = open_service(settings, clock)
    assert create_first_administrator(context.database, context.passwords, clock)
    with context.database.writing() as session:
        owner = users.find_user_by_name(session, "admin")
        assert owner is not None
        owner.must_change_password = False
    images = tmp_path / "images"
    images.mkdir()
    with TestClient(create_app(context), base_url="http://127.0.0.1") as client:
        made = Place(
            context=context, client=client, images=images, repository=tmp_path / "repository"
        )
        client.headers.update(made.token(Grant(role=Role.ADMINISTRATOR)))
        yield made


def _image(path: Path, tree: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    with path.open("wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, path], check=True, timeout=60)


@pytest.fixture
def stocked(place: Place, tmp_path: Path) -> Place:
    """One VM with a full and an incremental backup; platform and repository are added."""
    image = place.images / "web.raw"
    letter = {"srv/letter.txt": b"version one\n", "srv/big": random.Random(1).randbytes(3 * MIB)}
    _image(image, tmp_path / "tree1", letter)
    store = LocalStore(place.repository)
    store.prepare()
    repository, _ = Repository.create(store, Credential.passphrase(PASSPHRASE))
    for text in (b"version one\n", b"version two\n"):
        _image(image, tmp_path / f"tree-{text[8:11].decode()}", {**letter, "srv/letter.txt": text})
        driver = ImagesDriver(image)
        back_up_vm(
            driver=driver, vm=driver.list_vms()[0], repository=repository, cancel=CancelToken()
        )
    body = {"kind": "images", "name": "Images", "path": str(place.images)}
    platform = place.post("/platforms", body, 201)
    [vm] = place.post(f"/platforms/{platform['id']}/discover")["vms"]
    place.post(f"/platforms/{platform['id']}/vms", {"platform_vm_ids": [vm["platform_vm_id"]]})
    added = place.post(
        "/repositories",
        {
            "location": str(place.repository),
            "name": "Main",
            "mode": "open",
            "passphrase": PASSPHRASE,
        },
        201,
    )
    assert added["imported_backups"] == 2
    return place


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
