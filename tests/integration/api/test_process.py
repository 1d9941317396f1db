"""The service as a process: its one port, its live events, what it says of secrets, and its end."""

from __future__ import annotations

import socket
import stat
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import psutil
import pytest
import socketio

from holdfast.catalog import tokens, users
from holdfast.catalog.database import Database
from holdfast.catalog.models import Run
from holdfast.catalog.notices import announce
from holdfast.core.clock import SystemClock
from holdfast.policy.access import Grant, Role
from tests.support.live_events import Listener
from tests.support.rows import add_vm_row
from tests.support.running_service import RunningService, base_environment, command, run_service
from tests.support.service import everywhere, tagged

CLOCK = SystemClock()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def running(state: Path) -> Generator[RunningService]:
    with run_service(state) as service:
        yield service


@pytest.fixture
def database(running: RunningService, state: Path) -> Generator[Database]:
    opened = Database.open(f"sqlite:///{state}/holdfast.db")
    yield opened
    opened.close()


def make_token(database: Database, *grants: Grant) -> str:
    with database.writing() as session:
        admin = users.find_user_by_name(session, "admin")
        assert admin is not None
        return tokens.add_token(
            session, admin, name="t", grants=grants, expires_at=None, clock=CLOCK
        )[1]


def make_viewer(database: Database) -> tuple[str, str]:
    """A user who sees some VMs, and a token of theirs."""
    grants = [tagged(Role.VIEWER)]
    with database.writing() as session:
        user = users.add_user(
            session,
            name="anna",
            display_name="",
            password_hash=None,
            grants=grants,
            clock=CLOCK,
        )
        _, token = tokens.add_token(
            session, user, name="t", grants=grants, expires_at=None, clock=CLOCK
        )
        return user.id, token


def add_run(database: Database, run_id: str, vm_id: str | None, state: str, revision: int) -> None:
    with database.writing() as session:
        session.merge(
            Run(
                id=run_id,
                kind="backup",
                state=state,
                vm_id=vm_id,
                backup_type="full",
                request={},
                plan=[],
                disks=[],
                bottleneck={},
                samples=[],
                result={},
                percent=50.0,
                done_bytes=50,
                total_bytes=100,
                created_at=CLOCK.now(),
                revision=revision,
            )
        )


def add_vm(database: Database, vm_id: str, tag: str) -> None:
    with database.writing() as session:
        add_vm_row(session, vm_id, CLOCK.now(), tag=tag)


def test_events_reach_who_may_see_the_vm(running: RunningService, database: Database) -> None:
    add_vm(database, "vm-blue", "blue")
    add_vm(database, "vm-red", "red")
    add_run(database, "before", "vm-blue", "running", 1)
    seer = Listener(running, make_token(database, everywhere(Role.VIEWER)), "polling")
    blue = Listener(running, make_token(database, tagged(Role.VIEWER)))
    present = blue.wait_for("backup_progress", id="before")
    assert present["progress_percent"] == 50.0
    assert present["backup_id"] == "before"
    add_run(database, "red", "vm-red", "running", 2)
    seer.wait_for("run_progress", id="red")
    seer.wait_for("backup_progress", id="red")
    add_run(database, "blue", "vm-blue", "running", 3)
    blue.wait_for("backup_progress", id="blue")
    with database.writing() as session:
        announce(session, "vm", "vm-red", "changed", clock=CLOCK, vm_id="vm-red")
        announce(session, "repository", "r", "changed", clock=CLOCK)
    assert blue.wait_for("repository_changed", id="r")["action"] == "changed"
    seer.wait_for("vm_changed", id="vm-red")
    assert not [payload for _, payload in blue.heard if payload.get("vm_id") == "vm-red"]
    for listener in (seer, blue):
        listener.client.disconnect()


def test_what_is_somebodys_own_reaches_them_and_who_manages_access(
    running: RunningService, database: Database
) -> None:
    add_vm(database, "vm-ours", "blue")
    owner, token = make_viewer(database)
    mine = Listener(running, token)
    other = Listener(running, make_token(database, everywhere(Role.OPERATOR)))
    manager = Listener(running, make_token(database, everywhere(Role.ADMINISTRATOR)))
    for noun, vm_id in (("user", None), ("token", None), ("mount", "vm-ours")):
        with database.writing() as session:
            announce(session, noun, "own", "changed", clock=CLOCK, vm_id=vm_id, user_id=owner)
    with database.writing() as session:
        announce(session, "machine_group", "group", "changed", clock=CLOCK)
        announce(session, "never heard of", "x", "changed", clock=CLOCK)
        announce(session, "platform", "last", "changed", clock=CLOCK)
    for listener in (mine, other, manager):
        listener.wait_for("platform_changed", id="last")
    own = {"user_changed", "token_changed", "mount_changed"}
    assert {event for event, _ in mine.heard} == {*own, "platform_changed"}
    assert own < {event for event, _ in manager.heard}
    heard = {event for event, _ in other.heard}
    assert not heard & own
    assert "machine_group_changed" in heard, "who sees all sees groups"
    for listener in (mine, other, manager):
        listener.client.disconnect()


def test_revoking_ends_the_connection(running: RunningService, database: Database) -> None:
    token = make_token(database, everywhere(Role.VIEWER))
    listener = Listener(running, token)
    with database.writing() as session:
        row = tokens.find_token(session, token.split("_")[1])
        row.revoked_at = CLOCK.now()
    assert listener.ended.wait(60)


def test_live_events_need_a_sign_in_and_the_right_origin(running: RunningService) -> None:
    client = socketio.Client(reconnection=False, websocket_extra_options={"suppress_origin": True})
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(running.url, transports=["websocket"], wait_timeout=60)
    http = running.client()
    login = {"name": "admin", "password": running.password}
    assert http.post("/api/v1/auth/login", json=login).status_code == 200
    cookie = f"holdfast={http.cookies['holdfast']}"
    own = {"Origin": running.url}
    new = {"current_password": running.password, "new_password": "some other long words"}
    assert http.post("/api/v1/auth/password", json=new, headers=own).status_code == 204
    for origin in ("http://evil.test", "null"):
        with pytest.raises(socketio.exceptions.ConnectionError):
            socketio.Client(
                reconnection=False, websocket_extra_options={"suppress_origin": True}
            ).connect(
                running.url,
                headers={"Cookie": cookie, "Origin": origin},
                transports=["websocket"],
                wait_timeout=60,
            )
    good = socketio.Client(reconnection=False, websocket_extra_options={"suppress_origin": True})
    good.connect(
        running.url,
        headers={"Cookie": cookie, "Origin": running.url},
        transports=["websocket"],
        wait_timeout=60,
    )
    ended = threading.Event()
    good.on("disconnect", lambda *_: ended.set())
    assert http.post("/api/v1/auth/logout", headers=own).status_code == 204
    assert ended.wait(60), "signing out ends the live events too"


def test_it_listens_on_its_one_port_only(running: RunningService) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    listening = [
        item.laddr
        for item in psutil.Process(running.process.pid).net_connections(kind="inet")
        if item.status == psutil.CONN_LISTEN
    ]
    assert [(item.ip, item.port) for item in listening] == [("127.0.0.1", port)]
    assert psutil.Process(running.process.pid).children() == []


def test_secrets_appear_nowhere_in_clear(
    running: RunningService, database: Database, state: Path
) -> None:
    assert running.password is not None
    new = "canary-password-0451"
    http = running.client(Origin=running.url)
    http.post("/api/v1/auth/login", json={"name": "admin", "password": running.password})
    change = {"current_password": running.password, "new_password": new}
    assert http.post("/api/v1/auth/password", json=change).status_code == 204
    answers = [http.post("/api/v1/auth/login", json={"name": "admin", "password": new})]
    body = {"name": "ci", "grants": [{"role": "viewer"}]}
    key = {"Idempotency-Key": "one"}
    token = http.post("/api/v1/tokens", json=body, headers=key).json()["token"]
    oidc = {
        "enabled": False,
        "issuer": "https://id.test",
        "client_id": "x",
        "client_secret": "canary-oidc-0451",
    }
    answers.append(http.put("/api/v1/auth/oidc", json=oidc))
    totp = http.post("/api/v1/auth/totp").json()["secret"]
    answers += [http.get(path) for path in ("/api/v1/audit", "/api/v1/auth/oidc", "/api/v1/tokens")]
    answers.append(http.post("/api/v1/auth/login", json={"name": "admin", "password": [new]}))
    command_line = " ".join(psutil.Process(running.process.pid).cmdline())
    environment = Path(f"/proc/{running.process.pid}/environ").read_text()
    cookie = http.cookies["holdfast"]
    assert running.stop() == 0
    stored = b"".join(path.read_bytes() for path in state.iterdir() if "holdfast.db" in path.name)
    places = {
        "log": running.log.read_bytes(),
        "database": stored,
        "answers": b"".join(answer.content for answer in answers),
        "command line": (command_line + environment).encode(),
    }
    secrets = [
        running.password,
        new,
        token,
        token.split("_", 2)[2],
        "canary-oidc-0451",
        totp,
        cookie,
    ]
    for place, content in places.items():
        for secret in secrets:
            for form in (secret.encode(), secret.encode().hex().encode()):
                assert form not in content, (place, secret)


def test_others_pass_through_the_state_and_read_nothing_in_it(state: Path) -> None:
    """QEMU's user has to reach the scratch folder."""
    with run_service(state):
        assert stat.S_IMODE(state.stat().st_mode) == 0o711
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
    assert {"holdfast.db", "sealing.key", "serving.lock"} <= set(modes)
    open_to_others = {name for name, mode in modes.items() if mode & 0o077}
    assert not open_to_others


def test_it_starts_again_without_a_new_password(state: Path) -> None:
    with run_service(state) as first:
        assert first.password
        assert first.stop() == 0
    with run_service(state) as second:
        assert second.password is None
        assert second.client().get("/api/v1/system/health").json() == {"status": "ok"}
        second.process.kill()
    reset = subprocess.run(
        [*command(), "user", "reset-password", "admin", "--json"],
        env=base_environment(state),
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"name": "admin"' in reset.stdout


def test_it_refuses_to_listen_beyond_this_host_without_tls(state: Path) -> None:
    done = subprocess.run(
        [*command(), "serve", "--listen", "0.0.0.0:0", "--no-worker"],
        env=base_environment(state),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "without TLS" in done.stderr
    assert not state.exists(), "refused before anything was made"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} "
        f"-out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    return certificate, key


def test_with_tls(state: Path, certificate: tuple[Path, Path]) -> None:
    arguments = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    with run_service(state, *arguments) as service:
        assert service.url.startswith("https://")
        login = {"name": "admin", "password": service.password}
        answer = service.client().post("/api/v1/auth/login", json=login)
        assert answer.headers["set-cookie"].startswith("__Host-holdfast=")
        assert "strict-transport-security" in answer.headers


def test_address_and_tls_by_setting(state: Path, certificate: tuple[Path, Path]) -> None:
    environment = {
        "HOLDFAST_LISTEN": "0.0.0.0:0",
        "HOLDFAST_TLS_CERT": str(certificate[0]),
        "HOLDFAST_TLS_KEY": str(certificate[1]),
    }
    with run_service(state, environment=environment, listen=None) as service:
        port = service.url.rsplit(":", 1)[1]
        assert service.url == f"https://0.0.0.0:{port}"
        health = service.client().get(f"https://127.0.0.1:{port}/api/v1/system/health")
        assert health.json() == {"status": "ok"}
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/api/v1/system/health").raise_for_status()


def test_beyond_this_host_without_tls_when_told_so(state: Path) -> None:
    environment = {"HOLDFAST_LISTEN": "0.0.0.0:0", "HOLDFAST_INSECURE_PLAIN_HTTP": "1"}
    with run_service(state, environment=environment, listen=None) as service:
        port = service.url.rsplit(":", 1)[1]
        health = httpx.get(f"http://127.0.0.1:{port}/api/v1/system/health")
        assert health.json() == {"status": "ok"}


def test_rotation_waits_for_the_service_to_stop(state: Path) -> None:
    rotate = [*command(), "sealing", "rotate", "--json"]
    with run_service(state) as service:
        refused = subprocess.run(
            rotate, env=base_environment(state), capture_output=True, text=True, check=False
        )
        assert '"code": "service_runs"' in refused.stdout
        service.stop()
    done = subprocess.run(
        rotate, env=base_environment(state), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with run_service(state):
        pass


def test_headers_that_do_not_end_are_cut_off(running: RunningService) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"y" * 100_000)
        connection.settimeout(30)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for connection in slow:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
    assert running.client().get("/api/v1/system/health").status_code == 200
    started_s = time.monotonic()
    for connection in slow:
        connection.settimeout(120)
        assert connection.recv(100) == b"", "closed by the service"
        connection.close()
    assert time.monotonic() - started_s < 100, "cut off, not waited for"
    assert running.process.poll() is None
