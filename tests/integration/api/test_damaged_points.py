"""Points whose manifest cannot be read are named, to who may see their VM, and come back healed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.api.upkeep import watch
from holdfast.policy.access import Grant, Role, ScopeKind
from tests.support.place import PASSPHRASE, Place


def test_a_damaged_point_is_named_until_it_is_healed(stocked: Place) -> None:
    newest, oldest = stocked.get("/backup/list")["backups"]
    manifest, whole = damage(stocked, newest["point_id"])
    repository = refreshed(stocked)
    assert repository["damaged_count"] == 1
    listed, sound = stocked.get("/backup/list")["backups"]
    assert listed["id"] == newest["id"] and listed["damaged"] and not listed["can_browse"]
    assert (sound["damaged"], sound["can_browse"]) == ("", True)
    found = stocked.get(f"/repositories/{repository['id']}/damaged")
    assert found["total"] == 1 and "copy it back" in found["hint"]
    [named] = found["points"]
    assert (named["backup_id"], named["vm_name"]) == (newest["id"], "web")
    assert named["problem"] == listed["damaged"]
    vm = stocked.get(f"/vms/{newest['vm_id']}")
    assert (vm["last_backup_at"], vm["point_count"]) == (oldest["created_at"], 1)
    timeline = stocked.get(f"/vms/{newest['vm_id']}/timeline")["points"]
    assert [bool(point["damaged"]) for point in timeline] == [False, True]
    refused = stocked.client.post("/api/v1/restore/mount", json={"backup_id": newest["id"]})
    assert refused.json()["code"] == "object_damaged", refused.text
    manifest.write_bytes(whole)
    assert refreshed(stocked)["damaged_count"] == 0
    assert stocked.get("/backup/list")["backups"][0]["damaged"] == ""
    assert stocked.get(f"/vms/{newest['vm_id']}")["point_count"] == 2


def test_who_sees_all_hears_of_points_of_which_nothing_is_known(stocked: Place) -> None:
    newest, oldest = stocked.get("/backup/list")["backups"]
    damage(stocked, newest["point_id"])
    [repository] = stocked.get("/repositories")["repositories"]
    stocked.client.delete(f"/api/v1/repositories/{repository['id']}")
    body = {"location": str(stocked.repository), "name": "Again", "mode": "open"}
    added = stocked.post("/repositories", {**body, "passphrase": PASSPHRASE}, 201)
    assert (added["imported_backups"], added["damaged_count"]) == (1, 1)
    damage(stocked, oldest["point_id"])
    refreshed(stocked)
    where = f"/api/v1/repositories/{repository['id']}/damaged"
    points = stocked.client.get(where).json()["points"]
    assert [(point["point_id"], point["backup_id"]) for point in points] == [
        (oldest["point_id"], oldest["id"]),
        (newest["point_id"], None),
    ]
    foreign = stocked.token(Grant(role=Role.VIEWER, scope=ScopeKind.TAG, value="none"))
    assert stocked.client.get(where, headers=foreign).json()["points"] == []


def test_it_is_told_once(stocked: Place) -> None:
    [newest, _] = stocked.get("/backup/list")["backups"]
    damage(stocked, newest["point_id"])
    refreshed(stocked)
    [message] = [item for item in watch(stocked.context) if item.event == "integrity_problem"]
    assert message.body == "Main: 1 restore points cannot be read"
    assert [item for item in watch(stocked.context) if item.event == "integrity_problem"] == []


def damage(place: Place, point_id: str) -> tuple[Path, bytes]:
    manifest = place.repository / "points" / point_id
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return manifest, whole


def refreshed(place: Place) -> Any:
    [repository] = place.get("/repositories")["repositories"]
    return place.post(f"/repositories/{repository['id']}/refresh")
