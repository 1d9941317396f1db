"""The catalogue made anew from repositories: nothing that is known of points and of the VMs they
are of needs the service's database."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.api.context import ServiceContext
from holdfast.backup.run import back_up_vm
from holdfast.catalog.models import RestorePoint, VirtualMachine
from holdfast.core.cancellation import CancelToken
from holdfast.core.units import MIB
from holdfast.hypervisors.images.driver import ImagesDriver
from holdfast.repository import Credential, LocalStore, Repository
from tests.support.damage import flip_bit
from tests.support.served import BINARY, back_up, environment, get, post, serve, until
from tests.support.service import TestService

PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105
_OF_THE_ROW = {"id", "vm_id", "vm_context_id", "platform_id", "added_at", "seen_at"}
"""Names and times that the catalogue itself gives."""
_OF_THE_RUN = {
    *_OF_THE_ROW,
    # When it was queued and started, by whom, and how it went on: not kept in a repository.
    *(
        "created_at",
        "started_at",
        "completed_at",
        "created_by",
        "imported",
        "attempt",
        "not_before",
    ),
    *("phase", "bottleneck", "disks", "bytes_transferred", "total_bytes", "planned_bytes"),
}


# -- the service as it is started ------------------------------------------------------------------


def _add_vm(client: httpx.Client, images: Path) -> None:
    body = {"kind": "images", "name": "Images", "path": str(images)}
    platform = post(client, "/platforms", body)
    [found] = post(client, f"/platforms/{platform['id']}/discover")["vms"]
    ids = {"platform_vm_ids": [found["platform_vm_id"]]}
    assert post(client, f"/platforms/{platform['id']}/vms", ids)["added"] == 1


def _add_repository(client: httpx.Client, location: Path, mode: str) -> Any:
    body = {"location": str(location), "name": "Main", "mode": mode}
    return post(client, "/repositories", {**body, "passphrase": PASSPHRASE})


def _without(document: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def _known(client: httpx.Client) -> dict[str, Any]:
    """Everything the service says of its VM and of the points."""
    [vm] = get(client, "/vms")["items"]
    backups = get(client, "/backup/list")["backups"]
    chains = get(client, "/backup/chain", vm_id=vm["id"])["chains"]
    [repository] = get(client, "/repositories")["repositories"]
    storage = get(client, f"/repositories/{repository['id']}/storage")
    return {
        "vm": _without(get(client, f"/vms/{vm['id']}"), _OF_THE_ROW),
        "backups": {
            job["id"]: {
                **_without(job, _OF_THE_RUN),
                "plan": [_without(disk, _OF_THE_RUN) for disk in job["plan"]],
            }
            for job in backups
        },
        "chains": [
            ([job["id"] for job in chain["backups"]], chain["disk_stored_bytes"])
            for chain in chains
        ],
        "timeline": get(client, f"/vms/{vm['id']}/timeline")["points"],
        "repository": (repository["id"], storage["backup_count"], storage["logical_bytes"]),
    }


def test_the_database_is_lost_and_everything_is_back(tmp_path: Path) -> None:
    images, place = tmp_path / "images", tmp_path / "repository"
    images.mkdir()
    image = images / "web.raw"
    image.write_bytes(random.Random(1).randbytes(5 * MIB))
    with serve(tmp_path) as client:
        _add_vm(client, images)
        repository = _add_repository(client, place, "create")
        first = back_up(client, "web", repository["id"], "full")
        with image.open("r+b") as file:
            file.write(random.Random(2).randbytes(MIB))
        back_up(client, "web", repository["id"], "incremental")
        held = client.put(f"/api/v1/backup/{first['id']}/hold", json={"reason": "court order"})
        assert held.status_code == 200, held.text
        until(lambda: get(client, "/vms")["items"][0]["point_count"] == 2)
        before = _known(client)
    shutil.rmtree(tmp_path / "state")
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    with serve(tmp_path) as client:
        assert get(client, "/backup/list")["total"] == 0
        added = _add_repository(client, place, "open")
        assert (added["id"], added["imported_backups"]) == (repository["id"], 2)
        # The VM is known, and everything of it that no platform needs to be asked for.
        [vm] = get(client, "/vms", managed=False)["items"]
        for name in ("name", "size_bytes", "disk_count", "point_count", "last_backup_at"):
            assert vm[name] == before["vm"][name], name
        _add_vm(client, images)
        assert [row["id"] for row in get(client, "/vms")["items"]] == [vm["id"]]
        after = _known(client)
        for what, expected in before.items():
            assert after[what] == expected, what
        # And the next backup goes on from where the lost service was.
        third = back_up(client, "web", repository["id"], "incremental")
        assert (third["status"], third["backup_type"]) == ("completed", "incremental")


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def stocked(service: TestService, tmp_path: Path) -> TestService:
    """Two points of a VM, added by their repository and by nothing else."""
    image = tmp_path / "web.raw"
    image.write_bytes(random.Random(1).randbytes(MIB))
    store = LocalStore(tmp_path / "repository")
    store.prepare()
    repository, _ = Repository.create(store, Credential.passphrase(PASSPHRASE))
    _back_up(image, repository)
    client = service.administrator()
    body = {"location": str(tmp_path / "repository"), "name": "Main", "mode": "open"}
    post(client, "/repositories", {**body, "passphrase": PASSPHRASE})
    _back_up(image, repository, size=2 * MIB)
    return service


def _back_up(image: Path, repository: Repository, size: int | None = None) -> str:
    if size is not None:
        with image.open("r+b") as file:
            file.truncate(size)
    driver = ImagesDriver(image)
    report = back_up_vm(
        driver=driver, vm=driver.list_vms()[0], repository=repository, cancel=CancelToken()
    )
    return report.manifest.id


def _rebuild(service: TestService, *names: str, exits: int = 0) -> dict[str, Any]:
    settings = service.context.settings
    done = subprocess.run(
        [BINARY, "catalogue", "rebuild", *names, "--json"],
        env={
            **environment(settings.state_root.parent),
            "HOLDFAST_DATABASE_URL": settings.database_url,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == exits, done.stdout + done.stderr
    return json.loads(done.stdout)


def _rows(context: ServiceContext) -> tuple[list[RestorePoint], list[VirtualMachine]]:
    with context.database.reading() as session:
        points = session.query(RestorePoint).order_by(RestorePoint.captured_at).all()
        return points, session.query(VirtualMachine).all()


def test_rebuild_lists_what_is_there_and_nothing_else(stocked: TestService, tmp_path: Path) -> None:
    points, [vm] = _rows(stocked.context)
    assert (len(points), vm.size_bytes) == (1, MIB)
    [done] = _rebuild(stocked)["repositories"]
    assert (done["points"], done["added"], done["removed"]) == (2, 1, 0)
    points, [vm] = _rows(stocked.context)
    assert (len(points), vm.point_count) == (2, 2)
    # As the newest point says.
    assert (vm.size_bytes, [disk["size_bytes"] for disk in vm.disks]) == (2 * MIB, [2 * MIB])
    repository = Repository.open(
        LocalStore(tmp_path / "repository"), Credential.passphrase(PASSPHRASE)
    )
    repository.delete_point(points[1].id)
    [done] = _rebuild(stocked, "Main")["repositories"]
    assert (done["points"], done["added"], done["removed"]) == (1, 0, 1)
    assert (_rows(stocked.context)[1][0].size_bytes, done["problem"]) == (MIB, None)
    [again] = _rebuild(stocked)["repositories"]
    assert (again["added"], again["removed"]) == (0, 0)


def test_what_cannot_be_read_is_said(stocked: TestService, tmp_path: Path) -> None:
    _rebuild(stocked)
    first, _ = _rows(stocked.context)[0]
    manifest = tmp_path / "repository" / "points" / first.id
    flip_bit(manifest, 700)
    [done] = _rebuild(stocked, exits=3)["repositories"]
    assert first.id in done["damaged"][0]
    assert done["removed"] == 0 and _rows(stocked.context)[0][0].damaged, "it stays, as damaged"
    flip_bit(manifest, 700)
    assert _rebuild(stocked)["repositories"][0]["added"] == 0
    assert _rows(stocked.context)[0][0].damaged == ""
    # Another repository in its place, or none, is never taken for one that lost its points.
    (tmp_path / "repository").rename(tmp_path / "away")
    assert "not" in _rebuild(stocked, exits=1)["repositories"][0]["problem"]
    other = LocalStore(tmp_path / "repository")
    other.prepare()
    Repository.create(other, Credential.passphrase(PASSPHRASE))
    assert "another repository" in _rebuild(stocked, exits=1)["repositories"][0]["problem"]
    assert len(_rows(stocked.context)[0]) == 2
    assert "known are: Main" in _rebuild(stocked, "Mian", exits=2)["error"]["message"]
