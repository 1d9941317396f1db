"""One file over restore points, read by real sandboxed readers."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.file_versions import _unified  # pyright: ignore[reportPrivateUsage]
from holdfast.backup.run import back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.hypervisors.images.driver import ImagesDriver
from holdfast.policy.access import Grant, Role, ScopeKind
from holdfast.repository import Credential, LocalStore, Repository
from tests.support.place import PASSPHRASE, Place, make_image


@pytest.fixture
def three(stocked: Place, tmp_path: Path) -> Place:
    """A third backup, in which the letter is gone and something binary has come."""
    image = stocked.images / "web.raw"
    files = {"srv/other.txt": "zwölf\n".encode(), "srv/big": random.Random(2).randbytes(2 << 20)}
    make_image(image, tmp_path / "tree-three", {**files, "srv/small": b"\0\1\2"})
    repository = Repository.open(LocalStore(stocked.repository), Credential.passphrase(PASSPHRASE))
    driver = ImagesDriver(image)
    for _ in range(2):  # the fourth finds nothing new
        back_up_vm(
            driver=driver, vm=driver.list_vms()[0], repository=repository, cancel=CancelToken()
        )
    [row] = stocked.get("/repositories")["repositories"]
    stocked.post(f"/repositories/{row['id']}/refresh")
    return stocked


def backups(place: Place) -> list[str]:
    """Oldest first."""
    return [item["id"] for item in reversed(place.get("/backup/list")["backups"])]


def volume_of(place: Place, backup: str) -> str:
    mount = place.post("/restore/mount", {"backup_id": backup}, 201)
    [volume] = place.get(f"/restore/{mount['mount_id']}/files")["files"]
    return volume["path"]


def versions(place: Place, path: str, **query: Any) -> Any:
    [vm] = place.get("/vms")["items"]
    return place.get("/files/versions", vm_id=vm["id"], path=path, **query)


def test_versions_of_a_file_across_points(three: Place) -> None:
    ids = backups(three)
    volume = volume_of(three, ids[0])
    found = versions(three, f"{volume}/srv/letter.txt")
    assert [item["backup_id"] for item in found["versions"]] == ids[::-1]
    assert [item["state"] for item in found["versions"]] == [
        "absent",
        "absent",
        "present",
        "present",
    ]
    assert [item["changed"] for item in found["versions"]][:2] == [False, True]
    assert found["versions"][-1]["size"] == len("version one\n")
    first = versions(three, f"{volume}/srv/letter.txt", limit=2)
    assert len(first["versions"]) == 2 and first["total"] == 4
    assert first["versions"][1]["changed"], "the last of a page is compared with the next one, too"
    rest = versions(three, f"{volume}/srv/letter.txt", cursor=first["next_cursor"])
    assert first["versions"] + rest["versions"] == found["versions"]
    assert rest["next_cursor"] is None
    nowhere = versions(three, "/nothing/at/all")
    assert {item["state"] for item in nowhere["versions"]} <= {"absent", "unreadable"}


def test_text_differences_of_two_versions(three: Place) -> None:
    ids = backups(three)
    volume = volume_of(three, ids[0])

    def diff(left: str, right: str, name: str) -> Any:
        query = {"left_backup_id": left, "right_backup_id": right, "path": f"{volume}/srv/{name}"}
        return three.client.get("/api/v1/files/diff", params=query)

    found = diff(ids[0], ids[1], "letter.txt").json()
    assert (found["equal"], found["text"]) == (False, True)
    lines = found["diff"].splitlines()
    assert lines[0].startswith("--- ") and lines[1].startswith("+++ ")
    assert lines[3:] == ["-version one", "+version two"]
    same = diff(ids[2], ids[3], "other.txt").json()
    assert (same["equal"], same["text"], same["diff"]) == (True, True, "")
    large = diff(ids[1], ids[2], "big").json()
    assert (large["equal"], large["text"], large["diff"]) == (False, False, "")
    assert diff(ids[2], ids[3], "big").json()["equal"]
    assert not diff(ids[2], ids[3], "small").json()["text"]
    gone = diff(ids[0], ids[2], "letter.txt")
    assert (gone.status_code, gone.json()["code"]) == (404, "guest_file_not_found")
    folder = diff(ids[0], ids[1], "")
    assert (folder.status_code, folder.json()["code"]) == (422, "guest_file_kind_mismatch")
    listed = three.get("/audit", action="files.diff")
    assert listed["total"] >= 3


def test_search_in_a_backup_without_a_mount(stocked: Place) -> None:
    one, _ = backups(stocked)
    found = stocked.get("/files/search", backup_id=one, q="LETTER")
    assert [entry["name"] for entry in found["files"]] == ["letter.txt"]
    assert found["complete"] and found["files"][0]["path"].endswith("/srv/letter.txt")
    first = stocked.get("/files/search", backup_id=one, q="*", limit=1)
    assert len(first["files"]) == 1 and not first["complete"]
    assert stocked.get("/restore/mounts")["total"] == 0


def test_only_who_may_read_files_of_the_vm(three: Place) -> None:
    ids = backups(three)
    [vm] = three.get("/vms")["items"]
    diff = {"left_backup_id": ids[0], "right_backup_id": ids[1], "path": "/x/y"}
    asked = (("diff", diff), ("versions", {"vm_id": vm["id"], "path": "/x"}))
    asked += (("search", {"backup_id": ids[0], "q": "x"}),)
    viewer = three.token(Grant(role=Role.VIEWER))
    other = three.token(Grant(role=Role.RESTORE_OPERATOR, scope=ScopeKind.TAG, value="mine"))
    for route, query in asked:
        address = f"/api/v1/files/{route}"
        assert three.client.get(address, params=query, headers=viewer).status_code == 403
        assert three.client.get(address, params=query, headers=other).status_code == 404


@pytest.mark.parametrize("query", [{}, {"path": ""}, {"path_b64": "%"}, {"path": "/a/../../etc"}])
def test_paths_that_are_none(stocked: Place, query: dict[str, str]) -> None:
    one, other = backups(stocked)
    asked = {"left_backup_id": one, "right_backup_id": other, **query}
    answer = stocked.client.get("/api/v1/files/diff", params=asked)
    assert answer.status_code in {404, 422} and answer.json()["detail"], answer.text


def test_files_made_to_be_slow_to_compare() -> None:
    """Every line different from every other, most of them in both files, in another order."""
    lines = [f"{number}\n".encode() for number in range(40_000)]
    before = b"".join(lines)
    random.Random(3).shuffle(lines)
    started_s = time.monotonic()
    assert _unified(before, b"".join(lines), ("a", "b")).startswith(b"--- a\n+++ b\n")
    assert time.monotonic() - started_s < 60
