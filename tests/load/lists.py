"""How long the API takes for every list, in a catalogue of any size. Enter at `ask_everything`."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

import httpx

from holdfast.catalog.paging import encode_cursor

_ROWS = 50


def questions(api: httpx.Client) -> Mapping[str, str]:
    """By what a person asks for, the path that the dashboard asks."""
    vms = _get(api, "/vms?limit=1&sort=stored_bytes&order=desc")
    backups = _get(api, f"/backup/list?limit=1&vm_id={vms['items'][0]['id']}")
    backup = backups["backups"][0]
    total_vms, total = vms["total"], _get(api, "/backup/list?limit=1")["total"]
    vm, name = backup["vm_id"], backup["vm_name"]
    half, last = encode_cursor(total // 2), encode_cursor(max(0, total - _ROWS))
    since = backup["created_at"]
    listed = {
        "VMs": "/vms?",
        "VMs, newest backup first": "/vms?sort=last_backup_at&order=desc",
        "VMs, largest first": "/vms?sort=size_bytes&order=desc",
        "VMs, part of a name": f"/vms?q={name[-3:]}",
        "VMs, failing": "/vms?protection=failing",
        "VMs, of a tag": f"/vms?tag={name.split('-')[0]}",
        "VMs, last page": f"/vms?cursor={encode_cursor(max(0, total_vms - _ROWS))}",
        "backups": "/backup/list?",
        "backups, by VM": "/backup/list?sort=vm_name&order=asc",
        "backups, most stored first": "/backup/list?sort=stored_bytes",
        "backups, oldest first": "/backup/list?order=asc",
        "backups, failed": "/backup/list?status=failed",
        "backups, completed": "/backup/list?status=completed",
        "backups, running": "/backup/list?status=running",
        "backups, full": "/backup/list?backup_type=full",
        "backups, of a repository": f"/backup/list?repository_id={backup['repository_id']}",
        "backups, of a VM": f"/backup/list?vm_id={vm}",
        "backups, of a VM's name": f"/backup/list?vm_name={name}",
        "backups, part of a name": f"/backup/list?q={name[-3:]}",
        "backups, since": httpx.QueryParams({"since": since}),
        "backups, page in the middle": f"/backup/list?cursor={half}",
        "backups, last page": f"/backup/list?cursor={last}",
        "backups, last page by VM": f"/backup/list?sort=vm_name&cursor={last}",
        "runs": "/runs?",
        "runs, failed": "/runs?state=failed",
        "runs, active": "/runs?state=active",
        "runs, of a VM": f"/runs?vm_id={vm}",
        "runs, last page": f"/runs?cursor={last}",
        "audit": "/audit?",
    }
    paths = {
        what: f"/backup/list?{ask}" if isinstance(ask, httpx.QueryParams) else ask
        for what, ask in listed.items()
    }
    return {
        **{what: f"{path}&limit={_ROWS}".replace("?&", "?") for what, path in paths.items()},
        "dashboard": "/overview?time_zone=Europe/Berlin",
        "log": "/logs?limit=200",
        "log, errors": "/logs?limit=200&level=error",
        "log, part of a message": "/logs?limit=200&q=stopped",
        "log, nothing found": "/logs?limit=200&q=xyzzy",
        "log, of a VM": f"/logs?limit=200&vm_id={vm}",
        "monitoring": "/monitoring",
        "repositories": "/repositories",
        "groups": "/machine-groups",
        "a VM": f"/vms/{vm}",
        "its timeline": f"/vms/{vm}/timeline",
        "its chains": f"/backup/chain?vm_id={vm}",
        "a backup": f"/backup/{backup['id']}",
        "a run": f"/runs/{backup['id']}",
    }


def ask_everything(api: httpx.Client, times: int) -> dict[str, list[float]]:
    """Milliseconds of each answer, once each is warm, in no order."""
    asked = questions(api)
    taken: dict[str, list[float]] = {what: [] for what in asked}
    order = list(asked) * times
    random.Random(0).shuffle(order)
    for what in asked:
        _get(api, asked[what])
    for what in order:
        started_s = time.perf_counter()
        _get(api, asked[what])
        taken[what].append(1000 * (time.perf_counter() - started_s))
    return taken


def _get(api: httpx.Client, path: str) -> Any:
    answer = api.get(f"/api/v1{path}")
    assert answer.status_code == 200, f"{path}: {answer.text}"
    return answer.json()
