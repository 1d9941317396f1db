"""The demo from its first step to its summary, and damage done to what it stored."""

from __future__ import annotations

import io
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from rich.console import Console

from holdfast.cli.demo.lab import Lab
from holdfast.cli.demo.run import remove_lab, run_demo
from holdfast.cli.demo.service import ANY_PORT, start_service, stop_service
from tests.support.holdfast_command import HoldfastCommand
from tests.support.libvirtd import ensure_libvirtd

pytestmark = [pytest.mark.libvirt, pytest.mark.slow, pytest.mark.timeout(600)]

_INTEGRITY = 3
_LABS = Path("/var/lib/holdfast")
"""Not pytest's folder: QEMU's user must be able to pass through."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    lab: Lab
    screen: str
    """All that it printed."""


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    ensure_libvirtd()
    name = f"holdfast-test-{secrets.token_hex(4)}"
    folder = _LABS / name.removeprefix("holdfast-")
    output = Console(file=io.StringIO(), width=120)
    status = run_demo(lab_dir=folder, console=output, vm_name=name, listen=ANY_PORT)
    try:
        assert status == 0, output_of(output)
        yield Demo(lab=Lab(folder=folder, vm_name=name), screen=output_of(output))
    finally:
        assert remove_lab(lab_dir=folder, console=output, vm_name=name) == 0, output_of(output)
    assert not folder.exists()
    assert not processes_of(folder)


@pytest.fixture
def lab(demo: Demo) -> Lab:
    return demo.lab


def processes_of(folder: Path) -> list[psutil.Process]:
    """Whose environment names the service's state: the service, its worker, movers."""
    wanted = f"HOLDFAST_STATE={folder / 'service'}\0".encode()
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(OSError):
            if wanted in Path(f"/proc/{process.pid}/environ").read_bytes():
                found.append(process)
    return found


@contextmanager
def signed_in(url: str, password: str) -> Iterator[httpx.Client]:
    origin = url.rstrip("/")
    headers = {"Origin": origin}
    with httpx.Client(base_url=f"{origin}/api/v1", headers=headers, timeout=60) as client:
        answer = client.post("/auth/login", json={"name": "admin", "password": password})
        assert answer.json()["state"] == "signed_in", answer.text
        yield client


def test_the_demo_ends_with_the_service_on_what_it_made(demo: Demo) -> None:
    url = re.search(r"The service runs on the demo's lab: (\S+)", demo.screen)
    password = re.search(r"Password +(\S+)", demo.screen)
    assert url and password, demo.screen
    with signed_in(url[1], password[1]) as client:
        backups = client.get("/backup/list").json()["backups"]
        assert {backup["vm_name"] for backup in backups} == {demo.lab.vm_name}
        assert sorted(backup["backup_type"] for backup in backups) == ["full", "incremental"]
        body = {
            "vm_name": demo.lab.vm_name,
            "backup_type": "incremental",
            "repository_id": backups[0]["repository_id"],
        }
        job = client.post("/backup/start", json=body).json()
        deadline = time.monotonic() + 120
        while job["status"] in {"pending", "running"}:
            assert time.monotonic() < deadline, job
            time.sleep(0.2)
            job = client.get(f"/backup/{job['id']}").json()
        assert (job["status"], job["backup_type"]) == ("completed", "incremental"), job


def test_the_service_of_another_demo_replaces_it(demo: Demo) -> None:
    before = processes_of(demo.lab.folder)
    assert len(before) >= 2, "the service and its worker"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        service = start_service(demo.lab, f"{host}:{port}")
    assert not any(process.is_running() for process in before)
    assert service.url != f"http://{host}:{port}/", "the port was taken"
    assert service.password not in demo.screen
    with signed_in(service.url, service.password) as client:
        assert len(client.get("/backup/list").json()["backups"]) == service.backups >= 2
    assert stop_service(demo.lab)
    assert not processes_of(demo.lab.folder)
    assert not stop_service(demo.lab)


def test_the_demo_leaves_two_sound_points(lab: Lab, tmp_path: Path) -> None:
    command = HoldfastCommand(passphrase_file=lab.passphrase_file, home=tmp_path)
    points = command.run("points", "--repository", lab.repository).require()["points"]
    assert [point["captured_as"] for point in points][:2] == ["full", "incremental"]
    checked = command.run("check", "--read-data", "--repository", lab.repository).require()
    assert checked["sound"] and checked["points"] == len(points)


def test_a_flipped_byte_in_a_pack_is_an_integrity_error(lab: Lab, tmp_path: Path) -> None:
    command = HoldfastCommand(passphrase_file=lab.passphrase_file, home=tmp_path)
    copy = tmp_path / "repository"
    shutil.copytree(lab.repository, copy)
    pack = max((copy / "packs").glob("*/*"), key=lambda path: path.stat().st_size)
    flip_byte(pack, pack.stat().st_size // 2)
    checked = command.run("check", "--read-data", "--repository", copy)
    assert checked.status == _INTEGRITY, checked.stderr
    assert checked.document is not None
    assert pack.name in str(checked.document["problems"])
    assert any(problem["points"] for problem in checked.document["problems"])


def flip_byte(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


def output_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
