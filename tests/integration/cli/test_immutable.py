"""Immutable repositories in a folder, by the commands; on a real file system, with its attribute.

What was made is taken apart by `lockable_folder`, for nothing else can remove it for a day.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.units import MIB
from holdfast.repository import LocalStore
from tests.compat import independent_reader
from tests.integration.cli.conftest import BINARY, PASSPHRASE, Cli, packs_of
from tests.support.locks import lockable_folder

_WITHOUT_THE_RIGHT = ("setpriv", "--bounding-set", "-linux_immutable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    folder: Path
    image: Path
    created: Any
    """What `repository create` said of its immutability."""

    def cli(self, name: str = "repository") -> Cli:
        return Cli(repository=self.folder / name, passphrase_file=self.folder / "passphrase")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With an immutable repository of two points, which nothing may change."""
    with lockable_folder(tmp_path_factory.mktemp("immutable") / "locks") as folder:
        secret = folder / "passphrase"
        secret.write_text(PASSPHRASE + "\n")
        secret.chmod(0o600)
        image = folder / "disk.raw"
        image.write_bytes(random.Random(3).randbytes(3 * MIB))
        made = _create(Place(folder=folder, image=image, created=None), "repository", days=1)
        place = Place(folder=folder, image=image, created=made["immutability"])
        place.cli().backup(image)
        with image.open("r+b") as file:
            file.write(random.Random(4).randbytes(MIB))
        place.cli().backup(image)
        yield place


def _create(place: Place, name: str, *, days: int) -> Any:
    more = ("--immutable-days", str(days)) if days else ()
    cli = place.cli(name)
    kit = place.folder / f"{name}-kit"
    return _json(cli, "create", "--recovery-kit", kit, *more)


def _json(cli: Cli, verb: str, *more: str | Path, exits: int = 0) -> Any:
    output, _ = cli.run("repository", verb, cli.repository, *more, "--json", exits=exits)
    return json.loads(output)


def _until(text: str) -> timedelta:
    return datetime.fromisoformat(text) - datetime.now(UTC)


def test_what_root_locks_root_can_unlock_and_the_canary_says_so(place: Place) -> None:
    checked = place.cli().json("check")
    assert checked["sound"]
    for said in (
        place.created,
        _json(place.cli(), "info")["immutability"],
        checked["immutability"],
    ):
        assert (said["days"], said["immutable"]) == (1, False)
        (why,) = said["why_not"]
        assert "root's rights" in why


def test_delete_prune_and_compact_respect_locks_and_say_until_when(place: Place) -> None:
    cli = place.cli()
    before = cli.points()
    for point in before:
        refused = cli.json("delete", point["id"], "--yes", exits=1)["error"]
        assert refused["code"] == "object_locked"
        assert "immutable until" in refused["message"]
    pruned = cli.json("prune", "--keep-last", "1", "--min-age", "0h")
    assert pruned["deleted"] == []
    first = next(point for point in pruned["points"] if point["id"] == before[0]["id"])
    assert first["keep"]
    assert timedelta(hours=23) < _until(first["immutable_until"]) <= timedelta(days=1)
    cli.json("compact", "--grace-hours", "0", "--max-delete-percent", "100")
    assert [point["id"] for point in cli.points()] == [point["id"] for point in before]
    assert cli.json("verify")["sound"]


def test_rescue_and_the_independent_reader_read_it(place: Place, tmp_path: Path) -> None:
    cli = place.cli()
    point = cli.points()[-1]["id"]
    kit = place.folder / "repository-kit"
    listed, _ = cli.run("rescue", cli.repository, "--kit", kit, "--json")
    assert json.loads(listed)["total"] == 2
    out = tmp_path / "out"
    get_out = ("--restore", point, "--to", out, "--format", "raw", "--json")
    said, _ = cli.run("rescue", cli.repository, "--kit", kit, *get_out)
    (disk,) = json.loads(said)["disks"]
    assert Path(disk["path"]).read_bytes() == place.image.read_bytes()
    read = tmp_path / "read.raw"
    reader = [sys.executable, independent_reader.__file__, cli.repository]
    secret = ("--passphrase-file", cli.passphrase_file)
    subprocess.run([*reader, *secret, point, "disk.raw", read], check=True, timeout=120)
    assert read.read_bytes() == place.image.read_bytes()


def test_the_lock_step_finds_nothing_to_do(place: Place) -> None:
    for more in ((), ("--dry-run",)):
        report = _json(place.cli(), "lock", *more)
        assert report["objects"] > len(packs_of(place.cli().repository))
        assert report["unlocked"] == report["missing"] == report["hidden"] == []
        assert _until(report["until"]) > timedelta(hours=23)


def test_who_deletes_the_folder_deletes_no_point(place: Place) -> None:
    cli = place.cli("attacked")
    _create(place, "attacked", days=1)
    cli.backup(place.image)
    packs = packs_of(cli.repository)
    removed = subprocess.run(["rm", "-rf", cli.repository], capture_output=True, check=False)
    assert removed.returncode != 0
    assert packs_of(cli.repository) == packs
    assert not list(cli.repository.glob("index/*"))
    assert cli.json("check")["sound"]
    assert cli.json("verify")["sound"]


def test_an_old_repository_becomes_immutable_and_is_released_for_new_points(place: Place) -> None:
    cli = place.cli("old")
    _create(place, "old", days=0)
    old = cli.backup(place.image)["id"]
    assert _json(cli, "info")["immutability"]["days"] == 0
    report = _json(cli, "immutable", "--days", "1")["lock"]
    assert len(report["unlocked"]) > len(packs_of(cli.repository))
    assert cli.error_code("delete", old, "--yes") == "object_locked"
    _json(cli, "immutable", "--days", "0")
    new = cli.backup(place.image)["id"]
    assert cli.json("delete", new, "--yes")["deleted"] == new
    assert cli.error_code("delete", old, "--yes") == "object_locked"


def test_who_may_not_lock_makes_no_immutable_repository(place: Place) -> None:
    cli = place.cli("refused")
    create = (BINARY, "repository", "create", cli.repository, "--immutable-days", "1", "--json")
    environment = {"HOLDFAST_PASSPHRASE_FILE": str(cli.passphrase_file), "LC_ALL": "C.UTF-8"}
    refused = subprocess.run(
        [*_WITHOUT_THE_RIGHT, *create],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert json.loads(refused.stdout)["error"]["code"] == "locks_unsupported"
    assert list(LocalStore(cli.repository).list("")) == []
    _create(place, "refused", days=0)
    cli.backup(place.image)
