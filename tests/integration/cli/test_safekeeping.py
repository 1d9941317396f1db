"""verify, repair, copy, key and restore with holes, as real processes: documents and exit codes."""

from __future__ import annotations

import json
import random
import shutil
import signal
from pathlib import Path

import pytest

from holdfast.core.units import MIB
from tests.integration.cli.conftest import Cli
from tests.support.damage import flip_bit, pack_files

_NEW_PASSPHRASE = "a-quiet-lake-in-autumn"  # noqa: S105


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two points of one image, and an empty one beside it."""
    folder = tmp_path_factory.mktemp("safekeeping")
    for name, text in (("old", "tallest-oak-by-the-river"), ("new", _NEW_PASSPHRASE)):
        path = folder / name
        path.write_text(text + "\n")
        path.chmod(0o600)
    image = folder / "disk.raw"
    image.write_bytes(random.Random(1).randbytes(20 * MIB))
    for name in ("repository", "other"):
        cli = Cli(repository=folder / name, passphrase_file=folder / "old")
        cli.run("repository", "create", cli.repository, "--recovery-kit", folder / f"{name}-kit")
    cli = Cli(repository=folder / "repository", passphrase_file=folder / "old")
    cli.json("backup", image)
    with image.open("r+b") as file:
        file.write(random.Random(2).randbytes(2 * MIB))
    cli.json("backup", image)
    return folder


@pytest.fixture
def place(ground: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ground, tmp_path / "place")


def _cli(place: Path, name: str = "repository", unlocked_by: str = "old") -> Cli:
    return Cli(repository=place / name, passphrase_file=place / unlocked_by)


def _damage(place: Path) -> None:
    """In the largest pack, where data lies."""
    path = max(pack_files(place / "repository"), key=lambda item: item.stat().st_size)
    flip_bit(path, 8 * (path.stat().st_size // 2))


def test_verify_restore_and_heal_from_a_copy(place: Path) -> None:
    cli = _cli(place)
    copied = cli.json("copy", "--to", place / "other")
    assert len(copied["copied"]) == 2
    again = cli.json("copy", "--to", place / "other")
    assert (len(again["present"]), again["read_bytes"]) == (2, 0)
    assert cli.json("verify")["sound"]
    assert cli.json("verify", "--not-verified-for", "1")["packs"] == 0
    _damage(place)
    report = cli.json("verify", exits=3)
    assert len(report["damaged_packs"]) == 1
    lost = [point for point in report["affected_points"] if not point["restorable_in_full"]]
    assert lost
    output = place / "restored.raw"
    restore = ("restore", lost[-1]["id"], "--disk", "disk.raw", "--output", output)
    assert cli.json(*restore, exits=3)["error"]["code"] == "object_damaged"
    assert not output.exists()
    filled = cli.json(*restore, "--fill-holes-with-zeroes", exits=3)
    assert not filled["whole"]
    assert [(hole["offset"], hole["length"]) for hole in filled["holes"]] == [
        (extent["offset"], extent["length"]) for extent in lost[-1]["disks"][0]["lost"]
    ]
    output.unlink()
    assert not cli.json("repair", exits=3)["whole"]
    assert cli.json("repair", "--from", place / "other")["whole"]
    cli.json(*restore)


@pytest.mark.parametrize("key", ["config", "sentinel"])
def test_a_repository_that_nobody_can_open(place: Path, key: str) -> None:
    cli = _cli(place)
    before = cli.json("points")["points"]
    path = place / "repository" / key
    whole = path.read_bytes()
    flip_bit(path, 8 * 40)
    damaged = path.read_bytes()
    error = cli.json("points", exits=3)["error"]
    assert error["code"] == "header_damaged"
    assert "holdfast repair" in error["hint"]
    wrong = _cli(place, unlocked_by="new")
    assert wrong.json("repair", exits=1)["error"]["code"] == "wrong_passphrase"
    assert path.read_bytes() == damaged
    for slot in (place / "repository" / "keys").iterdir():
        if b'"passphrase"' in slot.read_bytes():
            slot.write_bytes(b"damaged as well")
    report = cli.json("repair", "--kit", place / "repository-kit")
    assert report["whole"]
    assert [item["object"] for item in report["mended"]] == [key]
    assert key == "sentinel" or path.read_bytes() == whole
    (aside,) = (place / "repository" / "damaged" / key).iterdir()
    assert aside.read_bytes() == damaged
    output, _ = cli.run("rescue", cli.repository, "--kit", place / "repository-kit", "--json")
    rescued = json.loads(output)
    assert rescued["problems"] == []
    assert [item["id"] for item in rescued["points"]] == [point["id"] for point in before]


def test_a_sentinel_that_is_missing_takes_a_word(place: Path) -> None:
    cli = _cli(place)
    (place / "repository" / "sentinel").unlink()
    error = cli.json("points", exits=1)["error"]
    assert error["code"] == "repository_incomplete"
    assert "--without-proof" in error["hint"]
    assert cli.json("repair", exits=3)["error"]["code"] == "header_unproven"
    assert not (place / "repository" / "sentinel").exists()
    output, _ = cli.run("repair", "--repository", cli.repository, "--without-proof")
    assert "sentinel: it is missing; put right from the master key" in output
    assert len(cli.json("points")["points"]) == 2


def test_a_damaged_manifest_comes_back_from_a_copy(place: Path) -> None:
    cli = _cli(place)
    cli.json("copy", "--to", place / "other")
    point = cli.json("points")["points"][0]["id"]
    path = place / "repository" / "points" / point
    path.write_bytes(b"")
    report = cli.json("repair", exits=3)
    (left,) = report["not_mended"]
    assert left == {
        "object": f"points/{point}",
        "problem": "nothing that is left repeats it",
    }
    assert path.read_bytes() == b""
    report = cli.json("repair", "--from", place / "other")
    assert report["mended"][0]["taken_from"] == "the other repository"
    output = place / "restored.raw"
    cli.json("restore", point, "--disk", "disk.raw", "--output", output)
    assert cli.json("verify")["sound"]


def test_the_next_backup_heals(ground: Path, place: Path) -> None:
    cli = _cli(place)
    _damage(place)
    cli.json("verify", exits=3)
    made = cli.json("backup", ground / "disk.raw")
    assert "is damaged: reading everything to heal it" in made["disks"][0]["reason"]
    assert made["id"] not in [
        point["id"] for point in cli.json("verify", exits=3)["affected_points"]
    ]


def test_a_copy_for_one_vm_and_for_named_points(place: Path) -> None:
    cli = _cli(place)
    assert cli.json("copy", "--to", place / "other", "--name", "nobody")["copied"] == []
    latest = cli.json("points")["points"][-1]["id"]
    assert cli.json("copy", latest, "--to", place / "other")["copied"] == [latest]
    assert [point["id"] for point in _cli(place, "other").json("points")["points"]] == [latest]


def test_keys(place: Path) -> None:
    cli = _cli(place)
    assert [slot["kind"] for slot in cli.json("key", "list")["slots"]] == [
        "passphrase",
        "recovery",
    ]
    cli.json("key", "change", "--new-passphrase-file", place / "new")
    assert cli.json("points", exits=1)["error"]["code"] == "wrong_passphrase"
    changed = _cli(place, unlocked_by="new")
    kit = changed.json("key", "new-recovery-kit")
    assert "HFK1-" in kit["recovery_kit"]
    for slot in changed.json("key", "list")["slots"]:
        if slot["kind"] == "recovery":
            changed.json("key", "remove", slot["id"], "--yes")
    (last,) = changed.json("key", "list")["slots"]
    unknown = changed.json("key", "remove", "0000", exits=1)
    assert unknown["error"]["code"] == "key_slot_not_found"
    unasked = changed.json("key", "remove", last["id"], exits=2)
    assert unasked["error"]["params"]["what"] == "--yes"
    refused = changed.json("key", "remove", last["id"], "--yes", exits=1)
    assert refused["error"]["code"] == "last_key_slot"
    changed.json("key", "add", "--new-passphrase-file", place / "old")
    assert len(cli.json("points")["points"]) == 2


def test_a_killed_change_leaves_both_passphrases(place: Path) -> None:
    cli = _cli(place)
    process = cli.start(
        *("key", "change", "--repository", cli.repository),
        *("--new-passphrase-file", place / "new"),
        failpoints="keys.between_slots:kill",
    )
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    for name in ("old", "new"):
        assert len(_cli(place, unlocked_by=name).json("points")["points"]) == 2


@pytest.mark.parametrize("step", ["before_put", "between_copies"])
def test_a_killed_rotation_is_whole_or_not_there(ground: Path, place: Path, step: str) -> None:
    cli = _cli(place)
    rotate = ("key", "rotate")
    process = cli.start(
        *rotate, "--repository", cli.repository, failpoints=f"data_keys.{step}:kill"
    )
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    done = int(step == "between_copies")
    assert cli.json("key", "list")["data_key_generation"] == done
    cli.json("backup", ground / "disk.raw", "--full")
    assert cli.json(*rotate)["generation"] == done + 1
    cli.json("compact", "--old-data-keys", "--grace-hours", "0", "--max-delete-percent", "100")
    assert cli.json("verify")["sound"]
    assert cli.json("check")["sound"]


def test_a_point_whose_manifest_is_damaged_comes_back_from_a_copy(place: Path) -> None:
    cli = _cli(place)
    point = cli.json("points")["points"][-1]["id"]
    cli.json("copy", "--to", place / "other")
    flip_bit(place / "repository" / "points" / point, 1000)
    (affected,) = cli.json("verify", exits=3)["affected_points"]
    assert (affected["id"], affected["restorable_in_full"]) == (point, False)
    assert cli.json("delete", point, "--yes")["deleted"] == point
    other = _cli(place, "other")
    assert other.json("copy", point, "--to", cli.repository)["copied"] == [point]
    assert cli.json("verify")["sound"]
