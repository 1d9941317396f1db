"""What the current code writes, read by the reader that was written from docs/format alone: drift
between the code and the document shows here."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from holdfast.backup.run import back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.hypervisors.driver import Artifact
from holdfast.repository import (
    ChunkType,
    Credential,
    LocalStore,
    Manifest,
    Repository,
    parse_recovery_key,
)
from holdfast.repository.format.recovery_kit import format_recovery_key
from tests.compat import independent_reader
from tests.support.damage import flip_bit
from tests.support.fake_driver import FakeDriver, FakeVm

READER = Path(independent_reader.__file__)
PASSPHRASE = "pass phrase ✓ with blanks "  # noqa: S105


def create(root: Path, *, chunk_bytes: int = 4096) -> tuple[Repository, str]:
    """A new repository and the text of its recovery key."""
    store = LocalStore(root)
    store.prepare()
    repository, kit = Repository.create(
        store, Credential.passphrase(PASSPHRASE), chunk_bytes=chunk_bytes
    )
    return repository, next(line.strip() for line in kit.splitlines() if "HFK1-" in line)


def back_up(repository: Repository, driver: FakeDriver, vm: FakeVm) -> Manifest:
    result = back_up_vm(
        driver=driver, vm=driver.find_vm(vm.id), repository=repository, cancel=CancelToken()
    )
    return result.manifest


def assert_reads_back(root: Path, secret: str, point_id: str, vm: FakeVm) -> None:
    reader = independent_reader.Repository(root, secret)
    point = reader.point(point_id)
    assert {disk["key"] for disk in point["disks"]} == set(vm.disks)
    for disk in point["disks"]:
        with tempfile.TemporaryFile() as output:
            reader.restore(disk, output)
            output.seek(0)
            expected = vm.disks[disk["key"]].content.read()
            assert output.read() == expected, disk["key"]
    artifacts = {item["name"]: reader.artifact(item) for item in point["artifacts"]}
    assert artifacts == {item.name: item.data for item in vm.artifacts}
    assert reader.warnings == []


@pytest.mark.parametrize("chunk_bytes", [4096, 65536])
def test_full_and_incremental_points_of_odd_sizes(tmp_path: Path, chunk_bytes: int) -> None:
    repository, recovery_key = create(tmp_path / "repository", chunk_bytes=chunk_bytes)
    rng = random.Random(chunk_bytes)
    driver = FakeDriver()
    vm = driver.add_vm("wëb-服务器 \N{PILE OF POO}")
    vm.artifacts = [
        Artifact(name="empty", data=b""),
        Artifact(name="domain.xml", data=b"<domain/>"),
        Artifact(name="nvram", data=rng.randbytes(2 * chunk_bytes + 1)),
    ]
    sizes = [0, 1, 511, chunk_bytes, chunk_bytes + 1, 512 * chunk_bytes, 513 * chunk_bytes + 17]
    for number, size in enumerate(sizes):
        disk = vm.add_disk(f"disk{number}", size)
        disk.write(0, rng.randbytes(min(size, 3 * chunk_bytes // 2)))
        tail = min(size, 700)
        disk.write(size - tail, b"compressible " * (tail // 13) + bytes(tail % 13))
    first = back_up(repository, driver, vm)
    before = {key: disk.content.copy() for key, disk in vm.disks.items()}
    vm.disks["disk5"].write(chunk_bytes * 100, rng.randbytes(chunk_bytes))
    vm.disks["disk5"].trim(0, chunk_bytes)
    vm.disks["disk6"].resize(514 * chunk_bytes + 3)
    second = back_up(repository, driver, vm)
    assert (first.captured_as, second.captured_as) == ("full", "incremental")

    assert_reads_back(tmp_path / "repository", PASSPHRASE, second.id, vm)
    for key, content in before.items():
        vm.disks[key].content = content
    assert_reads_back(tmp_path / "repository", recovery_key, first.id, vm)


def test_a_tree_of_three_levels(tmp_path: Path) -> None:
    repository, recovery_key = create(tmp_path / "repository")
    driver = FakeDriver()
    vm = driver.add_vm("tall")
    size = 512 * 512 * 4096 + 4096 * 600 + 99
    disk = vm.add_disk("vda", size)
    places = [0, 512 * 4096 - 5, 700 * 1024 * 1024, size - 4097]
    for place in places:
        disk.write(place, b"here %d" % place)
    manifest = back_up(repository, driver, vm)
    assert manifest.disks[0].height == 3

    reader = independent_reader.Repository(tmp_path / "repository", recovery_key)
    output = tmp_path / "disk.raw"
    with output.open("xb") as file:
        reader.restore(reader.point(manifest.id)["disks"][0], file)
    assert output.stat().st_size == size
    assert output.stat().st_blocks * 512 < 1024 * 1024, "zeroes were written"
    with output.open("rb") as file:
        for place in places:
            file.seek(place)
            assert file.read(16) == disk.content.read(place, min(16, size - place))


def test_without_the_index_the_packs_tables_serve(tmp_path: Path) -> None:
    repository, recovery_key = create(tmp_path / "repository")
    driver = FakeDriver()
    vm = driver.add_vm("vm")
    vm.add_disk("vda", 100_000).write(5000, random.Random(1).randbytes(50_000))
    manifest = back_up(repository, driver, vm)
    for path in (tmp_path / "repository/index").iterdir():
        path.unlink()
    assert_reads_back(tmp_path / "repository", recovery_key, manifest.id, vm)


def test_command_line(tmp_path: Path) -> None:
    repository, recovery_key = create(tmp_path / "repository")
    driver = FakeDriver()
    vm = driver.add_vm("vm")
    content = random.Random(2).randbytes(10_000)
    vm.add_disk("vda", 10_000).write(0, content)
    manifest = back_up(repository, driver, vm)
    repository.mark_suspect([manifest.id], "changes went unrecorded")
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    (tmp_path / "wrong").write_text(PASSPHRASE.strip())
    (tmp_path / "recovery").write_text(recovery_key.lower() + "\r\n")

    def run(secret: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                str(READER),
                str(tmp_path / "repository"),
                "--passphrase-file",
                str(tmp_path / secret),
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    listing = run("passphrase", "--list")
    assert manifest.id in listing.stdout
    assert "SUSPECT: 'changes went unrecorded'" in listing.stdout
    output = tmp_path / "vda.raw"
    assert run("recovery", manifest.id, "vda", str(output)).returncode == 0
    assert output.read_bytes() == content
    refused = run("wrong", "--list")
    assert refused.returncode == 1
    assert "no key slot opens" in refused.stderr


def test_a_whole_point_in_a_folder_past_damage(tmp_path: Path) -> None:
    """The rescue of last resort: no index, no leases, no sentinel, another manifest damaged; then a
    disk that cannot be read costs itself only."""
    repository, recovery_key = create(tmp_path / "repository")
    driver = FakeDriver()
    vm = driver.add_vm("web 1")
    vm.artifacts = [Artifact(name="domain.xml", data=b"<domain/>"), Artifact(name="..", data=b"x")]
    vm.add_disk("vda", 50_000).write(3000, random.Random(5).randbytes(40_000))
    first = back_up(repository, driver, vm)
    vm.add_disk("../b", 9000).write(0, random.Random(6).randbytes(9000))
    second = back_up(repository, driver, vm)
    root = tmp_path / "repository"
    for folder in ("index", "leases"):
        shutil.rmtree(root / folder)
    (root / "sentinel").unlink()
    flip_bit(root / "points" / first.id, 600)
    (tmp_path / "kit").write_text(recovery_key)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    def restore(wanted: str, folder: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(READER), str(root), "--passphrase-file", tmp_path / "kit"]
        return subprocess.run(
            [*command, "--restore", wanted, "--to", tmp_path / folder],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    for number, wanted in enumerate(("latest", "web 1", second.id[:30])):
        done = restore(wanted, f"out{number}")
        assert done.returncode == 3, done.stderr
        assert "NOT SAVED" not in done.stderr
        assert first.id in done.stderr
        out = tmp_path / f"out{number}"
        assert {path.name: path.read_bytes() for path in out.iterdir()} == {
            "domain.xml": b"<domain/>",
            "unnamed": b"x",
            "vda.raw": vm.disks["vda"].content.read(),
            "_b.raw": vm.disks["../b"].content.read(),
        }
    assert restore("nobody", "none").returncode == 1
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before

    location = repository.chunks.locate(
        repository.chunks.id_of(ChunkType.DATA, vm.disks["../b"].content.read(0, 4096)),
        ChunkType.DATA,
    )
    (root / "packs" / location.pack_hash.hex()[:2] / location.pack_hash.hex()).unlink()
    done = restore("latest", "partly")
    assert done.returncode == 3
    assert "NOT SAVED: ../b" in done.stderr
    assert (tmp_path / "partly/vda.raw").read_bytes() == vm.disks["vda"].content.read()
    assert not (tmp_path / "partly/_b.raw").exists()


def test_reader_imports_nothing_of_holdfast() -> None:
    assert "import holdfast" not in READER.read_text()
    assert "from holdfast" not in READER.read_text()


def test_recovery_keys_parse_alike() -> None:
    rng = random.Random(3)
    for _ in range(50):
        credential = Credential(kind="recovery", secret=rng.randbytes(32))
        text = format_recovery_key(credential)
        assert independent_reader.parse_recovery_key(text) == credential.secret
        assert parse_recovery_key(text).secret == credential.secret
