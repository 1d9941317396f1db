"""A real PostgreSQL server for tests: a private cluster in a temporary folder, reachable through a
unix socket there and not otherwise, run by an unprivileged user.

Enter at `shared_postgres`; every test takes a database of its own by `new_database`. The server
ends with the test run, and by the kernel's hand if that run is killed.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

_START_S = 60.0
_USER = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server."""

    folder: Path
    process_id: int

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(self.url(_USER), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)


@functools.cache
def shared_postgres() -> PostgresServer:
    """One server for the whole test run. Raises RuntimeError when PostgreSQL is not installed."""
    programs = _programs()
    # Not below pytest's folder, which only its own user may enter.
    folder = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    prefix: list[str] = []
    if os.geteuid() == 0:
        user = pwd.getpwnam(_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
        prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data = folder / "data"
    initdb = ["initdb", "-D", str(data), "-U", _USER, "--auth=trust", "--no-sync", "-E", "UTF8"]
    _run([*prefix, str(programs / initdb[0]), *initdb[1:]], folder)
    # A fast shutdown if this process is killed. Nobody cuts the power: no need to wait for disks.
    options = ["-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
    server = subprocess.Popen(
        [*(prefix or ["setpriv"]), "--pdeathsig=INT", str(programs / "postgres"), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    atexit.register(_stop, server, folder)
    found = PostgresServer(folder=folder, process_id=server.pid)
    _await(found, server)
    return found


def _programs() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    if not folders:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    return folders[-1]


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _await(found: PostgresServer, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with suppress(psycopg.OperationalError):
            psycopg.connect(found.url(_USER)).close()
            return
        assert server.poll() is None, "PostgreSQL ended"
        assert time.monotonic() < deadline, "PostgreSQL did not start"
        time.sleep(0.05)


def _stop(server: subprocess.Popen[bytes], folder: Path) -> None:
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(timeout=10)
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)
