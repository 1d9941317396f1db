"""The commands that ask a service, against one that runs: from the first login to a restore point,
and every refusal in words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.units import MIB
from tests.support.running_service import RunningService, base_environment, command, run_service

_PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105
_NEW_PASSWORD = "a-quiet-lake-in-autumn"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Somebody at a terminal of the service's host, in a home of their own."""

    service: RunningService
    home: Path

    def run(self, *arguments: str | Path, status: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [*command(), *arguments],
            env={
                **base_environment(self.home / "none"),
                "HOME": str(self.home),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str | Path, status: int = 0, **environment: str) -> Any:
        return json.loads(self.run(*arguments, "--json", status=status, **environment))

    def error(self, *arguments: str | Path, status: int = 1, **environment: str) -> Any:
        return self.json(*arguments, status=status, **environment)["error"]

    @property
    def login_file(self) -> Path:
        return self.home / ".config" / "holdfast" / "login.json"


def _secret(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Logged in as the first administrator, the password changed on the way."""
    root = tmp_path_factory.mktemp("remote")
    with run_service(root / "state", worker=True) as service:
        assert service.password
        made = Terminal(service=service, home=root / "home")
        made.home.mkdir()
        first = _secret(root / "first", service.password)
        new = _secret(root / "new", _NEW_PASSWORD)
        login = made.json(
            *("login", "--server", service.url, "--name", "admin"),
            *("--password-file", first, "--new-password-file", new),
        )
        assert login["user"] == "admin"
        yield made


def test_the_login_is_for_its_owner_only(terminal: Terminal) -> None:
    assert terminal.login_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in terminal.login_file.parent.iterdir()] == ["login.json"]
    terminal.login_file.chmod(0o644)
    error = terminal.error("vm", "list", status=2)
    assert "chmod 600" in error["message"]
    terminal.login_file.chmod(0o600)


def test_from_a_folder_of_images_to_a_restore_point(terminal: Terminal, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "web01.raw").write_bytes(os.urandom(2 * MIB) + bytes(6 * MIB))
    platform = terminal.json("platform", "add", "shelf", "--images", images)
    assert platform["kind"] == "images"
    assert "shelf" in terminal.run("platform", "list")
    assert terminal.json("platform", "test", "shelf")["ok"]
    assert "web01" in terminal.run("platform", "discover", "shelf")
    name = terminal.json("platform", "discover", "shelf")["vms"][0]["name"]
    assert terminal.json("vm", "add", "shelf", name)["added"] == 1
    assert terminal.json("vm", "add", "shelf", "--all")["already_known"] == 1
    (vm,) = terminal.json("vm", "list")["items"]
    assert vm["protection"] == "unprotected"

    body = {
        "name": "vault",
        "location": str(tmp_path / "vault"),
        "mode": "create",
        "passphrase": _PASSPHRASE,
    }
    data = tmp_path / "repository.json"
    data.write_text(json.dumps(body))
    made = terminal.json("api", "POST", "/repositories", "--data", data)
    assert made["recovery_kit"]
    assert "vault" in terminal.run("repository", "list")

    run = terminal.json("job", "backup", name, "--repository", "vault")
    assert (run["state"], run["plan"][0]["mode"]) == ("completed", "full")
    again = terminal.json("job", "backup", name)  # where the last one went
    assert again["plan"][0]["mode"] == "compare"
    assert terminal.json("job", "check", "vault")["state"] == "completed"
    assert terminal.json("job", "show", run["id"])["id"] == run["id"]
    assert run["id"] in terminal.run("job", "list", "--vm", name)
    assert "already" in terminal.error("job", "cancel", run["id"])["message"]
    shown = terminal.json("vm", "show", name)
    assert len(shown["timeline"]["points"]) == 2
    assert "vault" in terminal.run("vm", "show", name)

    group = terminal.json("group", "create", "web", "--vm", name)
    assert group["vm_ids"] == [vm["id"]]
    assert "web" in terminal.run("group", "list")
    assert terminal.json("group", "set", "web")["vm_ids"] == []
    terminal.run("group", "remove", "web")
    terminal.run("vm", "remove", name)


def test_what_a_token_may_not_is_refused_in_words(terminal: Terminal, tmp_path: Path) -> None:
    made = terminal.json("token", "create", "watcher", "--role", "viewer")
    assert made["name"] in terminal.run("token", "list")
    assert made["token"] not in terminal.run("token", "list", "--json")
    file = _secret(tmp_path / "token", made["token"])
    own = {"HOLDFAST_SERVER": terminal.service.url, "HOLDFAST_TOKEN_FILE": str(file)}
    terminal.run("vm", "list", **own)
    error = terminal.error("platform", "add", "x", "--images", tmp_path, **own)
    assert error["code"] == "server_refused"
    assert error["params"]["status"] == 403
    terminal.run("token", "revoke", made["id"])
    assert terminal.error("vm", "list", **own)["params"]["status"] == 401


def test_accounts(terminal: Terminal) -> None:
    made = terminal.json("user", "add", "eva", "--role", "operator")
    assert made["password"]
    assert "eva" in terminal.run("user", "list")
    terminal.run("user", "remove", "eva")
    assert "there is admin" in terminal.error("user", "remove", "eva", status=2)["message"]


@pytest.mark.parametrize(
    ("server", "code"),
    [
        ("http://192.0.2.1:8470", "invalid_input"),
        ("ftp://localhost", "invalid_input"),
        ("https://user@localhost", "invalid_input"),
        ("http://127.0.0.1:9", "not_logged_in"),
    ],
)
def test_a_token_is_sent_nowhere_else(terminal: Terminal, server: str, code: str) -> None:
    assert terminal.error("vm", "list", "--server", server, status=2)["code"] == code


def test_a_service_that_is_not_there(terminal: Terminal, tmp_path: Path) -> None:
    file = _secret(tmp_path / "token", "hf_nothing")
    error = terminal.error("vm", "list", "--server", "http://127.0.0.1:9", "--token-file", file)
    assert error["code"] == "server_unreachable"


def test_without_a_login(terminal: Terminal, tmp_path: Path) -> None:
    error = terminal.error("vm", "list", status=2, HOME=str(tmp_path))
    assert error["code"] == "not_logged_in"
    assert "holdfast login" in error["hint"]


def test_login_and_logout(terminal: Terminal, tmp_path: Path) -> None:
    wrong = _secret(tmp_path / "wrong", "not-the-password")
    right = _secret(tmp_path / "right", _NEW_PASSWORD)
    login = ("login", "--server", terminal.service.url, "--name", "admin", "--password-file")
    home = {"HOME": str(tmp_path)}
    assert terminal.error(*login, wrong, **home)["params"]["status"] == 401
    terminal.run(*login, right, **home)
    saved = json.loads((tmp_path / ".config/holdfast/login.json").read_text())
    terminal.run("logout", **home)
    assert not (tmp_path / ".config/holdfast/login.json").exists()
    file = _secret(tmp_path / "token", saved["token"])
    own = {"HOLDFAST_SERVER": terminal.service.url, "HOLDFAST_TOKEN_FILE": str(file)}
    assert terminal.error("vm", "list", **own)["params"]["status"] == 401
