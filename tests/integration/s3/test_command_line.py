"""The commands on `s3://`, as a user's shell would run them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.holdfast_command import Finished, HoldfastCommand
from tests.support.seaweedfs import (
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    S3Server,
    locking_bucket,
    new_location,
)


@pytest.fixture
def environment(server: S3Server, tmp_path: Path) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_ENDPOINT_URL_S3": server.endpoint,
        "HOLDFAST_CACHE": str(tmp_path / "cache"),
    }


@pytest.fixture
def holdfast(tmp_path_factory: pytest.TempPathFactory) -> HoldfastCommand:
    home = tmp_path_factory.getbasetemp() / "s3-home"  # one for all: compiled modules are kept
    home.mkdir(exist_ok=True)
    passphrase = home / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    return HoldfastCommand(passphrase_file=passphrase, home=home)


def _disk(path: Path) -> None:
    """An ext4 file system with one file."""
    folder = path.parent / "tree"
    folder.mkdir()
    (folder / "hello.txt").write_bytes(b"hello from a bucket\n")
    (folder / "noise").write_bytes(os.urandom(1 << 20))
    command = ["mkfs.ext4", "-q", "-F", "-d", str(folder), str(path), "8M"]
    subprocess.run(command, check=True, capture_output=True)


def test_a_point_in_a_bucket_comes_back(
    holdfast: HoldfastCommand, environment: Mapping[str, str], tmp_path: Path
) -> None:
    url, disk = new_location().url, tmp_path / "disk.raw"
    _disk(disk)

    def run(*arguments: str | Path) -> Finished:
        finished = holdfast.run(*arguments, "--repository", url, environment=environment)
        assert SECRET_ACCESS_KEY not in finished.stdout + finished.stderr
        return finished

    kit = tmp_path / "kit"
    create = ("repository", "create", url, "--recovery-kit", kit)
    assert holdfast.run(*create, environment=environment).require()["location"] == url
    first = run("backup", disk).require()
    second = run("backup", disk).require()
    assert (first["captured_as"], second["captured_as"]) == ("full", "incremental")
    assert second["stored_bytes"] < first["stored_bytes"] / 10
    assert run("points").require()["total"] == 2
    assert run("check", "--read-data").require()["sound"]
    output = tmp_path / "restored.raw"
    run("restore", "latest", "--disk", "disk.raw", "--output", output).require()
    assert output.read_bytes() == disk.read_bytes()
    fetched = tmp_path / "hello.txt"
    listed = run("files", "ls", "latest", "/").require()
    volume = listed["volumes"][0]["id"]
    run("files", "get", "latest", f"/{volume}/hello.txt", "--output", fetched).require()
    assert fetched.read_bytes() == b"hello from a bucket\n"
    run("delete", first["id"], "--yes").require()
    assert run("points").require()["total"] == 1
    again = holdfast.run("repository", "create", url, "--recovery-kit", tmp_path / "k2",
                         environment=environment)  # fmt: skip
    assert again.error_code == "target_exists"


def test_the_index_is_kept_here(
    holdfast: HoldfastCommand, environment: Mapping[str, str], tmp_path: Path
) -> None:
    url, disk, cache = new_location().url, tmp_path / "disk.raw", tmp_path / "cache" / "index"
    disk.write_bytes(os.urandom(1 << 20))
    create = ("repository", "create", url, "--recovery-kit", tmp_path / "kit")
    holdfast.run(*create, environment=environment).require()
    holdfast.run("backup", disk, "-r", url, environment=environment).require()
    kept = list(cache.iterdir())
    assert len(kept) == 1
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600
    kept[0].write_bytes(b"decayed")
    restore = ("restore", "latest", "-r", url, "--disk", "disk.raw", "--output")
    holdfast.run(*restore, tmp_path / "one", environment=environment).require()
    assert (tmp_path / "one").read_bytes() == disk.read_bytes()
    assert kept[0].stat().st_size > 100, "the copy was fetched again"


def test_a_bucket_with_object_lock_calls_itself_immutable_and_one_without_does_not(
    holdfast: HoldfastCommand, environment: Mapping[str, str], tmp_path: Path
) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(os.urandom(1 << 20))

    def run(*arguments: str | Path) -> Finished:
        finished = holdfast.run(*arguments, environment=environment)
        assert SECRET_ACCESS_KEY not in finished.stdout + finished.stderr
        return finished

    more = ("--recovery-kit", tmp_path / "kit", "--immutable-days", "1")
    refused = run("repository", "create", new_location().url, *more)
    assert refused.error_code == "locks_unsupported"
    url = new_location(locking_bucket()).url
    made = run("repository", "create", url, *more).require()
    assert made["immutability"]["immutable"]
    point = run("backup", disk, "-r", url).require()["id"]
    kept = run("delete", point, "-r", url, "--yes")
    assert kept.error_code == "object_locked"
    checked = run("check", "-r", url).require()
    assert checked["sound"]
    assert checked["immutability"]["immutable"]
    renewed = run("repository", "lock", url).require()
    assert (renewed["unlocked"], renewed["missing"], renewed["hidden"]) == ([], [], [])
    assert run("repository", "info", url).require()["immutability"]["immutable"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "s3_refused"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "invalid_input"),
        ({"AWS_ENDPOINT_URL_S3": "http://storage.example.com"}, "invalid_input"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "store_unavailable"),
        ({}, "not_a_repository"),
    ],
)
def test_what_cannot_work_is_said(
    holdfast: HoldfastCommand,
    environment: Mapping[str, str],
    change: Mapping[str, str],
    code: str,
) -> None:
    finished = holdfast.run(
        "points", "-r", new_location().url, environment={**environment, **change}
    )
    assert finished.error_code == code
    assert finished.status == (2 if code == "invalid_input" else 1)
    assert "Traceback" not in finished.stderr


def test_credentials_from_a_file(
    holdfast: HoldfastCommand, server: S3Server, tmp_path: Path
) -> None:
    url, file = new_location().url, tmp_path / "s3.json"
    document = {
        "aws_access_key_id": ACCESS_KEY_ID,
        "aws_secret_access_key": SECRET_ACCESS_KEY,
        "endpoint_url": server.endpoint,
    }
    file.write_text(json.dumps(document))
    environment = {"HOLDFAST_S3_CREDENTIALS_FILE": str(file)}
    create = ("repository", "create", url, "--recovery-kit", tmp_path / "kit")
    refused = holdfast.run(*create, environment=environment)
    assert refused.error_code == "invalid_input"
    assert "chmod 600" in refused.stderr
    file.chmod(0o600)
    holdfast.run(*create, environment=environment).require()
