"""The commands that fault tests break off, and what must be true after each of them.

An `Operation` knows how to lay out the place it works in, what may be visible after it was broken
off at any moment, and what the same command must do when it is run again without help. Enter at
`OPERATIONS` and `Ground`; maintenance is in `maintenance_operations`.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.core.units import KIB
from holdfast.repository import Credential, LocalStore, Repository, parse_recovery_key
from holdfast.repository.errors import NotARepository, RepositoryIncomplete
from tests.support.holdfast_command import Finished, HoldfastCommand
from tests.support.oracle import (
    TEMPORARY_PREFIX,
    assert_no_leases,
    assert_repository_sound,
)
from tests.support.system_calls import SystemCall, read_calls, recording

PASSPHRASE = "kill at any call"  # noqa: S105 - of repositories that live for seconds
CHUNK_BYTES = 16 * KIB
Contents = Mapping[str, bytes]
"""Bytes of each disk, by its key."""
_RAW, _QCOW2 = "a.raw", "b.qcow2"
_LONG_AGO_S = 2 * 86_400
_SERVER_FOLDERS = "holdfast-nbd-"


class Ground:
    """What all trials share: a source, repositories to copy, the program. Made once a session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "vm"
        self.source.mkdir()
        self.passphrase_file = _secret(folder / "passphrase", PASSPHRASE)
        self.with_passphrase = HoldfastCommand(passphrase_file=self.passphrase_file, home=folder)
        kit = self.create(folder / "empty")
        # The recovery key opens without Argon2, which takes 0.2 s on purpose.
        self.credential = parse_recovery_key(kit)
        self.command = HoldfastCommand(
            passphrase_file=_secret(folder / "recovery", kit), home=folder
        )
        self.first = self._write_source(random.Random(1))
        shutil.copytree(folder / "empty", folder / "one")
        self.first_point = self._back_up(folder / "one")
        self.second = self._write_source(random.Random(2), self.first)
        shutil.copytree(folder / "one", folder / "two")
        self.second_point = self._back_up(folder / "two")
        self._calls: dict[str, list[SystemCall]] = {}

    def calls(self, operation: Operation) -> list[SystemCall]:
        """The calls of one undisturbed run that touch its files, sockets or output."""
        if operation.name not in self._calls:
            # Once before: a first run also compiles the modules that only this command imports.
            rehearsal = Trial(ground=self, folder=self.folder / f"rehearse-{operation.name}")
            operation.run(rehearsal).require()
            rehearsal.remove()
            trial = Trial(ground=self, folder=self.folder / f"record-{operation.name}")
            log = self.folder / f"{operation.name}.calls"
            operation.run(trial, under=recording(log)).require()
            touching = (str(trial.folder), str(self.source), _SERVER_FOLDERS, "<pipe:", "AF_UNIX")
            self._calls[operation.name] = read_calls(log, touching)
            trial.remove()
        return self._calls[operation.name]

    def create(self, path: Path) -> str:
        arguments = ("repository", "create", path, "--chunk-size", f"{CHUNK_BYTES // KIB}KiB")
        kit = str(self.with_passphrase.run(*arguments).require()["recovery_kit"])
        return next(line.strip() for line in kit.splitlines() if line.strip().startswith("HFK1-"))

    def _back_up(self, repository: Path) -> str:
        result = self.command.run("backup", self.source, "--repository", repository)
        return str(result.require()["id"])

    def _write_source(self, rng: random.Random, before: Contents | None = None) -> Contents:
        """Two disks that share chunks, hold zeroes and end within a chunk; or changes to them."""
        if before is None:
            shared = rng.randbytes(4 * CHUNK_BYTES)
            data = rng.randbytes(12 * CHUNK_BYTES)
            raw = shared + bytes(5 * CHUNK_BYTES) + data + rng.randbytes(1536)
            contents = {_RAW: raw, _QCOW2: bytes(3 * CHUNK_BYTES) + shared + bytes(8 * KIB)}
        else:
            raw, qcow2 = bytearray(before[_RAW]), bytearray(before[_QCOW2])
            raw[CHUNK_BYTES : 3 * CHUNK_BYTES] = bytes(2 * CHUNK_BYTES)
            raw[6 * CHUNK_BYTES : 6 * CHUNK_BYTES + 512] = rng.randbytes(512)
            raw[-700:] = rng.randbytes(700)
            qcow2[: 2 * CHUNK_BYTES] = rng.randbytes(2 * CHUNK_BYTES)
            contents = {_RAW: bytes(raw), _QCOW2: bytes(qcow2)}
        (self.source / _RAW).write_bytes(contents[_RAW])
        plain = self.folder / "plain"
        plain.write_bytes(contents[_QCOW2])
        _convert(plain, "raw", self.source / _QCOW2, "qcow2")
        return contents


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of an operation in a folder of its own."""

    ground: Ground
    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def output(self, name: str) -> Path:
        return self.folder / name

    def lay_out(self, template: str | None) -> None:
        self.folder.mkdir()
        if template is not None:
            shutil.copytree(self.ground.folder / template, self.repository)

    def assert_sound(self, points: Mapping[str, Contents]) -> None:
        """Exactly these points are visible, with this content; nobody holds anything."""
        store = LocalStore(self.repository)
        # Not with `no_writer`: that removes leftovers, which here the product has to do.
        soundness = assert_repository_sound(store, self.ground.credential, points)
        assert not soundness.unacknowledged
        assert_no_leases(Repository.open(store, self.ground.credential))

    def points(self) -> set[str]:
        store = LocalStore(self.repository)
        return {point.id for point in Repository.open(store, self.ground.credential).points()}

    def age_leftovers(self) -> None:
        """As if the broken-off run was two days ago: younger files may be another writer's."""
        then = time.time() - _LONG_AGO_S
        for path in self.folder.rglob(f"{TEMPORARY_PREFIX}*"):
            os.utime(path, (then, then))

    def assert_no_leftovers(self) -> None:
        left = [
            path.name
            for path in self.folder.rglob(".*")
            if path.name.startswith(TEMPORARY_PREFIX) or "holdfast-partial" in path.name
        ]
        assert not left, f"left behind: {left}"

    def remove(self) -> None:
        shutil.rmtree(self.folder)


class Operation(Protocol):
    """A command, and the promises that hold however it ends."""

    @property
    def name(self) -> str: ...

    @property
    def share(self) -> int:
        """Its part of the trials, relative to the others."""
        ...

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        """Lay out the place, then run the command there."""
        ...

    def judge(self, trial: Trial, finished: Finished) -> None:
        """What was promised before or by this run holds, and nothing half is visible."""
        ...

    def run_again(self, trial: Trial) -> None:
        """The same command succeeds without help and leaves nothing of the broken-off run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    name: str
    template: str
    share: int = 14

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        trial.lay_out(self.template)
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        before = self._before(trial.ground)
        new = trial.points() - set(before)
        # Broken off between the commit and the answer, the point is there and must be complete.
        assert len(new) <= 1
        if finished.status == 0:
            assert {finished.require()["id"]} == new
        elif finished.error_code:
            assert not new, f"it failed ({finished.error_code}), yet its point is visible"
        trial.assert_sound({**before, **dict.fromkeys(new, trial.ground.second)})

    def run_again(self, trial: Trial) -> None:
        before = {
            point: self._before(trial.ground).get(point, trial.ground.second)
            for point in trial.points()
        }
        trial.age_leftovers()
        point = self._run(trial).require()["id"]
        trial.assert_no_leftovers()
        trial.assert_sound({**before, point: trial.ground.second})

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        ground = trial.ground
        arguments = ("backup", ground.source, "--repository", trial.repository)
        return ground.command.run(*arguments, under=under, environment=armed(failpoints))

    def _before(self, ground: Ground) -> dict[str, Contents]:
        return {} if self.template == "empty" else {ground.first_point: ground.first}


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    name: str
    format: str
    disk: str
    share: int = 9

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        trial.lay_out("two")
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        output = self._output(trial)
        if finished.status == 0:
            assert output.exists()
        elif finished.error_code:
            assert not output.exists(), f"it failed ({finished.error_code}), yet left its output"
        if output.exists():
            self._assert_complete(trial)
        self._assert_repository(trial)

    def run_again(self, trial: Trial) -> None:
        if self._output(trial).exists():
            refused = self._run(trial)
            assert (refused.status, refused.error_code) == (1, "target_exists")
            trial.assert_no_leftovers()
            self._output(trial).unlink()
        self._run(trial).require()
        trial.assert_no_leftovers()
        self._assert_complete(trial)
        self._assert_repository(trial)

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        ground = trial.ground
        arguments: list[str | Path] = ["restore", ground.second_point, "--disk", self.disk]
        arguments += ["--repository", trial.repository, "--output", self._output(trial)]
        return ground.command.run(*arguments, under=under, environment=armed(failpoints))

    def _output(self, trial: Trial) -> Path:
        return trial.output(f"restored.{self.format}")

    def _assert_complete(self, trial: Trial) -> None:
        plain = trial.output("plain")
        _convert(self._output(trial), self.format, plain, "raw")
        assert plain.read_bytes() == trial.ground.second[self.disk]
        plain.unlink()

    def _assert_repository(self, trial: Trial) -> None:
        ground = trial.ground
        trial.assert_sound({ground.first_point: ground.first, ground.second_point: ground.second})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """The first of two points; the second was captured on top of it."""

    name: str = "delete"
    share: int = 6

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        trial.lay_out("two")
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        ground = trial.ground
        gone = ground.first_point not in trial.points()
        if finished.status == 0:
            assert gone
        kept = {} if gone else {ground.first_point: ground.first}
        trial.assert_sound({**kept, ground.second_point: ground.second})

    def run_again(self, trial: Trial) -> None:
        gone = trial.ground.first_point not in trial.points()
        again = self._run(trial)
        if gone:
            assert (again.status, again.error_code) == (1, "point_not_found")
        else:
            again.require()
        trial.assert_sound({trial.ground.second_point: trial.ground.second})

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        arguments = ("delete", trial.ground.first_point, "--repository", trial.repository, "--yes")
        return trial.ground.command.run(*arguments, under=under, environment=armed(failpoints))


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    name: str = "create"
    share: int = 8

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        trial.lay_out(None)
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        """A repository or none; what is between is refused as such by everyone."""
        complete = self._is_complete(trial)
        assert complete or finished.status != 0

    def run_again(self, trial: Trial) -> None:
        """What holds a configuration is never touched: without a sentinel it might also be a
        repository of which a part is not mounted. The error says which folder to remove."""
        if self._is_complete(trial):
            assert self._refusal(trial) == "target_exists"
        elif (trial.repository / "config").exists():
            assert self._refusal(trial) == "repository_incomplete"
            shutil.rmtree(trial.repository)
            self._run(trial).require()
        else:
            trial.age_leftovers()
            self._run(trial).require()
        assert self._is_complete(trial)
        trial.age_leftovers()
        backup = ("backup", trial.ground.source, "--repository", trial.repository)
        assert trial.ground.with_passphrase.run(*backup).require()["captured_as"] == "full"
        trial.assert_no_leftovers()

    def _refusal(self, trial: Trial) -> str:
        refused = self._run(trial)
        assert refused.status == 1
        return refused.error_code

    def _is_complete(self, trial: Trial) -> bool:
        try:
            store = LocalStore(trial.repository)
            assert Repository.open(store, Credential.passphrase(PASSPHRASE)).points() == []
        except (NotARepository, RepositoryIncomplete):
            return False
        return True

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        arguments = ("repository", "create", trial.repository)
        command = trial.ground.with_passphrase
        return command.run(*arguments, under=under, environment=armed(failpoints))


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey:
    """Of a repository with two points; a backup afterwards is under whichever key is in force."""

    name: str = "rotate-key"
    share: int = 6

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        trial.lay_out("two")
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        copies = self._copies(trial)
        if finished.status == 0:
            assert len(copies) == 2
        assert all(path.parent.name == "00000001" for path in copies)
        self._assert_sound(trial)

    def run_again(self, trial: Trial) -> None:
        ground = trial.ground
        before = len({path.parent for path in self._copies(trial)})
        trial.age_leftovers()
        assert self._run(trial).require()["generation"] == before + 1
        assert len(self._copies(trial)) == 2 * (before + 1)
        backup = ("backup", ground.source, "--repository", trial.repository)
        assert ground.command.run(*backup).require()["captured_as"] == "incremental"
        trial.assert_no_leftovers()

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        arguments = ("key", "rotate", "--repository", trial.repository)
        return trial.ground.command.run(*arguments, under=under, environment=armed(failpoints))

    def _copies(self, trial: Trial) -> list[Path]:
        return list(trial.repository.glob("datakeys/*/[ab]"))

    def _assert_sound(self, trial: Trial) -> None:
        ground = trial.ground
        trial.assert_sound({ground.first_point: ground.first, ground.second_point: ground.second})


OPERATIONS: Sequence[Operation] = (
    Backup(name="full", template="empty"),
    Backup(name="incremental", template="one"),
    Restore(name="restore-raw", format="raw", disk=_RAW),
    Restore(name="restore-qcow2", format="qcow2", disk=_QCOW2),
    Delete(),
    Create(),
    RotateKey(),
)


def assert_no_server_folders(pids: set[int]) -> None:
    """Nothing is left of servers that these processes started."""
    left = [
        path.name
        for path in Path("/tmp").glob(  # noqa: S108 - read only
            f"{_SERVER_FOLDERS}*"
        )
        if int(path.name.removeprefix(_SERVER_FOLDERS).split("-")[0]) in pids
    ]
    assert not left, f"left behind: {left}"


def armed(failpoints: str) -> dict[str, str]:
    return {"HOLDFAST_FAILPOINTS": failpoints} if failpoints else {}


def _convert(source: Path, source_format: str, target: Path, target_format: str) -> None:
    """By qemu-img, so that nothing of ours judges itself."""
    command = ["qemu-img", "convert", "-f", source_format, "-O", target_format, source, target]
    subprocess.run(command, check=True, timeout=60)


def _secret(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path
