"""A folder with a hundred thousand files on a real ext4 file system, backed up and looked at
through the API. Needs root for its loop mount. Enter at `look_into_folder`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.units import MIB
from tests.load.scene import percentile
from tests.load.seen import Seen
from tests.support.filesystems import mounted, run
from tests.support.running_service import RunningService, run_service
from tests.support.service_lab import ServiceLab, furnish, post

_NAME = "archive"
_PAGE = 500
_OPEN_MS, _FIRST_MS, _NEXT_MS, _SEARCH_MS = 3000.0, 2000.0, 100.0, 3000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFolder:
    service: RunningService
    lab: ServiceLab
    backup_id: str
    entries: int


def look_into_folder(opened: OpenFolder) -> list[Seen]:
    lab = opened.lab
    mount, mounting_ms = _timed(
        lambda: post(lab.http, "/restore/mount", backup_id=opened.backup_id)
    )
    files = f"/restore/{mount['mount_id']}/files"
    [volume], volumes_ms = _timed(lambda: lab.get(files)["files"])
    path = f"{volume['path']}/many"
    page, first_ms = _timed(lambda: lab.get(files, path=path, limit=_PAGE))
    found, next_ms = len(page["files"]), list[float]()
    assert page["total"] == opened.entries, page["total"]
    while page["next_cursor"] is not None:
        cursor = page["next_cursor"]
        page, taken_ms = _timed(lambda at=cursor: lab.get(files, path=path, limit=_PAGE, cursor=at))
        next_ms.append(taken_ms)
        found += len(page["files"])
    assert found == opened.entries, found
    search, search_ms = _timed(
        lambda: lab.get(f"/restore/{mount['mount_id']}/search", path=path, q="file-000777")
    )
    assert search["files"], search
    return [
        Seen(
            what="folder: mount and volumes", bar_ms=_OPEN_MS, values_ms=[mounting_ms + volumes_ms]
        ),
        Seen(what=f"folder: first {_PAGE} of {found}", bar_ms=_FIRST_MS, values_ms=[first_ms]),
        Seen(what="folder: a further page", bar_ms=_NEXT_MS, values_ms=[percentile(next_ms, 95)]),
        Seen(what="folder: search", bar_ms=_SEARCH_MS, values_ms=[search_ms]),
    ]


@contextmanager
def open_folder(folder: Path, entries: int) -> Generator[OpenFolder]:
    """A service with one backup of a disk with that folder."""
    with run_service(folder / "state", worker=True) as service:
        lab = furnish(service, folder, {"small": 4096})
        image = folder / "images" / f"{_NAME}.raw"
        _make_image(image, entries)
        found = post(lab.http, f"/platforms/{lab.platform_id}/discover")["vms"]
        [vm] = [one for one in found if one["name"] == _NAME]
        post(
            lab.http,
            f"/platforms/{lab.platform_id}/vms",
            platform_vm_ids=[vm["platform_vm_id"]],
        )
        run_id = lab.start_backup(_NAME)
        assert lab.await_end(run_id, timeout_s=300)["state"] == "completed"
        yield OpenFolder(service=service, lab=lab, backup_id=run_id, entries=entries)
        service.stop()


def _make_image(image: Path, entries: int) -> None:
    with image.open("wb") as file:
        file.truncate(512 * MIB)
    run("mkfs.ext4", "-q", "-N", str(entries + 1000), image)
    with mounted(image, image.parent.parent / "mounted") as root:
        many = root / "many"
        many.mkdir()
        for number in range(entries):
            (many / f"file-{number:06}.log").touch()


def _timed(ask: Callable[[], Any]) -> tuple[Any, float]:
    started_s = time.perf_counter()
    answer = ask()
    return answer, 1000 * (time.perf_counter() - started_s)
