"""The tools that back up a raw image, each as the commands it takes: ours and its peers.

Every tool gets its own folder and is told nothing that its manual does not say. All keep what they
store encrypted except `qemu-img`, which cannot; all compress with zstd at its fastest level.
"""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.benchmarks.measuring import Command, run

OURS = "holdfast"
HOLDFAST = str(Path(sys.executable).parent / "holdfast")


class ImageTool(Protocol):
    """One tool with one empty place to store into. Commands are run in the order of the methods,
    each of them once in a round."""

    @property
    def name(self) -> str: ...

    @property
    def stored(self) -> Path:
        """Folder or file whose size is what the backups take."""
        ...

    @property
    def incremental(self) -> bool:
        """Whether a second backup stores only what changed."""
        ...

    def prepare(self) -> None:
        """Make the place; not measured."""
        ...

    def backup(self, disk: Path) -> Command: ...

    def restore(self, disk: Path, target: Path) -> tuple[Command, Path]:
        """Bring the newest backup of `disk` back below the empty folder `target`; and the file
        that it will be in."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdfast:
    folder: Path
    name: str = OURS
    incremental: bool = True

    @property
    def stored(self) -> Path:
        return self.folder / "repository"

    def prepare(self) -> None:
        new_secret(self.folder)
        kit = str(self.folder / "kit")
        run(self.command("repository", "create", str(self.stored), "--recovery-kit", kit))

    def backup(self, disk: Path) -> Command:
        return self.on_repository("backup", str(disk), "--name", "bench", "--json")

    def restore(self, disk: Path, target: Path) -> tuple[Command, Path]:
        output = target / "disk.raw"
        command = self.on_repository(
            "restore", "latest", "--disk", disk.name, "--output", str(output)
        )
        return command, output

    def on_repository(self, *arguments: str) -> Command:
        """A command on the repository; its output is kept in `output`."""
        return self.command(*arguments, "--repository", str(self.stored))

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def command(self, *arguments: str) -> Command:
        return Command(
            arguments=[HOLDFAST, *arguments],
            environment={"HOLDFAST_PASSPHRASE_FILE": str(self.folder / "secret")},
            stdout=self.output,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuImg:
    folder: Path
    name: str = "qemu-img"
    incremental: bool = False

    @property
    def stored(self) -> Path:
        return self.folder / "disk.qcow2"

    def prepare(self) -> None:
        self.folder.mkdir()

    def backup(self, disk: Path) -> Command:
        options = ["-c", "-o", "compression_type=zstd", "-m", "8", "-W"]
        formats = ["-f", "raw", "-O", "qcow2"]
        files = [str(disk), str(self.stored)]
        return Command(arguments=["qemu-img", "convert", *options, *formats, *files])

    def restore(self, disk: Path, target: Path) -> tuple[Command, Path]:
        output = target / "disk.raw"
        formats = ["-f", "qcow2", "-O", "raw", "-m", "8", "-W"]
        files = [str(self.stored), str(output)]
        return Command(arguments=["qemu-img", "convert", *formats, *files]), output


@dataclass(frozen=True, slots=True, kw_only=True)
class Borg:
    """The image's time stamp is changed before each run, so borg reads it: its cache of files
    would otherwise skip it."""

    folder: Path
    name: str = "borg"
    incremental: bool = True

    @property
    def stored(self) -> Path:
        return self.folder / "repository"

    def prepare(self) -> None:
        new_secret(self.folder)
        run(self._command("init", "--encryption", "repokey-blake2", str(self.stored)))

    def backup(self, disk: Path) -> Command:
        archive = f"{self.stored}::{{now:%H%M%S.%f}}"
        return self._command("create", "--compression", "zstd,1", archive, disk.name, at=disk)

    def restore(self, disk: Path, target: Path) -> tuple[Command, Path]:
        output = target / disk.name
        newest = self.folder / "newest"
        run(self._command("list", "--short", "--last", "1", str(self.stored), stdout=newest))
        archive = f"{self.stored}::{newest.read_text().strip()}"
        return self._command("extract", "--sparse", archive, at=output), output

    def _command(
        self, *arguments: str, at: Path | None = None, stdout: Path | None = None
    ) -> Command:
        environment = {
            "BORG_BASE_DIR": str(self.folder / "state"),
            "BORG_PASSCOMMAND": f"cat {self.folder / 'secret'}",
        }
        return Command(
            arguments=["borg", *arguments],
            environment=environment,
            folder=at.parent if at else self.folder,
            stdout=stdout,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Restic:
    """The image's time stamp is changed before each run, so restic reads it."""

    folder: Path
    name: str = "restic"
    incremental: bool = True

    @property
    def stored(self) -> Path:
        return self.folder / "repository"

    def prepare(self) -> None:
        new_secret(self.folder)
        run(self._command("init", "--repository-version", "2"))

    def backup(self, disk: Path) -> Command:
        return self._command("backup", disk.name, at=disk)

    def restore(self, disk: Path, target: Path) -> tuple[Command, Path]:
        return self._command("restore", "latest", "--target", str(target)), target / disk.name

    def _command(self, *arguments: str, at: Path | None = None) -> Command:
        environment = {
            "RESTIC_REPOSITORY": str(self.stored),
            "RESTIC_PASSWORD_FILE": str(self.folder / "secret"),
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
            "HOME": str(self.folder),
        }
        folder = at.parent if at else self.folder
        return Command(arguments=["restic", *arguments], environment=environment, folder=folder)


IMAGE_TOOLS = {OURS: Holdfast, "qemu-img": QemuImg, "borg": Borg, "restic": Restic}

PACKAGES = {
    "qemu-img": "qemu-utils",
    "borg": "borgbackup",
    "restic": "restic",
    "virtnbdbackup": "virtnbdbackup",
}


def floor_read(disk: Path) -> Command:
    return Command(arguments=["cat", str(disk)])


def floor_hash(disk: Path) -> Command:
    """Read and hash in one thread, nothing else."""
    program = (
        "import sys, blake3\n"
        "hasher, buffer = blake3.blake3(), memoryview(bytearray(4 << 20))\n"
        "with open(sys.argv[1], 'rb', buffering=0) as file:\n"
        "    while count := file.readinto(buffer): hasher.update(buffer[:count])\n"
    )
    return Command(arguments=[sys.executable, "-c", program, str(disk)])


def stored_bytes(place: Path) -> int:
    """Sum of the sizes of the files there."""
    if not place.exists():
        return 0
    if place.is_file():
        return place.stat().st_size
    folders = os.walk(place)
    return sum(Path(path, name).lstat().st_size for path, _, names in folders for name in names)


def new_secret(folder: Path) -> None:
    """A new folder with a passphrase in `secret`, readable by us alone."""
    folder.mkdir(mode=0o700)
    path = folder / "secret"
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(secrets.token_hex(16) + "\n")
