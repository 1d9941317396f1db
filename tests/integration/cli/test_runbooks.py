"""The commands of the runbooks, as they stand there, in their order: each is run once.

A command is an indented line that begins with `holdfast`. Words in capitals are replaced by what
the reader would put there. Each test says how the commands of its book end; one more or fewer
command fails it.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.core.units import MIB
from tests.integration.cli.conftest import BINARY, PASSPHRASE, Cli
from tests.support.damage import flip_bit, pack_files
from tests.support.seaweedfs import (
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    boto_client,
    locking_bucket,
    new_location,
    shared_server,
)

_BOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
_COMMAND = re.compile(r"^ {4,}(holdfast .*)$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\b[A-Z][A-Z0-9_]+\b")


@dataclass(slots=True, kw_only=True)
class Reader:
    """Someone who follows a runbook: what they put for its words, and their shell."""

    folder: Path
    words: dict[str, str] = field(default_factory=dict[str, str])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def cli(self) -> Cli:
        return Cli(repository=self.folder / "repository", passphrase_file=self.folder / "FILE")

    def follow(
        self,
        book: str,
        endings: Sequence[int],
        before: Mapping[int, Callable[[], None]] | None = None,
    ) -> list[str]:
        """Run every command of the book; `before` acts ahead of the command of that number."""
        commands = _COMMAND.findall((_BOOKS / book).read_text())
        assert len(commands) == len(endings), commands
        outputs: list[str] = []
        for number, (command, status) in enumerate(zip(commands, endings, strict=True)):
            (before or {}).get(number, lambda: None)()
            outputs.append(self._run(command, status))
        return outputs

    def assert_restored(self) -> None:
        image = self.folder / "FOLDER" / "web.raw.qcow2"
        compare = ["qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, self.words["SOURCE"]]
        subprocess.run(compare, check=True, capture_output=True, timeout=60)

    def _run(self, command: str, status: int) -> str:
        line = _PLACEHOLDER.sub(lambda match: shlex.quote(self.words[match[0]]), command)
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            input="y\n",  # to whoever is asked for a confirmation
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={
                "PATH": f"{BINARY.parent}:{os.environ['PATH']}",
                "LC_ALL": "C.UTF-8",
                "HOLDFAST_PASSPHRASE_FILE": str(self.folder / "FILE"),
                "HOLDFAST_CACHE": str(self.folder / "cache"),
                **self.environment,
            },
        )
        assert done.returncode == status, f"{line}: {done.returncode} {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """With a repository of two points of one image, and another one beside it."""
    for name in ("FILE", "NEW", "NEWER", "OTHER_FILE", "S3_FILE"):
        (tmp_path / name).write_text(f"{PASSPHRASE} {name}\n")
        (tmp_path / name).chmod(0o600)
    made = Reader(folder=tmp_path)
    image = tmp_path / "web.raw"
    image.write_bytes(random.Random(3).randbytes(6 * MIB))
    for name, file in (("repository", "FILE"), ("other", "OTHER_FILE")):
        cli = Cli(repository=tmp_path / name, passphrase_file=tmp_path / file)
        cli.run("repository", "create", cli.repository, "--recovery-kit", tmp_path / f"{name}-kit")
    made.cli.json("backup", image)
    with image.open("r+b") as file:
        file.write(random.Random(4).randbytes(MIB))
    made.cli.json("backup", image)
    names = ("FILE", "NEW", "NEWER", "OTHER_FILE", "S3_FILE", "KIT", "FOLDER")
    made.words = {name: str(tmp_path / name) for name in names} | {
        "PATH": str(made.cli.repository),
        "OTHER": str(tmp_path / "other"),
        "SOURCE": str(image),
        "POINT": made.cli.points()[-1]["id"],
        "KEY": "web.raw",
        "IMAGE": str(tmp_path / "what-is-left.raw"),
    }
    return made


def test_every_runbook_is_here() -> None:
    books = {path.name for path in _BOOKS.glob("*.md") if _COMMAND.search(path.read_text())}
    assert books == {
        "lost-server.md",
        "lost-passphrase.md",
        "damaged-pack.md",
        "full-disk.md",
        "move-to-s3.md",
        "immutable-repository.md",
    }


def test_lost_server(reader: Reader) -> None:
    # A point of an image has no definition to give to libvirt: the fourth step says so.
    reader.words["KIT"] = str(reader.folder / "repository-kit")
    reader.follow("lost-server.md", [0, 0, 2, 0, 0])
    reader.assert_restored()
    assert len(reader.cli.points()) == 3


def test_lost_passphrase(reader: Reader) -> None:
    folder = reader.folder
    slots = reader.cli.json("key", "list")["slots"]
    kit = (folder / "repository-kit").read_text().split()
    key_file = folder / "recovery-key"
    key_file.write_text(next(word for word in kit if word.startswith("HFK1-")) + "\n")
    key_file.chmod(0o600)
    reader.words |= {
        "RECOVERY_KEY_FILE": str(key_file),
        "SLOT": next(slot["id"] for slot in slots if slot["kind"] == "passphrase"),
    }
    reader.words["FILE"] = str(folder / "second-kit")
    outputs = reader.follow("lost-passphrase.md", [0, 0, 0, 0, 0, 0, 0, 0])
    assert "Removed key slot" in outputs[2]
    assert reader.cli.error_code("points") == "wrong_passphrase"
    newest = Cli(repository=reader.cli.repository, passphrase_file=folder / "NEWER")
    assert newest.json("key", "list")["data_key_generation"] == 1
    assert len(newest.points()) == 2
    other = Cli(repository=folder / "other", passphrase_file=folder / "OTHER_FILE")
    assert len(other.points()) == 2


def test_damaged_pack(reader: Reader) -> None:
    folder = reader.folder
    reader.cli.json("copy", "--to", folder / "other", "--to-passphrase-file", folder / "OTHER_FILE")
    reader.words["FILE"] = str(folder / "OTHER_FILE")

    def damage(step: int = 3 * MIB) -> None:
        """A bit in every stretch of that length of every pack with disk data."""
        for path in pack_files(reader.cli.repository):
            size = path.stat().st_size
            if size > MIB // 2:
                for place in range(min(step, size) // 2, size, step):
                    flip_bit(path, 8 * place)

    damage()
    reader.words["POINT"] = reader.cli.points()[0]["id"]
    reader.words["KIT"] = str(folder / "repository-kit")

    def behead(*, without_sentinel: bool = False) -> None:
        flip_bit(reader.cli.repository / "config", 700)
        if without_sentinel:
            (reader.cli.repository / "sentinel").unlink()

    # Verified: damaged. Healed from the other one. Damaged again: something is left of a point.
    # Nobody can open it: seen by rescue, and put right.
    outputs = reader.follow(
        "damaged-pack.md",
        [3, 0, 3, 3, 0, 0],
        before={
            2: lambda: damage(200_000),
            3: behead,
            5: lambda: behead(without_sentinel=True),
        },
    )
    assert "PROBLEM: config is damaged" in outputs[3]
    assert "config: its checksum does not match; put right from its keyed hash" in outputs[4]
    assert "sentinel: it is missing; put right from the master key" in outputs[5]
    assert len(reader.cli.points()) == 2
    report = json.loads((folder / "holes.json").read_text())
    assert not report["whole"]
    assert (folder / "what-is-left.raw").stat().st_size == 6 * MIB


def test_full_disk(reader: Reader) -> None:
    reader.cli.json("delete", reader.cli.points()[-1]["id"], "--yes")
    outputs = reader.follow("full-disk.md", [0, 0, 0])
    assert "1 packs deleted" in outputs[-1]
    assert reader.cli.json("verify")["sound"]


def test_move_to_s3(reader: Reader) -> None:
    location = new_location()
    reader.words |= {"BUCKET": location.bucket, "PREFIX": location.prefix}
    reader.environment = _bucket_environment()
    outputs = reader.follow("move-to-s3.md", [0] * 7, {})
    assert outputs[3].count("web.raw:") == 2
    reader.assert_restored()


def test_immutable_repository(reader: Reader) -> None:
    location, client = new_location(locking_bucket()), boto_client()
    reader.words |= {"BUCKET": location.bucket, "PREFIX": location.prefix}
    reader.environment = _bucket_environment()

    def hide_everything() -> None:
        versions = client.list_object_versions(Bucket=location.bucket, Prefix=location.path(""))
        for version in versions["Versions"]:
            client.delete_object(Bucket=location.bucket, Key=version["Key"])

    before = {5: hide_everything}
    outputs = reader.follow("immutable-repository.md", [0] * 8, before)
    for said in outputs[3], outputs[4]:
        assert "Immutable: points are locked for 30 days" in said
    assert "Brought back" in outputs[5]


def _bucket_environment() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_ENDPOINT_URL_S3": shared_server().endpoint,
    }
