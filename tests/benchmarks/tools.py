"""The tools that back up a raw image, each as the commands it takes: ours and its peers.

Every tool gets its own folder and is told nothing that its manual does not say. All keep what they
store encrypted except `qemu-img`, which cannot; all compress with zstd at its fastest level.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from holdfast.repository.store.store import ObjectStore
from tests.benchmarks.measuring import Command, run

OURS = "holdfast"
HOLDFAST = str(Path(sys.executable).parent / "holdfast")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A prefix of a bucket to store into instead of a folder."""

    endpoint: str
    path: str
    """Bucket and prefix."""
    environment: Mapping[str, str]
    """Credentials and region, by Amazon's names."""
    direct: Callable[[str], ObjectStore]
    """What is below a path, by a way without the delay."""

    def below(self, name: str) -> Bucket:
        return replace(self, path=f"{self.path}/{name}")


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


class Keeper(ImageTool, Protocol):
    """A tool whose store holds many backups and has to be looked after."""

    def check(self) -> Command:
        """Is everything there?"""
        ...

    def verify(self) -> Command:
        """Read every stored byte and prove it."""
        ...

    def shrink(self, keep: int) -> Command:
        """Delete all but the newest `keep` backups and give their space back."""
        ...

    def list_points(self) -> Command:
        """Open the store and list every backup as JSON, into `output`."""
        ...

    @property
    def output(self) -> Path: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdfast:
    folder: Path
    bucket: Bucket | None = None
    name: str = OURS
    incremental: bool = True

    @property
    def stored(self) -> Path:
        return self.folder / "repository"

    @property
    def place(self) -> str:
        return f"s3://{self.bucket.path}" if self.bucket else str(self.stored)

    def prepare(self) -> None:
        new_secret(self.folder)
        kit = str(self.folder / "kit")
        run(self.command("repository", "create", self.place, "--recovery-kit", kit))

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
        return self.command(*arguments, "--repository", self.place)

    def check(self) -> Command:
        return self.on_repository("check", "--json")

    def verify(self) -> Command:
        return self.on_repository("verify", "--json")

    def shrink(self, keep: int) -> Command:
        rules = ["--keep-last", str(keep), "--min-age", "0h"]
        prune = self.on_repository("prune", *rules, "--json")
        at_once = ["--grace-hours", "0", "--max-delete-percent", "100"]
        return both(prune, self.on_repository("compact", *at_once, "--json"))

    def compact(self) -> Command:
        return self.on_repository("compact", "--json")

    def list_points(self) -> Command:
        return self.on_repository("points", "--json")

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def command(self, *arguments: str) -> Command:
        environment = {
            "HOLDFAST_PASSPHRASE_FILE": str(self.folder / "secret"),
            "HOLDFAST_CACHE": str(self.cache),
        }
        if self.bucket:
            environment |= self.bucket.environment
            environment["AWS_ENDPOINT_URL_S3"] = self.bucket.endpoint
        return Command(
            arguments=[HOLDFAST, *arguments], environment=environment, stdout=self.output
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

    def check(self) -> Command:
        return self._command("check", str(self.stored))

    def verify(self) -> Command:
        return self._command("check", "--verify-data", str(self.stored))

    def shrink(self, keep: int) -> Command:
        prune = self._command("prune", "--keep-last", str(keep), str(self.stored))
        return both(prune, self._command("compact", str(self.stored)))

    def list_points(self) -> Command:
        return self._command("list", "--json", str(self.stored), stdout=self.output)

    @property
    def output(self) -> Path:
        return self.folder / "output"

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
    bucket: Bucket | None = None
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

    def check(self) -> Command:
        return self._command("check")

    def verify(self) -> Command:
        return self._command("check", "--read-data")

    def shrink(self, keep: int) -> Command:
        return self._command("forget", "--group-by", "", "--keep-last", str(keep), "--prune")

    def list_points(self) -> Command:
        return self._command("snapshots", "--json")

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def cat(self, *what: str) -> Command:
        """The plaintext of a key or a snapshot, into `output`."""
        return self._command("cat", *what)

    def _command(self, *arguments: str, at: Path | None = None) -> Command:
        bucket = self.bucket
        environment = {
            "RESTIC_REPOSITORY": f"s3:{bucket.endpoint}/{bucket.path}"
            if bucket
            else str(self.stored),
            "RESTIC_PASSWORD_FILE": str(self.folder / "secret"),
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
            "HOME": str(self.folder),
        }
        if bucket:
            environment |= bucket.environment
        folder = at.parent if at else self.folder
        return Command(
            arguments=["restic", *arguments],
            environment=environment,
            folder=folder,
            stdout=self.output,
        )


KEEPERS = (OURS, "borg", "restic")
DISTANT = (OURS, "restic")
"""Those that store into buckets."""
IMAGE_TOOLS = {OURS: Holdfast, "qemu-img": QemuImg, "borg": Borg, "restic": Restic}

PACKAGES = {
    "qemu-img": "qemu-utils",
    "borg": "borgbackup",
    "restic": "restic",
    "virtnbdbackup": "virtnbdbackup",
}


def both(first: Command, second: Command) -> Command:
    """One after the other, as one command; the output of the second is kept."""
    quiet = f"{shlex.join(first.arguments)} > {os.devnull}"
    script = f"{quiet} && exec {shlex.join(second.arguments)}"
    return replace(second, arguments=["sh", "-c", script])


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


def image_tool(name: str, folder: Path, bucket: Bucket | None) -> ImageTool:
    """The tool of that name below `folder`, storing into the bucket when there is one."""
    return (
        keeper(name, folder, bucket) if name in KEEPERS else IMAGE_TOOLS[name](folder=folder / name)
    )


def keeper(name: str, folder: Path, bucket: Bucket | None) -> Keeper:
    """The same for a tool that keeps many backups. borg knows no buckets."""
    below = bucket.below(f"{folder.name}-{secrets.token_hex(4)}/{name}") if bucket else None
    if name == OURS:
        return Holdfast(folder=folder / name, bucket=below)
    if name == "restic":
        return Restic(folder=folder / name, bucket=below)
    return Borg(folder=folder / name)


def folder_of(tool: ImageTool) -> Path | None:
    """The local folder or file that the tool stores into; None when that is a bucket."""
    return None if bucket_of(tool) else tool.stored


def stored_by(tool: ImageTool) -> int:
    """Bytes in the tool's store."""
    bucket = bucket_of(tool)
    if bucket is None:
        return stored_bytes(tool.stored)
    return sum(info.size_bytes for info in bucket.direct(bucket.path).list(""))


def bucket_of(tool: ImageTool) -> Bucket | None:
    return tool.bucket if isinstance(tool, Holdfast | Restic) else None


def new_secret(folder: Path) -> None:
    """A new folder with a passphrase in `secret`, readable by us alone."""
    folder.mkdir(mode=0o700)
    path = folder / "secret"
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(secrets.token_hex(16) + "\n")
