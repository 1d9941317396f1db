"""Maintenance that fault tests break off: prune, compact, copy, verify and repair, on repositories
of two points. Enter at `MAINTENANCE`.

What these commands do to a point is nothing, or its deletion when that was asked for: whatever
moment they end at, every other point is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import Category, HoldfastError
from holdfast.repository import Credential, LocalStore, Repository
from holdfast.repository.rescue import open_for_rescue
from tests.faults.operations import PASSPHRASE, Contents, Ground, Operation, Trial, armed
from tests.support.damage import flip_bit, pack_files
from tests.support.holdfast_command import Finished
from tests.support.oracle import assert_no_leases, assert_repository_sound, read_disk

_OTHER = "other"
"""A second repository in the trial's folder, that is copied to or healed from."""
_OTHER_CREDENTIAL = Credential.passphrase(PASSPHRASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintain:
    """On a repository of two points, each of which stays whole unless it may go."""

    name: str
    arguments: Sequence[str]
    template: str = "two"
    going: Sequence[str] = ()
    """Which of the two may be deleted, and are at the end: `first`."""
    share: int = 4

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        _make_template(trial.ground, self.template)
        trial.lay_out(self.template)
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        points, visible = _both(trial.ground), trial.points()
        for point in self._going(trial):
            assert point not in visible or finished.status != 0
            points = {name: disks for name, disks in points.items() if name in visible}
        assert {*points} == visible | ({*points} - self._going(trial))
        trial.assert_sound(points)

    def run_again(self, trial: Trial) -> None:
        trial.age_leftovers()
        self._run(trial).require()
        points = _both(trial.ground)
        for point in self._going(trial):
            points.pop(point, None)
        assert trial.points() == {*points}
        trial.assert_sound(points)
        _assert_next_works(trial)

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        arguments = [*self.arguments, "--repository", trial.repository]
        return trial.ground.command.run(*arguments, under=under, environment=armed(failpoints))

    def _going(self, trial: Trial) -> set[str]:
        return {trial.ground.first_point} if self.going else set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compact:
    """Of what a deleted point held alone; packs with a little of it are written anew."""

    name: str = "compact"
    share: int = 5

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        _make_template(trial.ground, "half")
        trial.lay_out("half")
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        del finished
        trial.assert_sound({trial.ground.second_point: trial.ground.second})

    def run_again(self, trial: Trial) -> None:
        trial.age_leftovers()
        self._run(trial).require()
        self.judge(trial, self._run(trial))
        _assert_next_works(trial)

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        arguments: list[str | Path] = ["compact", "--repository", trial.repository]
        arguments += ["--grace-hours", "0", "--min-fill-percent", "100"]
        arguments += ["--max-delete-percent", "100"]
        return trial.ground.command.run(*arguments, under=under, environment=armed(failpoints))


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Of both points to an empty repository with other keys."""

    name: str = "copy"
    share: int = 5

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        _make_template(trial.ground, "second")
        trial.lay_out("two")
        shutil.copytree(trial.ground.folder / "second", trial.folder / _OTHER)
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        both, there = _both(trial.ground), set(_open_other(trial).point_ids())
        trial.assert_sound(both)
        assert there <= {*both}
        if finished.status == 0:
            assert there == {*both}
        _assert_other_sound(trial, {name: both[name] for name in there})

    def run_again(self, trial: Trial) -> None:
        trial.age_leftovers()
        self._run(trial).require()
        _assert_other_sound(trial, _both(trial.ground))
        _assert_next_works(trial)

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        arguments = _copy(trial.ground, trial.repository, trial.folder / _OTHER)
        return trial.ground.command.run(*arguments, under=under, environment=armed(failpoints))


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A bit of every pack with data is flipped; the second repository has all of it."""

    name: str = "repair"
    share: int = 5

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        for template in ("damaged", "copied"):
            _make_template(trial.ground, template)
        trial.lay_out("damaged")
        shutil.copytree(trial.ground.folder / "copied", trial.folder / _OTHER)
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        """Both points are listed; each disk gives what was stored, or an error of integrity."""
        both = _both(trial.ground)
        assert trial.points() == {*both}
        if finished.status == 0:
            trial.assert_sound(both)
        _assert_right_or_refused(trial, both)
        _assert_other_sound(trial, both)

    def run_again(self, trial: Trial) -> None:
        trial.age_leftovers()
        self._run(trial).require()
        trial.assert_sound(_both(trial.ground))
        # The damaged packs stay listed until compact takes them; no point needs them any more.
        ground = trial.ground
        found = ground.command.run("verify", "--repository", trial.repository).document
        assert found is not None and found["affected_points"] == []
        _assert_next_works(trial)

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        arguments = _repair(trial)
        return trial.ground.command.run(*arguments, under=under, environment=armed(failpoints))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """A bit of `config`, of the sentinel and of the first point's manifest is flipped."""

    name: str = "mend"
    share: int = 4

    def run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        for template in ("headless", "copied"):
            _make_template(trial.ground, template)
        trial.lay_out("headless")
        shutil.copytree(trial.ground.folder / "copied", trial.folder / _OTHER)
        return self._run(trial, under, failpoints)

    def judge(self, trial: Trial, finished: Finished) -> None:
        """Both points are there for everybody who looks, and the one that can be read is whole."""
        ground, both = trial.ground, _both(trial.ground)
        rescued = open_for_rescue(LocalStore(trial.repository), ground.credential)
        assert {*rescued.repository.point_ids()} == {*both}
        assert ground.second_point in {point.id for point in rescued.points()}
        rescued.repository.complete_index()
        for disk in rescued.repository.point(ground.second_point).manifest.disks:
            assert read_disk(rescued.repository, disk) == ground.second[disk.key]
        if finished.status == 0:
            trial.assert_sound(both)
        _assert_other_sound(trial, both)

    def run_again(self, trial: Trial) -> None:
        trial.age_leftovers()
        self._run(trial).require()
        trial.assert_sound(_both(trial.ground))
        _assert_next_works(trial)

    def _run(self, trial: Trial, under: Sequence[str] = (), failpoints: str = "") -> Finished:
        arguments = _repair(trial)
        return trial.ground.command.run(*arguments, under=under, environment=armed(failpoints))


MAINTENANCE: Sequence[Operation] = (
    Maintain(
        name="prune", arguments=("prune", "--keep-last", "1", "--min-age", "0h"), going=("first",)
    ),
    Maintain(name="verify", arguments=("verify",)),
    Compact(),
    Copy(),
    Repair(),
    Mend(),
)


def _make_template(ground: Ground, name: str) -> None:
    """Once a session."""
    root = ground.folder / name
    if root.exists():
        return
    if name == "second":
        ground.create(root)
        return
    if name == "copied":
        _make_template(ground, "second")
        shutil.copytree(ground.folder / "second", root)
        ground.command.run(*_copy(ground, ground.folder / "two", root)).require()
        return
    shutil.copytree(ground.folder / "two", root)
    if name == "half":
        ground.command.run("delete", ground.first_point, "--repository", root, "--yes").require()
    elif name == "headless":
        for object_key in ("config", "sentinel", f"points/{ground.first_point}"):
            flip_bit(root / object_key, 300)
    elif name == "damaged":
        for path in pack_files(root):
            flip_bit(path, 8 * (path.stat().st_size // 2))
        found = ground.command.run("verify", "--repository", root)
        assert found.status == 3, found


def _repair(trial: Trial) -> Sequence[str | Path]:
    source = ("--from", trial.folder / _OTHER)
    key = ("--from-passphrase-file", trial.ground.passphrase_file)
    return ("repair", "--repository", trial.repository, *source, *key)


def _copy(ground: Ground, source: Path, target: Path) -> Sequence[str | Path]:
    to = ("--to", target, "--to-passphrase-file", ground.passphrase_file)
    return ("copy", "--repository", source, *to)


def _both(ground: Ground) -> dict[str, Contents]:
    return {ground.first_point: ground.first, ground.second_point: ground.second}


def _open_other(trial: Trial) -> Repository:
    return Repository.open(LocalStore(trial.folder / _OTHER), _OTHER_CREDENTIAL)


def _assert_other_sound(trial: Trial, points: Mapping[str, Contents]) -> None:
    store = LocalStore(trial.folder / _OTHER)
    assert not assert_repository_sound(store, _OTHER_CREDENTIAL, points).unacknowledged
    assert_no_leases(_open_other(trial))


def _assert_right_or_refused(trial: Trial, points: Mapping[str, Contents]) -> None:
    repository = Repository.open(LocalStore(trial.repository), trial.ground.credential)
    repository.complete_index()
    for point in repository.points():
        for disk in point.manifest.disks:
            try:
                assert read_disk(repository, disk) == points[point.id][disk.key]
            except HoldfastError as error:
                assert error.category is Category.INTEGRITY, error


def _assert_next_works(trial: Trial) -> None:
    """A backup is made as ever, and takes away what the broken-off run left."""
    ground = trial.ground
    source = ("backup", ground.source, "--repository")
    ground.command.run(*source, trial.repository).require()
    if (trial.folder / _OTHER).exists():
        ground.with_passphrase.run(*source, trial.folder / _OTHER).require()
    trial.assert_no_leftovers()
