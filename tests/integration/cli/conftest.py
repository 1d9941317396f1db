"""`holdfast` as a user runs it: real processes on a repository and images of their own."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.units import KIB, MIB

PASSPHRASE = "tallest-oak-by-the-river"  # noqa: S105
BINARY = Path(sys.executable).parent / "holdfast"
TEXT = "what the letter says\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cli:
    """Runs commands against one repository."""

    repository: Path
    passphrase_file: Path

    def start(self, *arguments: str | Path, failpoints: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BINARY, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "LC_ALL": "C.UTF-8",
                "HOLDFAST_PASSPHRASE_FILE": str(self.passphrase_file),
                "HOLDFAST_FAILPOINTS": failpoints,
            },
        )

    def run(self, *arguments: str | Path, exits: int = 0) -> tuple[str, str]:
        """Standard output and standard error."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == exits, f"{arguments}: {process.returncode} {output}{errors}"
        assert "Traceback" not in errors
        return output, errors

    def json(self, *arguments: str | Path, exits: int = 0) -> Any:
        """The one document of a command about the repository."""
        output, _ = self.run(*arguments, "--repository", self.repository, "--json", exits=exits)
        return json.loads(output)

    def backup(self, source: Path, *more: str | Path, exits: int = 0) -> Any:
        return self.json("backup", source, *more, exits=exits)

    def error_code(self, *arguments: str | Path, exits: int = 1) -> str:
        document = self.json(*arguments, exits=exits)
        assert set(document) == {"error"}
        return str(document["error"]["code"])

    def points(self) -> list[Any]:
        return list(self.json("points")["points"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A repository with one point of one image."""

    cli: Cli
    image: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Made once; tests get copies."""
    folder = tmp_path_factory.mktemp("cli")
    passphrase_file = folder / "passphrase"
    passphrase_file.write_text(PASSPHRASE + "\n")
    passphrase_file.chmod(0o600)
    cli = Cli(repository=folder / "repository", passphrase_file=passphrase_file)
    image = folder / "web.raw"
    make_image(image, folder / "tree")
    cli.run("repository", "create", cli.repository, "--recovery-kit", folder / "kit")
    cli.backup(image)
    return Lab(cli=cli, image=image)


@pytest.fixture
def lab(made: Lab, tmp_path: Path) -> Lab:
    """The VM's id is the image's path, so the image stays where it is and must not be changed."""
    repository = tmp_path / "repository"
    shutil.copytree(made.cli.repository, repository)
    cli = Cli(repository=repository, passphrase_file=made.cli.passphrase_file)
    return Lab(cli=cli, image=made.image)


@pytest.fixture
def big_image(tmp_path: Path) -> Path:
    """Whose backup goes on for a while after its first pack."""
    image = tmp_path / "big.raw"
    image.write_bytes(random.Random(9).randbytes(160 * MIB))
    return image


def make_image(image: Path, tree: Path, text: str = TEXT) -> None:
    (tree / "srv").mkdir(parents=True)
    (tree / "srv" / "letter.txt").write_text(text)
    (tree / "srv" / "random").write_bytes(random.Random(5).randbytes(900 * KIB))
    with image.open("wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, image], check=True, timeout=60)


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what `process` is to bring about; its deeds raise no event that could be awaited."""
    deadline = time.monotonic() + 60
    while not condition():
        ended = process.poll() is not None
        late = time.monotonic() > deadline
        if late:
            process.kill()
        if (ended or late) and not condition():
            output, errors = process.communicate()
            how = f"exit status {process.returncode}" if ended else "not in time"
            pytest.fail(f"the condition did not come true ({how}): {output}{errors}")
        time.sleep(0.01)


def packs_of(repository: Path) -> list[Path]:
    """Durable packs: temporary files do not count."""
    return [
        path for path in repository.glob("packs/**/*") if path.is_file() and path.name[0] != "."
    ]


def leases_of(repository: Path) -> set[Path]:
    """Generations of leases that were put. There may never be more of them than before, only
    others: a generation replaces the one before it."""
    return {path for path in repository.glob("leases/*/*") if path.name[0] != "."}
