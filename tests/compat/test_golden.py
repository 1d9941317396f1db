"""Repositories written by released formats, read by the current code and by the independent
reader; written to only as copies. See make_golden.py."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import (
    Credential,
    DiskRecord,
    LocalStore,
    Repository,
    parse_recovery_key,
)
from holdfast.repository.check import check_repository
from holdfast.repository.errors import RepositoryTooNew, WrongPassphrase
from holdfast.repository.mending import mend_header
from holdfast.repository.rescue import open_for_rescue, packs_of, point_health
from holdfast.restore.disk import restore_disk
from holdfast.restore.rescue import rescue_point
from holdfast.restore.rescued import RescueOptions
from tests.compat import independent_reader
from tests.compat.test_independent_reader import back_up
from tests.support.damage import flip_bit
from tests.support.fake_driver import FakeDriver

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The committed folder; the test fails when anything in it changed."""
    before = fingerprint(request.param)
    yield request.param
    assert fingerprint(request.param) == before, "a golden repository was written to"


@pytest.fixture
def copy(golden: Path, tmp_path: Path) -> Path:
    """A repository to write to. A fresh checkout makes its dead leases look alive: age them."""
    root = tmp_path / "copy"
    shutil.copytree(golden / "repository", root)
    for path in (root / "leases").rglob("*"):
        os.utime(path, (0, 0))
    return root


def fingerprint(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def expected_of(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "expected.json").read_text(encoding="utf-8"))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restored_sha256(repository: Repository, disk: DiskRecord, folder: Path) -> str:
    output = folder / "disk.raw"
    restore_disk(
        repository=repository, disk=disk, output=output, format="raw", cancel=CancelToken()
    )
    digest = sha256_of(output)
    output.unlink()
    return digest


def test_there_is_a_golden_repository() -> None:
    assert [path.name for path in GOLDEN] == ["v1", "v1-rotated"]
    rotated = GOLDEN[1] / "repository"
    versions = {path.read_bytes()[8] for path in rotated.glob("packs/??/[0-9a-f]*")}
    assert versions == {1, 2}
    assert len(list(rotated.glob("datakeys/*/[ab]"))) == 4


@pytest.mark.parametrize("holder", ["passphrase", "recovery key"])
def test_restores_to_the_recorded_hashes(golden: Path, tmp_path: Path, holder: str) -> None:
    expected = expected_of(golden)
    credential = (
        Credential.passphrase(expected["passphrase"])
        if holder == "passphrase"
        else parse_recovery_key(expected["recovery_key"])
    )
    repository = Repository.open(LocalStore(golden / "repository"), credential)
    assert repository.id == expected["repository_id"]
    points = {point.id: point for point in repository.points()}
    repository.load_index()
    assert {id: point.suspect for id, point in points.items() if point.suspect} == expected[
        "suspect"
    ]
    assert points.keys() == expected["points"].keys()
    for point_id, want in expected["points"].items():
        manifest = points[point_id].manifest
        assert (manifest.vm.name, manifest.captured_as) == (want["vm"], want["captured_as"])
        assert {disk.key: disk.size_bytes for disk in manifest.disks} == {
            key: disk["size_bytes"] for key, disk in want["disks"].items()
        }
        for disk in manifest.disks:
            digest = restored_sha256(repository, disk, tmp_path)
            assert digest == want["disks"][disk.key]["sha256"], disk.key
        assert {
            item.name: hashlib.sha256(repository.read_artifact(item)).hexdigest()
            for item in manifest.artifacts
        } == want["artifacts"]


@pytest.mark.parametrize("secret", ["passphrase", "recovery_key"])
def test_independent_reader_restores_to_the_recorded_hashes(golden: Path, secret: str) -> None:
    expected = expected_of(golden)
    reader = independent_reader.Repository(golden / "repository", expected[secret])
    assert reader.suspects() == expected["suspect"]
    points = {point["id"]: point for point in reader.points()}
    assert points.keys() == expected["points"].keys()
    for point_id, want in expected["points"].items():
        assert points[point_id]["vm"]["name"] == want["vm"]
        assert {disk["key"] for disk in points[point_id]["disks"]} == want["disks"].keys()
        for disk in points[point_id]["disks"]:
            with tempfile.TemporaryFile() as output:
                reader.restore(disk, output)
                output.seek(0)
                digest = hashlib.file_digest(output, "sha256").hexdigest()
            assert digest == want["disks"][disk["key"]]["sha256"], disk["key"]
        assert {
            item["name"]: hashlib.sha256(reader.artifact(item)).hexdigest()
            for item in points[point_id]["artifacts"]
        } == want["artifacts"]
    assert reader.warnings == []


@pytest.mark.parametrize("secret", ["passphrase", "recovery_key"])
def test_independent_reader_lists_and_rescues_every_point(
    golden: Path, tmp_path: Path, secret: str
) -> None:
    """As it is typed when Holdfast itself is gone."""
    expected = expected_of(golden)
    (tmp_path / "secret").write_text(expected[secret] + "\n")

    def read(*arguments: str | Path) -> str:
        command = [sys.executable, independent_reader.__file__, golden / "repository"]
        done = subprocess.run(
            [*command, "--passphrase-file", tmp_path / "secret", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    listing = read("--list")
    for point_id, want in expected["points"].items():
        assert point_id in listing and want["vm"] in listing
        read("--restore", point_id, "--to", tmp_path / point_id)
        assert hashes_in(tmp_path / point_id) == hashes_of(want)


def test_rescue_saves_every_point(golden: Path, tmp_path: Path) -> None:
    expected = expected_of(golden)
    rescue = open_for_rescue(
        LocalStore(golden / "repository"), parse_recovery_key(expected["recovery_key"])
    )
    packs = packs_of(rescue)
    points = rescue.points()
    assert [point.id for point in points] == list(expected["points"])
    assert [point_health(point, packs) for point in points] == [""] * len(points)
    for point in points:
        done = rescue_point(
            repository=rescue.repository,
            point=point,
            folder=tmp_path / point.id,
            options=RescueOptions(format="raw"),
            cancel=CancelToken(),
            progress=SilentProgress(),
        )
        assert done.is_whole
        saved = [sha256_of(done.folder / file.name) for file in done.files]
        assert sorted(saved) == hashes_of(expected["points"][point.id])
    assert (rescue.problems, rescue.damaged) == ([], [])


def hashes_in(folder: Path) -> list[str]:
    return sorted(sha256_of(path) for path in folder.iterdir())


def hashes_of(want: dict[str, Any]) -> list[str]:
    """Of all disks and artifacts that a golden point must give."""
    disks = [disk["sha256"] for disk in want["disks"].values()]
    return sorted([*disks, *want["artifacts"].values()])


def test_check_finds_it_sound_with_leftovers(golden: Path) -> None:
    credential = parse_recovery_key(expected_of(golden)["recovery_key"])
    repository = Repository.open(LocalStore(golden / "repository"), credential)
    report = check_repository(
        repository, cancel=CancelToken(), progress=SilentProgress(), read_data=True
    )
    assert report.problems == []
    assert report.unindexed_packs == 1
    leftovers = list((golden / "repository").rglob(".tmp-*"))
    assert len(leftovers) == 1, "the killed writer's temporary file belongs to the golden one"


def test_a_new_backup_appends(golden: Path, copy: Path, tmp_path: Path) -> None:
    expected = expected_of(golden)
    before = fingerprint(copy)
    credential = parse_recovery_key(expected["recovery_key"])
    repository = Repository.open(LocalStore(copy), credential)
    driver = FakeDriver()
    # The VM that was being backed up when its process was killed comes back, among others.
    for _ in range(10):
        driver.add_vm("other")
    vm = driver.add_vm("a temporary file")
    content = random.Random(1).randbytes(30_000)
    vm.add_disk("vda", 40 * KIB).write(0, content)
    manifest = back_up(repository, driver, vm)

    after = fingerprint(copy)
    kept = {key for key in before if not key.startswith("leases/")}
    assert {key: after.get(key) for key in kept} == {key: before[key] for key in kept}
    reopened = Repository.open(LocalStore(copy), credential)
    point = reopened.point(manifest.id)
    reopened.load_index()
    digest = restored_sha256(reopened, point.disk("vda"), tmp_path)
    assert digest == hashlib.sha256(content + bytes(40 * KIB - 30_000)).hexdigest()
    assert reopened.points()[-1].id == manifest.id
    assert len(reopened.points()) == len(expected["points"]) + 1


@pytest.mark.parametrize("damage", ["flipped", "emptied"])
@pytest.mark.parametrize("key", ["config", "sentinel"])
def test_a_mended_one_is_what_it_was(golden: Path, copy: Path, key: str, damage: str) -> None:
    expected = expected_of(golden)
    before = (copy / key).read_bytes()
    if damage == "flipped":
        flip_bit(copy / key, 8 * 40)
    else:
        (copy / key).write_bytes(b"")
    mended = mend_header(LocalStore(copy), parse_recovery_key(expected["recovery_key"]))
    assert [item.key for item in mended] == [key]
    assert key == "sentinel" or (copy / key).read_bytes() == before
    reader = independent_reader.Repository(copy, expected["passphrase"])
    assert {point["id"] for point in reader.points()} == expected["points"].keys()
    assert reader.warnings == []
    repository = Repository.open(LocalStore(copy), Credential.passphrase(expected["passphrase"]))
    report = check_repository(repository, cancel=CancelToken(), progress=SilentProgress())
    assert report.points == len(expected["points"])
    assert not any(problem.object == key for problem in report.problems)


def test_deleting_a_point_keeps_the_others(golden: Path, copy: Path, tmp_path: Path) -> None:
    expected = expected_of(golden)
    repository = Repository.open(LocalStore(copy), parse_recovery_key(expected["recovery_key"]))
    first, second, _ = expected["points"]
    repository.delete_point(first)
    point = repository.point(second)
    repository.load_index()
    for disk in point.manifest.disks:
        digest = restored_sha256(repository, disk, tmp_path)
        assert digest == expected["points"][second]["disks"][disk.key]["sha256"]


@pytest.mark.parametrize("change", [{"version": 2}, {"features": ["error correction"]}])
def test_a_newer_format_is_refused_before_any_write(
    golden: Path, copy: Path, change: dict[str, Any]
) -> None:
    expected = expected_of(golden)
    first, _, keyed, _ = (copy / "config").read_bytes().split(b"\n")
    text = json.dumps({**json.loads(first), **change}, sort_keys=True).encode()
    checksum = hashlib.sha256(text).hexdigest().encode()
    (copy / "config").write_bytes(b"\n".join((text, checksum, keyed, b"")))
    before = fingerprint(copy)
    with pytest.raises(RepositoryTooNew):
        Repository.open(LocalStore(copy), Credential.passphrase(expected["passphrase"]))
    with pytest.raises(independent_reader.Refused):
        independent_reader.Repository(copy, expected["passphrase"])
    assert fingerprint(copy) == before


def test_a_wrong_passphrase_is_refused(golden: Path) -> None:
    with pytest.raises(WrongPassphrase):
        Repository.open(LocalStore(golden / "repository"), Credential.passphrase("golden"))
    with pytest.raises(independent_reader.Refused, match="no key slot opens"):
        independent_reader.Repository(golden / "repository", "golden")
