"""The service that the demo leaves running: `holdfast serve` with a state of its own, told through
its API of the lab's platform, VMs and repository.

Knows the service by its command and its API only. A process is the demo's own if its number and
the moment it was started are those on record. Enter at `start_service` and `stop_service`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import psutil

from holdfast.api.access.passwords import generate_password
from holdfast.cli.demo.commands import holdfast_program
from holdfast.cli.demo.errors import ServiceFailed
from holdfast.cli.demo.lab import Lab
from holdfast.cli.demo.programs import find_program
from holdfast.core.errors import HoldfastError

DEFAULT_LISTEN = "127.0.0.1:8470"
ANY_PORT = "127.0.0.1:0"
_START_S, _STOP_S, _REQUEST_S = 120.0, 60.0, 60.0
_OF_OTHER_SERVICES = ("HOLDFAST_DATABASE_URL", "HOLDFAST_SEALING_KEY_FILE", "CREDENTIALS_DIRECTORY")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoService:
    """Runs, and shows the lab."""

    url: str
    administrator: str
    password: str = field(repr=False)
    backups: int
    """In its catalogue."""
    vms: Sequence[str]
    workers: int


def start_service(lab: Lab, listen: str = DEFAULT_LISTEN) -> DemoService:
    """With a new state, hence a new password; one of an earlier demo is stopped first. Where the
    port is taken it listens on another. Raises ServiceFailed."""
    stop_service(lab)
    if lab.service_folder.exists():
        shutil.rmtree(lab.service_folder)
    lab.service_folder.mkdir(mode=0o700)
    document = _launch(lab, listen)
    if _error_of(document).get("code") == "cannot_listen" and listen != ANY_PORT:
        document = _launch(lab, ANY_PORT)
    if not document.get("url"):
        problem = str(_error_of(document).get("message") or "it ended without a word")
        raise ServiceFailed(problem=problem, log=str(_log(lab)))
    try:
        return _furnish(lab, document["url"], document["administrator"], document["password"])
    except HoldfastError:
        stop_service(lab)
        raise


def stop_service(lab: Lab) -> bool:
    """With its worker. False when none runs."""
    process = _running(lab)
    _record(lab).unlink(missing_ok=True)
    if process is None:
        return False
    with suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=_STOP_S)
        for item in alive:
            with suppress(psutil.NoSuchProcess):
                item.kill()
        psutil.wait_procs(alive, timeout=_STOP_S)
    return True


def _launch(lab: Lab, listen: str) -> Mapping[str, Any]:
    """Start it; the first document that it prints."""
    folder = lab.service_folder
    settings = {"STATE": folder, "CACHE": folder / "cache", "SCRATCH": lab.scratch_folder}
    unset = [word for name in _OF_OTHER_SERVICES for word in ("-u", name)]
    with _log(lab).open("ab") as log:
        process = subprocess.Popen(
            [
                *(find_program("env"), *unset),
                *(f"HOLDFAST_{name}={value}" for name, value in settings.items()),
                *(str(holdfast_program()), "serve", "--listen", listen, "--json"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd="/",
            start_new_session=True,
        )
    known = {"pid": process.pid, "started": _start_of(process.pid)}
    _record(lab).write_text(json.dumps(known))
    timer = threading.Timer(_START_S, process.terminate)
    timer.start()
    try:
        return _first_document(process)
    finally:
        timer.cancel()


def _first_document(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    text = ""
    for line in process.stdout or ():
        text += line
        with suppress(ValueError):
            return cast("Mapping[str, Any]", json.loads(text))
    return {}


def _error_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", document.get("error") or {})


def _furnish(lab: Lab, url: str, administrator: str, first: str) -> DemoService:
    """Sign in, change the password, and add what the lab has."""
    password = generate_password()
    passphrase = lab.passphrase_file.read_text().strip()
    origin = url.rstrip("/")
    with httpx.Client(
        base_url=f"{origin}/api/v1", headers={"Origin": origin}, timeout=_REQUEST_S, trust_env=False
    ) as client:
        api = _Api(client, str(_log(lab)))
        api.post("/auth/login", name=administrator, password=first)
        api.post("/auth/password", current_password=first, new_password=password)
        api.post("/auth/login", name=administrator, password=password)
        platform = api.post("/platforms", kind="libvirt", name="This host", address={})["id"]
        found = api.post(f"/platforms/{platform}/discover")["vms"]
        mine = {lab.vm_name, lab.restored.vm_name}
        ids = [vm["platform_vm_id"] for vm in found if vm["name"] in mine]
        added = api.post(f"/platforms/{platform}/vms", platform_vm_ids=ids, tags=["demo"])
        api.post(
            "/repositories",
            mode="open",
            name="Demo",
            location=str(lab.repository),
            passphrase=passphrase,
        )
        service = DemoService(
            url=url,
            administrator=administrator,
            password=password,
            backups=len(api.get("/backup/list")["backups"]),
            vms=sorted(vm["name"] for vm in added["vms"] if vm["vm_id"]),
            workers=api.await_workers(),
        )
        api.post("/auth/logout")
    return service


class _Api:
    """Every method raises ServiceFailed with what the service said."""

    def __init__(self, client: httpx.Client, log: str) -> None:
        self._client = client
        self._log = log

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None)

    def post(self, path: str, **body: object) -> Any:
        return self._ask("POST", path, body)

    def await_workers(self) -> int:
        """It registers a moment after the service is ready."""
        for _ in range(int(_START_S * 5)):
            workers = self.get("/monitoring")["workers"]
            if workers:
                return len(workers)
            threading.Event().wait(0.2)
        raise ServiceFailed(problem="its worker does not start", log=self._log)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            problem = f"{method} {path}: {type(error).__name__}"
            raise ServiceFailed(problem=problem, log=self._log) from error
        if answer.is_error:
            problem = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
            raise ServiceFailed(problem=problem, log=self._log)
        return answer.json() if answer.content else None


def _running(lab: Lab) -> psutil.Process | None:
    with suppress(OSError, ValueError, KeyError, psutil.NoSuchProcess):
        known = cast("Mapping[str, Any]", json.loads(_record(lab).read_text()))
        process = psutil.Process(int(known["pid"]))
        if _start_of(process.pid) == known["started"]:
            return process
    return None


def _start_of(pid: int) -> str:
    """No other process has, or will have, the same: boot and clock ticks since, see proc(5)."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot}:{ticks}"


def _record(lab: Lab) -> Path:
    return lab.service_folder / "process.json"


def _log(lab: Lab) -> Path:
    return lab.service_folder / "service.log"
