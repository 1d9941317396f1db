"""A service with something in it: image files as VMs, a repository, backups with a history."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from holdfast.core.units import MIB

ROOT = Path(__file__).parents[2]
EXPORT = ROOT / "web" / "out"
PASSWORD = "four dull green lanterns"  # noqa: S105 - of a service that lives for the test
PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105
LONG_NAME = "a-virtual-machine-whose-name-is-as-long-as-names-get-in-some-places-0001"
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
"""What takes the session over."""
_START_S = 60.0
_WAIT_S = 120.0
_STOP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`holdfast serve` as a process of its own, with the built dashboard."""

    address: str
    first_password: str


@contextmanager
def serving(state: Path) -> Generator[Service]:
    """Ends with it. Raises AssertionError when it does not start."""
    assert (EXPORT / "index.html").is_file(), "the dashboard is not built: run `make dashboard`"
    output = state / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "holdfast"),
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--json",
            ],
            env={
                **os.environ,
                "HOLDFAST_STATE": str(state / "state"),
                "HOLDFAST_CACHE": str(state / "cache"),
                "HOLDFAST_DASHBOARD": str(EXPORT),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first, f"the service did not start: {output.read_text()[-2000:]}"
            started = json.loads(first)
            yield Service(address=started["url"].rstrip("/"), first_password=started["password"])
        finally:
            process.terminate()
            try:
                process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=_STOP_S)
            if process.stdout is not None:
                process.stdout.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    service: Service
    folder: Path
    client: httpx.Client
    repository_id: str
    vms: dict[str, str] = field(default_factory=dict[str, str])
    """Ids by name."""

    @property
    def cookies(self) -> list[dict[str, str]]:
        return cookies_of(self.client, self.service)

    def image(self, name: str) -> Path:
        return self.folder / "images" / f"{name}.raw"

    def manage(self, platform: Mapping[str, Any], *names: str) -> str:
        """Connect a platform and add its VMs of these names, all if none is said. Its id."""
        added = self.post("/platforms", platform)
        where = f"/platforms/{added['id']}"
        found = self.post(f"{where}/discover")["vms"]
        wanted = [vm["platform_vm_id"] for vm in found if not names or vm["name"] in names]
        vms = self.post(f"{where}/vms", {"platform_vm_ids": wanted})["vms"]
        self.vms.update({vm["name"]: vm["vm_id"] for vm in vms})
        return added["id"]

    def get(self, path: str, **query: Any) -> Any:
        return _json(self.client.get(f"/api/v1{path}", params=query))

    def post(self, path: str, body: Any = None) -> Any:
        return _json(self.client.post(f"/api/v1{path}", json=body))

    def patch(self, path: str, body: Any) -> Any:
        return _json(self.client.patch(f"/api/v1{path}", json=body))

    def start(self, vm: str, kind: str = "incremental") -> Any:
        body = {
            "vm_id": self.vms[vm],
            "backup_type": kind,
            "repository_id": self.repository_id,
        }
        return self.post("/backup/start", body)

    def back_up(self, vm: str, kind: str = "incremental") -> Any:
        """Start it and wait until it has ended and, if it completed, its point is on record."""
        job = self.start(vm, kind)

        def ended() -> Any:
            now = self.get(f"/backup/{job['id']}")
            over = now["status"] not in {"pending", "running"}
            return now if over and (now["status"] != "completed" or now["point_id"]) else None

        return until(ended, f"the backup of {vm}")

    def run_ended(self, run_id: str) -> Any:
        def ended() -> Any:
            run = self.get(f"/runs/{run_id}")
            return run if run["state"] not in {"pending", "running"} else None

        return until(ended, f"the run {run_id}")


def until(ask: Callable[[], Any], what: str) -> Any:
    """What `ask` gives as soon as that is something."""
    deadline = time.monotonic() + _WAIT_S
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.1)
    return answer


def _json(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def sign_in(service: Service, *, password: str = PASSWORD) -> httpx.Client:
    """As the administrator, after the forced change of the first password."""
    client = httpx.Client(base_url=service.address, timeout=120)
    client.headers["Origin"] = service.address
    client.headers["User-Agent"] = _BROWSER
    body = {"name": "admin", "password": service.first_password}
    _json(client.post("/api/v1/auth/login", json=body))
    change = {"current_password": service.first_password, "new_password": password}
    _json(client.post("/api/v1/auth/password", json=change))
    _json(client.post("/api/v1/auth/login", json={"name": "admin", "password": password}))
    return client


def cookies_of(client: httpx.Client, service: Service) -> list[dict[str, str]]:
    """As a browser takes them."""
    return [
        {"name": cookie.name, "value": cookie.value or "", "url": service.address}
        for cookie in client.cookies.jar
    ]


def write_image(
    path: Path,
    tree: Mapping[str, bytes],
    size_bytes: int = 48 * MIB,
    *,
    modified_s: float | None = None,
) -> None:
    """A raw disk that is one ext4 file system with these files; nothing is mounted for it.
    `modified_s`: when the files say that they were changed, in seconds since 1970."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as source:
        for name, content in tree.items():
            target = Path(source) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        if modified_s is not None:
            for path_inside in sorted(Path(source).rglob("*"), reverse=True):
                os.utime(path_inside, (modified_s, modified_s))
        with path.open("wb") as file:
            file.truncate(size_bytes)
        command = ["mkfs.ext4", "-q", "-F", "-L", path.stem[:16], "-d", source, str(path)]
        subprocess.run(command, check=True, timeout=120)


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def picture(width: int = 480, height: int = 300) -> bytes:
    """A PNG with two crossing gradients."""
    rows = b"".join(
        b"\0"
        + b"".join(
            bytes((40 + 180 * x // width, 90 + 100 * y // height, 220 - 140 * x // width))
            for x in range(width)
        )
        for y in range(height)
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def web_server(version: int) -> dict[str, bytes]:
    """What the VM `web-server` holds; a few files differ from version to version."""
    settings = [
        "listen 443",
        f"workers {4 * version}",
        "log /var/log/web/access.log",
        "root /srv/www",
        f"release 1.{version}.0",
    ]
    return {
        "etc/hostname": b"web-server\n",
        "etc/web.conf": "\n".join([*settings, *(f"site {n}" for n in range(1, 30))]).encode(),
        "srv/www/index.html": f"<h1>Welcome, version {version}</h1>\n".encode(),
        "srv/www/picture.png": picture(),
        "srv/www/empty.txt": b"",
        "srv/letters/letter.txt": f"Dear reader, this is version {version}.\n".encode() * 40,
        "srv/letters/größe und länge.txt": "ä ö ü\n".encode(),
        f"srv/letters/{'a long name, ' * 12}end.txt": b"long\n",
        "srv/data/numbers.bin": noise(version, 3 * MIB),
        "srv/data/archive/old.bin": noise(99, MIB),
        "var/log/web/access.log": b"".join(
            b"10.0.0.%d GET /page/%d 200\n" % (n % 250, n) for n in range(3000 * version)
        ),
    }


@contextmanager
def open_lab(folder: Path, *, vms: tuple[str, ...] = ()) -> Generator[Lab]:
    """A service that manages the image VMs `web-server` and the named ones; nothing is backed up
    yet."""
    images = folder / "images"
    images.mkdir()
    write_image(images / "web-server.raw", web_server(1))
    for number, name in enumerate(vms):
        tree = {"etc/hostname": f"{name}\n".encode(), "data": noise(1000 + number, 2 * MIB)}
        write_image(images / f"{name}.raw", tree, 24 * MIB)
    with open_service(folder) as lab:
        lab.manage({"kind": "images", "name": "Images", "path": str(images)})
        yield lab


@contextmanager
def open_service(folder: Path) -> Generator[Lab]:
    """A service with a repository and nothing to back up."""
    with serving(folder) as service, closing(sign_in(service)) as client:
        new = {
            "location": str(folder / "repository"),
            "name": "Main",
            "mode": "create",
            "passphrase": PASSPHRASE,
        }
        repository = _json(client.post("/api/v1/repositories", json=new))
        yield Lab(service=service, folder=folder, client=client, repository_id=repository["id"])
