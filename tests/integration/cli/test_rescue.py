"""`holdfast rescue` as it is used when all else is lost: with the recovery kit, from read-only
media, from a damaged repository. It writes nothing there."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.units import MIB
from tests.integration.cli.conftest import Cli
from tests.support.damage import flip_bit, pack_files

_SIZE = 20 * MIB


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two points of a VM of two disks, and its kit."""
    folder = tmp_path_factory.mktemp("rescue")
    passphrase = folder / "passphrase"
    passphrase.write_text("tallest-oak-by-the-river\n")
    passphrase.chmod(0o600)
    vm = folder / "web"
    vm.mkdir()
    (vm / "vda.raw").write_bytes(random.Random(1).randbytes(_SIZE))
    (vm / "vdb.raw").write_bytes(random.Random(2).randbytes(2 * MIB) + bytes(511))
    cli = Cli(repository=folder / "repository", passphrase_file=passphrase)
    cli.run("repository", "create", cli.repository, "--recovery-kit", folder / "kit")
    cli.json("backup", vm)
    with (vm / "vda.raw").open("r+b") as file:
        file.write(random.Random(3).randbytes(MIB))
    cli.json("backup", vm)
    return folder


@pytest.fixture
def place(ground: Path, tmp_path: Path) -> Path:
    shutil.copytree(ground / "repository", tmp_path / "repository")
    shutil.copy(ground / "kit", tmp_path / "kit")
    return tmp_path


def _rescue(place: Path, *arguments: str | Path, exits: int = 0) -> Any:
    """With the kit alone: no passphrase in the environment."""
    cli = Cli(repository=place / "repository", passphrase_file=Path("/nonexistent"))
    output, _ = cli.run(
        *("rescue", place / "repository", "--kit", place / "kit", "--json"),
        *arguments,
        exits=exits,
    )
    return json.loads(output)


def _fingerprint(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_both_points_with_the_kit_alone(ground: Path, place: Path) -> None:
    before = _fingerprint(place / "repository")
    listed = _rescue(place)
    assert listed["total"] == 2 and not listed["problems"]
    done = _rescue(place, "--restore", "latest", "--to", place / "out", "--format", "raw")
    assert done["whole"] and not done["problems"]
    for disk in ("vda.raw", "vdb.raw"):
        assert (place / "out" / f"{disk}.img").read_bytes() == (ground / "web" / disk).read_bytes()
    readme = (place / "out" / "README.txt").read_text()
    assert "web" in readme and "vda.raw.img" in readme
    assert _fingerprint(place / "repository") == before
    first = listed["points"][0]["id"]
    _rescue(place, "--restore", first, "--to", place / "first")
    described = subprocess.run(
        ["qemu-img", "info", "--output=json", place / "first" / "vda.raw.qcow2"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(described.stdout)["virtual-size"] == _SIZE


def test_read_only_media(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    repository = place / "repository"
    subprocess.run(["mount", "--bind", repository, repository], check=True, timeout=60)
    try:
        remount = ["mount", "-o", "remount,bind,ro", repository]
        subprocess.run(remount, check=True, timeout=60)
        assert _rescue(place)["total"] == 2
        assert _rescue(place, "--restore", "latest", "--to", place / "out")["whole"]
    finally:
        subprocess.run(["umount", repository], check=True, timeout=60)


def test_index_leases_and_sentinel_gone(ground: Path, place: Path) -> None:
    for name in ("index", "leases", "holds", "marks", "verified"):
        shutil.rmtree(place / "repository" / name, ignore_errors=True)
    (place / "repository" / "sentinel").unlink()
    listed = _rescue(place, exits=3)
    assert listed["total"] == 2 and len(listed["problems"]) == 1
    out = place / "out"
    done = _rescue(place, "--restore", "latest", "--to", out, "--format", "raw")
    assert done["whole"]
    assert (out / "vda.raw.img").read_bytes() == (ground / "web" / "vda.raw").read_bytes()


def test_what_is_lost_is_named_and_the_rest_comes_out(ground: Path, place: Path) -> None:
    pack = max(pack_files(place / "repository"), key=lambda item: item.stat().st_size)
    flip_bit(pack, 8 * (pack.stat().st_size // 2))
    manifest = max((place / "repository" / "points").iterdir())
    manifest.write_bytes(b"junk")
    listed = _rescue(place, exits=3)
    assert listed["total"] == 1 and len(listed["damaged"]) == 1
    out = place / "out"
    rescue = ("--restore", "latest", "--to", out, "--format", "raw")
    done = _rescue(place, *rescue, exits=3)
    [missing] = [disk for disk in done["disks"] if disk["path"] is None]
    assert not done["whole"] and not (out / f"{missing['key']}.img").exists()
    # Zeroes in place of what is lost are written when asked for only.
    done = _rescue(place, *rescue, "--fill-holes-with-zeroes", exits=3)
    assert not done["whole"] and len(done["problems"]) == 1
    [lost] = [disk for disk in done["disks"] if disk["lost_bytes"]]
    assert "LOST" in (out / "README.txt").read_text()
    # Which chunk the middle of a pack holds depends on the order in which they were ready.
    (place / "vda.raw").write_bytes(random.Random(1).randbytes(_SIZE))  # as the older point has it
    shutil.copy(ground / "web" / "vdb.raw", place)
    for key in ("vda.raw", "vdb.raw"):
        differing = _differing(out / f"{key}.img", place / key)
        assert 0 < differing <= lost["lost_bytes"] if key == lost["key"] else differing == 0


def _differing(one: Path, other: Path) -> int:
    pairs = zip(one.read_bytes(), other.read_bytes(), strict=True)
    return sum(left != right for left, right in pairs)


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "no line"), ("HFK1-A\nHFK1-B\n", "2 lines"), ("HFK1-AAAAAAA\n", "checksum")],
)
def test_a_kit_that_is_none(place: Path, text: str, word: str) -> None:
    (place / "kit").write_text(text)
    error = _rescue(place, exits=2)["error"]
    assert word in error["message"]


def test_a_folder_with_something_in_it(place: Path) -> None:
    (place / "out").mkdir()
    (place / "out" / "mine").write_text("keep")
    error = _rescue(place, "--restore", "latest", "--to", place / "out", exits=1)["error"]
    assert error["code"] == "target_exists"
    assert [path.name for path in (place / "out").iterdir()] == ["mine"]
