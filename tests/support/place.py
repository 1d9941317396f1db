"""A service in the test's process with a VM that is an image, a repository in a folder, and, once
stocked, two backups in it. Enter at `open_place` and `stock`."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from holdfast.api.access.passwords import PasswordHasher
from holdfast.api.app import create_app
from holdfast.api.context import ServiceContext
from holdfast.api.first_start import create_first_administrator, open_service
from holdfast.backup.run import back_up_vm
from holdfast.catalog import tokens, users
from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import SystemClock
from holdfast.core.units import MIB
from holdfast.hypervisors.images.driver import ImagesDriver
from holdfast.policy.access import Grant, Role
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


@contextmanager
def open_place(folder: Path) -> Generator[Place]:
    clock = SystemClock()
    settings = read_service_settings(
        {"HOLDFAST_STATE": str(folder / "state"), "HOLDFAST_CACHE": str(folder / "cache")}
    )
    # A real password costs a tenth of a second.
    context = replace(open_service(settings, clock), passwords=PasswordHasher(memory_kib=256))
    assert create_first_administrator(context.database, context.passwords, clock)
    with context.database.writing() as session:
        owner = users.find_user_by_name(session, "admin")
        assert owner is not None
        owner.must_change_password = False
    images = folder / "images"
    images.mkdir()
    with TestClient(create_app(context), base_url="http://127.0.0.1") as client:
        made = Place(
            context=context, client=client, images=images, repository=folder / "repository"
        )
        client.headers.update(made.token(Grant(role=Role.ADMINISTRATOR)))
        yield made


def make_image(path: Path, tree: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    with path.open("wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, path], check=True, timeout=60)


def stock(place: Place, folder: Path) -> None:
    """One VM with a full and an incremental backup; platform and repository are added."""
    image = place.images / "web.raw"
    letter = {"srv/letter.txt": b"version one\n", "srv/big": random.Random(1).randbytes(3 * MIB)}
    make_image(image, folder / "tree1", letter)
    store = LocalStore(place.repository)
    store.prepare()
    repository, _ = Repository.create(store, Credential.passphrase(PASSPHRASE))
    for text in (b"version one\n", b"version two\n"):
        make_image(
            image, folder / f"tree-{text[8:11].decode()}", {**letter, "srv/letter.txt": text}
        )
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
