"""A running service with an images platform, its VMs and a repository, set up through its API.
Enter at `furnish`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.support.running_service import RunningService

PASSWORD = "a-quiet-lake-in-autumn"  # noqa: S105
PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105


@dataclass(frozen=True, kw_only=True)
class ServiceLab:
    http: httpx.Client
    """Signed in as the administrator."""
    platform_id: str
    repository_id: str
    vm_ids: dict[str, str]
    """By name."""

    def get(self, path: str, /, **query: Any) -> Any:
        answer = self.http.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start_backup(self, name: str, **body: Any) -> str:
        return post(
            self.http,
            "/backup/start",
            vm_name=name,
            backup_type="incremental",
            repository_id=self.repository_id,
            **body,
        )["id"]

    def await_end(self, run_id: str, timeout_s: float = 120.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while (run := self.get(f"/runs/{run_id}"))["state"] in {"pending", "running"}:
            assert time.monotonic() < deadline, run
            time.sleep(0.05)
        return run


def furnish(service: RunningService, folder: Path, sizes: dict[str, int]) -> ServiceLab:
    """VMs of these names and sizes in `folder`, full of noise; a repository beside them."""
    images = folder / "images"
    images.mkdir()
    for number, (name, size) in enumerate(sizes.items()):
        (images / f"{name}.raw").write_bytes(np.random.default_rng(number).bytes(size))
    http = service.client(Origin=service.url)
    sign_in(http, service.password)
    platform = post(http, "/platforms", kind="images", name="Images", path=str(images))["id"]
    found = post(http, f"/platforms/{platform}/discover")["vms"]
    ids = [vm["platform_vm_id"] for vm in found]
    added = post(http, f"/platforms/{platform}/vms", platform_vm_ids=ids)["vms"]
    place = {"location": str(folder / "repository"), "name": "Main", "mode": "create"}
    return ServiceLab(
        http=http,
        platform_id=platform,
        repository_id=post(http, "/repositories", passphrase=PASSPHRASE, **place)["id"],
        vm_ids={vm["name"]: vm["vm_id"] for vm in added},
    )


def sign_in(http: httpx.Client, first: str | None = None) -> None:
    """With the first password it is changed."""
    if first:
        post(http, "/auth/login", name="admin", password=first)
        post(http, "/auth/password", current_password=first, new_password=PASSWORD)
    assert post(http, "/auth/login", name="admin", password=PASSWORD)["state"] == "signed_in"


def post(http: httpx.Client, path: str, /, **body: Any) -> Any:
    answer = http.post(f"/api/v1{path}", json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None
