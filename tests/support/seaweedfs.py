"""A real S3 service for tests: SeaweedFS in one process, on ports of its own, data in a temporary
folder. Enter at `shared_server`; every test takes a prefix of its own by `new_location`.

The server is killed at the end of the test run, and by the kernel if that run is killed itself.
"""

from __future__ import annotations

import atexit
import functools
import http.client
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from holdfast.repository.store.s3 import S3Store
from holdfast.repository.store.s3_access import S3Access, S3Location
from holdfast.repository.store.s3_bucket import Timeouts
from holdfast.repository.store.s3_faults import RetryPolicy

BUCKET = "holdfast-tests"
ACCESS_KEY_ID = "TESTACCESSKEY"
SECRET_ACCESS_KEY = "test-secret-key-canary"  # noqa: S105 - of a server that lives for this run
QUICK = RetryPolicy(patience_s=5.0, first_delay_s=0.001, longest_delay_s=0.05)
"""For tests that make many requests fail."""
_START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running service with one bucket."""

    endpoint: str
    process_id: int

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    def access(self, endpoint: str = "") -> S3Access:
        """As the tests' user; `endpoint` is that of a proxy before the server."""
        return S3Access(
            region="us-east-1",
            endpoint=endpoint or self.endpoint,
            access_key_id=ACCESS_KEY_ID,
            secret_access_key=SECRET_ACCESS_KEY,
        )

    def store(
        self,
        where: S3Location | None = None,
        *,
        endpoint: str = "",
        policy: RetryPolicy = QUICK,
        timeouts: Timeouts | None = None,
    ) -> S3Store:
        """A store at a place of its own unless told."""
        return S3Store(
            where or new_location(), self.access(endpoint), policy=policy, timeouts=timeouts
        )


def new_location(bucket: str = BUCKET) -> S3Location:
    return S3Location(bucket=bucket, prefix=f"run/{secrets.token_hex(6)}")


@functools.cache
def locking_bucket(default_days: int = 0) -> str:
    """A bucket with Object Lock, and with a default retention if told."""
    name = f"holdfast-locks-{default_days}"
    client = boto_client()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    if default_days:
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": default_days}}
        client.put_object_lock_configuration(
            Bucket=name,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )
    return name


@functools.cache
def boto_client() -> Any:
    """Another program of whoever has the tests' credentials."""
    access = shared_server().access()
    return boto3.client(
        "s3",
        endpoint_url=access.endpoint,
        region_name=access.region,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
    )


@functools.cache
def shared_server() -> S3Server:
    """The server of this test run; started at the first call."""
    data = Path(tempfile.mkdtemp(prefix="holdfast-weed-"))
    config = data / "s3.json"
    credentials = [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}]
    identity = {"name": "tests", "credentials": credentials, "actions": ["Admin"]}
    config.write_text(json.dumps({"identities": [identity]}))
    ports = _free_ports(8)
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(
            _command(data, config, ports), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    atexit.register(_stop, process, data)
    deadline = time.monotonic() + _START_S
    while not _is_ready(filer_port=ports[4], s3_port=ports[6]):
        assert process.poll() is None, f"weed ended: {_tail(data)}"
        assert time.monotonic() < deadline, f"weed is not ready: {_tail(data)}"
        time.sleep(0.05)
    return S3Server(endpoint=f"http://127.0.0.1:{ports[6]}", process_id=process.pid)


def _command(data: Path, config: Path, ports: list[int]) -> list[str]:
    names = ["master", "volume", "filer", "s3"]
    flags = [f"-{name}.port={ports[2 * i]}" for i, name in enumerate(names)]
    flags += [f"-{name}.port.grpc={ports[2 * i + 1]}" for i, name in enumerate(names)]
    return [
        # SeaweedFS may hang on SIGTERM; SIGKILL also when this process is killed.
        *("setpriv", "--pdeathsig", "KILL"),
        str(Path(sys.executable).with_name("weed")),
        *("-logtostderr", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-s3", f"-s3.config={config}", "-s3.autoCreateBucket=false"),
        *("-s3.port.lance=0", "-s3.port.iceberg=0", "-master.telemetry=false"),
        *(f"-{name}.localSocket={data}/{name}.sock" for name in ("filer", "s3")),
        # Eight volumes of 30 GB, its default, are eaten by the second bucket.
        *("-volume.max=200", "-master.volumeSizeLimitMB=256"),
        *flags,
    ]


def _is_ready(*, filer_port: int, s3_port: int) -> bool:
    """Makes the bucket, through the file service behind S3: that needs no signature."""
    try:
        made = _status("POST", filer_port, f"/buckets/{BUCKET}/")
        # Stored data needs the volume service too, which registers last.
        written = _status("PUT", filer_port, "/ready", body=b"x" * 8192)
        answers = _status("GET", s3_port, "/")
    except OSError:
        return False
    return made in {201, 409} and written == 201 and answers == 403


def _status(method: str, port: int, path: str, body: bytes = b"") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body)
        return connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes], data: Path) -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    shutil.rmtree(data, ignore_errors=True)


def _tail(data: Path) -> str:
    return (data / "log").read_text(errors="replace")[-2000:]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports
