"""From a VM to a downloaded file through the service as a user starts it: `holdfast serve` with its
worker, real processes, one image as the VM."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from holdfast.core.units import MIB
from tests.support.served import back_up, get, post, serve, until, wait

PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    with serve(tmp_path) as client:
        yield client


def _image(path: Path, tree: Path, text: str) -> None:
    (tree / "srv").mkdir(parents=True)
    (tree / "srv" / "letter.txt").write_text(text)
    (tree / "srv" / "noise").write_bytes(random.Random(1).randbytes(3 * MIB))
    with path.open("wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, path], check=True, timeout=60)


def test_vm_to_downloaded_file(service: httpx.Client, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    _image(images / "web.raw", tmp_path / "tree1", "version one\n")
    platform = post(
        service, "/platforms", {"kind": "images", "name": "Images", "path": str(images)}
    )
    [found] = post(service, f"/platforms/{platform['id']}/discover")["vms"]
    ids = {"platform_vm_ids": [found["platform_vm_id"]]}
    assert post(service, f"/platforms/{platform['id']}/vms", ids)["added"] == 1
    made = {"location": str(tmp_path / "repository"), "name": "Main", "mode": "create"}
    repository = post(service, "/repositories", {**made, "passphrase": PASSPHRASE})
    first = back_up(service, "web", repository["id"], "incremental")
    assert (first["status"], first["backup_type"]) == ("completed", "full"), first
    assert first["plan"][0]["reason"], "an incremental without a parent says why it is a full"
    _image(images / "web.raw", tmp_path / "tree2", "version two\n")
    second = back_up(service, "web", repository["id"], "incremental")
    assert (second["status"], second["backup_type"]) == ("completed", "incremental"), second
    assert second["progress_percent"] == 100 and second["file_path"].startswith("/")
    until(lambda: get(service, "/vms")["items"][0]["point_count"] == 2)
    assert get(service, "/vms")["items"][0]["protection"] == "protected"
    assert get(service, "/overview")["backups_today"] == 2
    for job, text in ((first, "version one\n"), (second, "version two\n")):
        mount = post(service, "/restore/mount", {"backup_id": job["id"]})
        [volume] = get(service, f"/restore/{mount['mount_id']}/files")["files"]
        answer = service.get(
            f"/api/v1/restore/{mount['mount_id']}/download",
            params={"path": f"{volume['path']}/srv/letter.txt"},
        )
        assert answer.text == text
    checked = post(service, f"/repositories/{repository['id']}/check", {})
    wait(service, checked["run_id"])
    where = f"/repositories/{repository['id']}"
    until(lambda: get(service, where)["last_check_result"] == "sound")
    rule = {"rule": {"keep_last": 1, "minimum_age_days": 0}}
    preview = post(service, f"/repositories/{repository['id']}/prune/preview", rule)
    assert (preview["keep_count"], preview["delete_count"]) == (1, 1)
    [going] = [item for item in preview["decisions"] if not item["keep"]]
    assert (going["backup_id"], going["immutable_until"]) == (first["id"], None)
    # Its own old letter and its own maps; what the two have in common stays.
    assert 0 < going["unique_bytes"] == preview["reclaim_bytes"] < going["stored_bytes"]
    elsewhere = service.post(f"/api/v1{where}/prune/preview", json={**rule, "time_zone": "Nowhere"})
    assert elsewhere.json()["params"]["what"] == "time_zone"
    assert post(service, f"{where}/prune/preview", {**rule, "vm_name": "web"}) == preview
    unasked = service.post(f"/api/v1{where}/prune", json={**rule, "dry_run": False})
    assert unasked.json()["code"] == "invalid_input"
    ids = [going["point_id"]]
    body = {**rule, "dry_run": False, "confirm_point_ids": ids, "compact": False}
    pruned = post(service, f"/repositories/{repository['id']}/prune", body)
    assert wait(service, pruned["run_id"])["state"] == "completed"
    until(lambda: [job["id"] for job in get(service, "/backup/list")["backups"]] == [second["id"]])
