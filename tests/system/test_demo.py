"""The demo from its first step to its summary, and damage done to what it stored."""

from __future__ import annotations

import io
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from holdfast.cli.demo.lab import Lab
from holdfast.cli.demo.run import remove_lab, run_demo
from tests.support.holdfast_command import HoldfastCommand
from tests.support.libvirtd import ensure_libvirtd

pytestmark = [pytest.mark.libvirt, pytest.mark.slow, pytest.mark.timeout(600)]

_INTEGRITY = 3
_LABS = Path("/var/lib/holdfast")
"""Not pytest's folder: QEMU's user must be able to pass through."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    ensure_libvirtd()
    name = f"holdfast-test-{secrets.token_hex(4)}"
    folder = _LABS / name.removeprefix("holdfast-")
    output = Console(file=io.StringIO(), width=120)
    status = run_demo(lab_dir=folder, console=output, vm_name=name)
    try:
        assert status == 0, output_of(output)
        yield Lab(folder=folder, vm_name=name)
    finally:
        assert remove_lab(lab_dir=folder, console=output, vm_name=name) == 0, output_of(output)
    assert not folder.exists()


def test_the_demo_leaves_two_sound_points(lab: Lab, tmp_path: Path) -> None:
    command = HoldfastCommand(passphrase_file=lab.passphrase_file, home=tmp_path)
    points = command.run("points", "--repository", lab.repository).require()["points"]
    assert [point["captured_as"] for point in points] == ["full", "incremental"]
    checked = command.run("check", "--read-data", "--repository", lab.repository).require()
    assert checked["sound"] and checked["points"] == 2


def test_a_flipped_byte_in_a_pack_is_an_integrity_error(lab: Lab, tmp_path: Path) -> None:
    command = HoldfastCommand(passphrase_file=lab.passphrase_file, home=tmp_path)
    copy = tmp_path / "repository"
    shutil.copytree(lab.repository, copy)
    pack = max((copy / "packs").glob("*/*"), key=lambda path: path.stat().st_size)
    flip_byte(pack, pack.stat().st_size // 2)
    checked = command.run("check", "--read-data", "--repository", copy)
    assert checked.status == _INTEGRITY, checked.stderr
    assert checked.document is not None
    assert pack.name in str(checked.document["problems"])
    assert any(problem["points"] for problem in checked.document["problems"])


def flip_byte(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


def output_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
