"""What comes in wrong, or at the wrong time: a problem document with a code and what to do, and
nothing done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.backup.run import back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.hypervisors.images.driver import ImagesDriver
from holdfast.repository import Credential, LocalStore, Repository
from tests.support.locks import lockable_folder
from tests.support.place import PASSPHRASE, Place


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert (answer.status_code, found["code"]) == (status, code), answer.text
    assert len(found["detail"]) > 15 and found["detail"].endswith((".", "!", "?"))
    return found


def start(place: Place, **changes: Any) -> httpx.Response:
    [repository] = place.get("/repositories")["repositories"]
    body = {"vm_name": "web", "backup_type": "full", "repository_id": repository["id"], **changes}
    return place.client.post("/api/v1/backup/start", json=body)


def test_unknown_vm_repository_and_disk(stocked: Place) -> None:
    found = refused(start(stocked, vm_name="nobody"), 404, "not_found")
    assert found["params"]["id"] == "nobody" or "nobody" in found["detail"]
    refused(start(stocked, vm_name=None, vm_id="nobody"), 404, "not_found")
    refused(start(stocked, repository_id="nowhere"), 404, "not_found")
    refused(start(stocked, vm_name=None), 422, "invalid_input")
    found = refused(start(stocked, disks=["sdz"]), 422, "invalid_input")
    assert "sdz" in found["detail"]
    assert stocked.get("/runs")["total"] == 2, "only those that were there"


def test_a_duplicate_start_gets_the_running_one(stocked: Place) -> None:
    first, second = start(stocked), start(stocked, backup_type="incremental")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert stocked.get("/runs", state="active")["total"] == 1


def test_a_running_backup_is_not_deleted(stocked: Place) -> None:
    job = start(stocked).json()
    assert not job["can_delete"] and "running" in job["cannot_delete_reason"]
    where = f"/api/v1/backup/{job['id']}"
    refused(stocked.client.delete(where), 409, "still_used")
    assert stocked.client.post(f"{where}/cancel").json()["status"] == "cancelled"
    assert stocked.client.post(f"{where}/cancel").status_code == 409
    assert stocked.client.delete(where).status_code == 204
    refused(stocked.client.delete(where), 404, "not_found")


def test_a_held_backup_is_not_deleted(stocked: Place) -> None:
    [backup, _] = stocked.get("/backup/list")["backups"]
    where = f"/api/v1/backup/{backup['id']}"
    stocked.client.put(f"{where}/hold", json={"reason": "audit of 2026"})
    found = refused(stocked.client.delete(where), 409, "point_held")
    assert "audit of 2026" in found["detail"]
    assert len(list((stocked.repository / "points").iterdir())) == 2


def test_an_immutable_backup_is_not_deleted(place: Place, tmp_path: Path) -> None:
    with lockable_folder(tmp_path / "locks") as folder:
        (place.images / "web.raw").write_bytes(b"x" * 4096)
        location = str(folder / "repository")
        body = {"name": "Locked", "location": location, "mode": "create", "immutable_days": 1}
        made = place.post("/repositories", {**body, "passphrase": PASSPHRASE}, 201)
        store = LocalStore(Path(location))
        repository = Repository.open(store, Credential.passphrase(PASSPHRASE))
        driver = ImagesDriver(place.images / "web.raw")
        back_up_vm(
            driver=driver, vm=driver.list_vms()[0], repository=repository, cancel=CancelToken()
        )
        place.post(f"/repositories/{made['id']}/refresh")
        [backup] = place.get("/backup/list")["backups"]
        [chain] = place.get("/backup/chain", vm_id=backup["vm_id"])["chains"]
        for shown in (backup, place.get(f"/backup/{backup['id']}"), *chain["backups"]):
            assert shown["immutable_until"] and not shown["can_delete"]
            assert "immutable until" in shown["cannot_delete_reason"]
        [listed] = place.get("/repositories")["repositories"]
        assert (listed["immutable_days"], listed["immutable_mode"]) == (1, "compliance")
        assert not listed["immutable"], "root can take the attribute off"
        assert "root" in listed["immutable_message"] and listed["immutable_tested_at"]
        refused(place.client.delete(f"/api/v1/backup/{backup['id']}"), 409, "object_locked")
        assert place.get("/backup/list")["total"] == 1
        assert len(list(Path(location, "points").iterdir())) == 1


def test_a_repository_that_is_away(stocked: Place, tmp_path: Path) -> None:
    newest, oldest = stocked.get("/backup/list")["backups"]
    stocked.repository.rename(tmp_path / "away")
    [repository] = stocked.get("/repositories")["repositories"]
    body = {"vm_name": "web", "backup_type": "full", "repository_id": repository["id"]}
    client = stocked.client
    answers = [
        client.post("/api/v1/backup/preview", json=body),
        client.post("/api/v1/restore/mount", json={"backup_id": newest["id"]}),
        client.delete(f"/api/v1/backup/{oldest['id']}"),
        client.post(f"/api/v1/repositories/{repository['id']}/refresh"),
    ]
    for answer in answers:
        found = answer.json()
        assert 400 <= answer.status_code < 500 or answer.status_code == 503, answer.text
        assert found["code"] not in {"internal_error", "not_found"} and found["detail"], found
        assert str(stocked.repository) in found["detail"], "it says which"
    assert stocked.get(f"/repositories/{repository['id']}")["state"] == "offline"
    assert stocked.get("/backup/list")["total"] == 2, "what is known of it stays"
    (tmp_path / "away").rename(stocked.repository)
    assert client.delete(f"/api/v1/backup/{oldest['id']}").status_code == 204


HOSTILE = [
    {"path": "/../../etc/passwd"},
    {"path": "/{volume}/../../../etc/passwd"},
    {"path": "/{volume}/srv/../../../../../etc/passwd"},
    {"path": "../../etc/passwd"},
    {"path": "/{volume}//etc/passwd"},
    {"path": "/{volume}/srv/letter.txt/x"},
    {"path": "/{volume}/srv/letter.txt\0.jpg"},
    {"path": "/" + "a/" * 5000},
    {"path": "/{volume}/" + "n" * 5000},
    {"path": "/proc/self/environ"},
    {"path_b64": "Ly4uLy4uL2V0Yy9wYXNzd2Q"},
    {"path_b64": "!!!"},
    {"path_b64": "_____w"},
]


@pytest.mark.parametrize("query", HOSTILE, ids=str)
def test_paths_lead_nowhere_else(browsed: tuple[Place, str, str], query: dict[str, str]) -> None:
    place, mount, volume = browsed
    asked = {name: value.replace("{volume}", volume) for name, value in query.items()}
    for route in ("files", "preview", "download"):
        answer = place.client.get(f"/api/v1/restore/{mount}/{route}", params=asked)
        assert answer.status_code in {404, 409, 414, 422}, (route, answer.status_code, answer.text)
        assert answer.json()["detail"]
        assert "root:" not in answer.text


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.support.place import open_place, stock

    folder = tmp_path_factory.mktemp("browsed")
    with open_place(folder) as place:
        stock(place, folder)
        [backup, _] = place.get("/backup/list")["backups"]
        mount = place.post("/restore/mount", {"backup_id": backup["id"]}, 201)["mount_id"]
        [volume] = place.get(f"/restore/{mount}/files")["files"]
        yield place, mount, volume["name"]


def test_an_archive_of_what_is_not_there_is_refused_before_it_begins(
    browsed: tuple[Place, str, str],
) -> None:
    place, mount, volume = browsed
    paths = [f"/{volume}/srv/letter.txt", f"/{volume}/srv/nothing"]
    for asked in ({"path": paths}, {"path": paths[1], "format": "zip"}):
        answer = place.client.get(f"/api/v1/restore/{mount}/download", params=asked)
        refused(answer, 404, "guest_file_not_found")


def test_hostile_names_of_vms_and_groups(place: Place) -> None:
    names = [b"<img src=x onerror=alert(1)>.raw", b"a\nb.raw", b"\xff\xfe.raw", b"'; DROP.raw"]
    for name in names:
        path = os.path.join(os.fsencode(place.images), name)
        with open(path, "wb") as file:  # noqa: PTH123 - the name is bytes
            file.truncate(1 << 20)
    body = {"kind": "images", "name": "P", "path": str(place.images)}
    platform = place.post("/platforms", body, 201)
    answer = place.client.post(f"/api/v1/platforms/{platform['id']}/discover")
    assert answer.status_code == 200, answer.text
    found = {vm["name"]: vm["platform_vm_id"] for vm in answer.json()["vms"]}
    assert "<img src=x onerror=alert(1)>" in found, "as it is: showing it safely is the page's part"
    added = place.client.post(
        f"/api/v1/platforms/{platform['id']}/vms", json={"platform_vm_ids": list(found.values())}
    )
    assert added.status_code == 200, added.text
    assert place.get("/vms", q="'; DROP")["total"] == 1
    for name in ("a\nb", "", "x" * 300, "\0"):
        refused(
            place.client.post("/api/v1/machine-groups", json={"name": name, "vm_ids": []}),
            422,
            "invalid_request",
        )


def test_restores_write_only_where_they_may(stocked: Place) -> None:
    [backup, _] = stocked.get("/backup/list")["backups"]
    for output in (
        "/etc/cron.d/x",
        "/var/lib/holdfast/restores/../../../../etc/x",
        "relative.img",
        "/var/lib/holdfast/restores/a\0b",
        str(stocked.repository / "x"),
    ):
        body = {"backup_id": backup["id"], "disk": "web.raw", "output": output}
        found = refused(
            stocked.client.post("/api/v1/restore/disks", json=body), 422, "invalid_input"
        )
        assert found["params"]["what"] == "output"


def test_wrong_types_name_the_field(stocked: Place) -> None:
    for changes, field in (
        ({"backup_type": "differential"}, "backup_type"),
        ({"disks": "vda"}, "disks"),
        ({"disks": []}, "disks"),
        ({"priority": "high"}, "priority"),
        ({"repository_id": ["x"]}, "repository_id"),
        ({"surplus": 1}, "surplus"),
        ({"tags": ["no spaces please"]}, "tags.0"),
    ):
        found = refused(start(stocked, **changes), 422, "invalid_request")
        assert [item["field"] for item in found["fields"]] == [field], found


def test_a_wrong_passphrase_and_what_is_no_repository(place: Place, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    body = {"name": "R", "mode": "open", "passphrase": PASSPHRASE}
    for location in (str(tmp_path / "folder"), str(tmp_path / "nothing"), "relative", "s3://b"):
        answer = place.client.post("/api/v1/repositories", json={**body, "location": location})
        assert answer.status_code in {404, 409, 422, 503}, answer.text
        assert answer.json()["code"] != "internal_error" and PASSPHRASE not in answer.text
    assert place.get("/repositories")["total"] == 0
