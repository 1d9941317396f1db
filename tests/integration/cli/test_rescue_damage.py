"""`holdfast rescue` as an administrator types it: a repository on read-only storage and a kit."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.conftest import BINARY, Cli, Lab, packs_of
from tests.support.damage import flip_bit


@pytest.fixture
def kit(made: Lab) -> Path:
    """The page as it was saved at creation."""
    return made.cli.repository.parent / "kit"


def _rescue(cli: Cli, *arguments: str | Path, exits: int = 0) -> str:
    output, _ = cli.run("rescue", cli.repository, *arguments, exits=exits)
    return output


def test_from_read_only_storage_with_nothing_but_the_kit(
    lab: Lab, kit: Path, tmp_path: Path
) -> None:
    """No settings, no home, no cache; the kernel refuses every write to the repository."""
    script = """
        set -e
        mount --bind "$1" "$1"
        mount -o remount,bind,ro "$1"
        ! touch "$1/x" 2>/dev/null
        "$2" rescue "$1" --kit "$3"
        "$2" rescue "$1" --kit "$3" --restore web --to "$4" --format raw --json
    """
    command = ["unshare", "--mount", "sh", "-c", script, "sh"]
    out = tmp_path / "out"
    done = subprocess.run(
        [*command, lab.cli.repository, BINARY, kit, out],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stderr
    listing, _, document = done.stdout.rstrip("\n").rpartition("\n")
    assert "no damage known" in listing
    assert "web.raw:24" in listing
    assert f"rescue {lab.cli.repository} --kit {kit} --restore web --to FOLDER" in listing
    assert json.loads(document)["whole"]
    assert (out / "web.raw.img").read_bytes() == lab.image.read_bytes()
    assert "web as it was on" in (out / "README.txt").read_text()


def test_the_kit_names_the_very_commands(lab: Lab, kit: Path, tmp_path: Path) -> None:
    lines = [line.strip() for line in kit.read_text().splitlines()]
    commands = [line.split() for line in lines if line.startswith("holdfast ")]
    assert [command[1] for command in commands] == ["rescue", "rescue"]
    values = {"FILE": str(kit), "FOLDER": str(tmp_path / "out")}
    for command in commands:
        lab.cli.run(*(values.get(word, word) for word in command[1:]))
    assert (tmp_path / "out" / "web.raw.qcow2").exists()


def test_damage_is_said_and_ends_in_status_3(lab: Lab, tmp_path: Path) -> None:
    second = lab.cli.backup(lab.image)["id"]
    assert json.loads(_rescue(lab.cli, "--check", "--json"))["problems"] == []
    (first,) = [point["id"] for point in lab.cli.points() if point["id"] != second]
    flip_bit(lab.cli.repository / "points" / first, 700)
    assert f"PROBLEM: points/{first} is damaged" in _rescue(lab.cli, exits=3)
    output = _rescue(lab.cli, "--restore", second, "--to", tmp_path / "one")
    assert "Saved 1 of 1 files" in output
    largest = max(packs_of(lab.cli.repository), key=lambda path: path.stat().st_size)
    flip_bit(largest, 8 * (largest.stat().st_size // 2))
    output = _rescue(lab.cli, "--restore", second, "--to", tmp_path / "two", exits=3)
    assert "NOT WHOLE. Saved 0 of 1 files" in output
    fill = "--fill-holes-with-zeroes"
    output = _rescue(lab.cli, "--restore", second, "--to", tmp_path / "two", fill, exits=3)
    assert "NOT WHOLE. Saved 1 of 1 files" in output
    largest.unlink()
    document = json.loads(_rescue(lab.cli, "--check", "--json", exits=3))
    assert "lost of web.raw" in document["points"][0]["damage"]
    assert any("missing" in problem for problem in document["problems"])


def test_wrong_use_is_said(lab: Lab, tmp_path: Path) -> None:
    lab.cli.run("rescue", lab.cli.repository, "--restore", "latest", exits=2)
    lab.cli.run("rescue", tmp_path, exits=1)
    _, errors = lab.cli.run(
        *("rescue", lab.cli.repository, "--restore", "nobody", "--to", tmp_path / "x"), exits=1
    )
    assert "nobody" in errors
    assert not (tmp_path / "x").exists()
