"""The commands that need no server, as real processes: results, documents and exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.units import MIB
from tests.integration.cli.conftest import (
    BINARY,
    PASSPHRASE,
    TEXT,
    Cli,
    Lab,
    leases_of,
    make_image,
    packs_of,
    until,
)

HANG = "backup.after_snapshot:hang"


class TestRepository:
    def test_create_shows_the_recovery_kit_once(self, lab: Lab, tmp_path: Path) -> None:
        cli = Cli(repository=tmp_path / "new", passphrase_file=lab.cli.passphrase_file)
        output, _ = cli.run("repository", "create", cli.repository, "--json")
        kit = json.loads(output)["recovery_kit"]
        assert "HOLDFAST" in kit.upper() and PASSPHRASE not in kit
        output, _ = cli.run("repository", "create", cli.repository, "--json", exits=1)
        assert json.loads(output)["error"]["code"] == "target_exists"

    def test_recovery_kit_in_a_private_file(self, made: Lab) -> None:
        kit = made.cli.repository.parent / "kit"
        assert kit.stat().st_mode & 0o777 == 0o600
        assert kit.read_text()

    def test_wrong_passphrase(self, lab: Lab, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong"
        wrong.write_text("something else\n")
        wrong.chmod(0o600)
        code = lab.cli.error_code("points", "--passphrase-file", wrong)
        assert code == "wrong_passphrase"

    def test_points_that_are_all_damaged_are_not_none(self, lab: Lab) -> None:
        for point in (lab.cli.repository / "points").iterdir():
            point.write_bytes(b"damaged")
        output, errors = lab.cli.run("points", "--repository", lab.cli.repository)
        assert "can be listed" in output and "yet" not in output
        assert "is damaged" in errors

    @pytest.mark.parametrize("kind", ["absent", "empty"])
    def test_not_a_repository(self, lab: Lab, tmp_path: Path, kind: str) -> None:
        cli = Cli(repository=tmp_path / kind, passphrase_file=lab.cli.passphrase_file)
        if kind == "empty":
            cli.repository.mkdir()
        assert cli.error_code("points") == "not_a_repository"
        assert cli.error_code("backup", lab.image) == "not_a_repository"
        assert kind == "absent" or not any(cli.repository.iterdir())

    def test_newer_format(self, lab: Lab) -> None:
        config = lab.cli.repository / "config"
        text, _, keyed, _ = config.read_bytes().split(b"\n")
        document = {**json.loads(text), "version": 99}
        text = json.dumps(document, sort_keys=True).encode()
        checksum = hashlib.sha256(text).hexdigest().encode()
        config.chmod(0o600)
        config.write_bytes(b"\n".join((text, checksum, keyed, b"")))
        assert lab.cli.error_code("backup", lab.image) == "repository_too_new"


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("points", "--no-such-option"),
            ("no-such-command",),
            ("restore", "latest"),
            ("backup",),
        ],
    )
    def test_wrong_usage_exits_2(self, lab: Lab, arguments: tuple[str, ...]) -> None:
        output, errors = lab.cli.run(*arguments, "--json", exits=2)
        assert "code" in json.loads(output)["error"]
        assert errors.strip()
        output, errors = lab.cli.run(*arguments, exits=2)
        assert not output
        assert errors.strip()

    def test_image_of_unknown_format_is_refused(self, lab: Lab, tmp_path: Path) -> None:
        image = tmp_path / "disk"
        image.write_bytes(bytes(MIB))
        assert lab.cli.error_code("backup", image, exits=2) == "unsupported_image"
        assert lab.cli.backup(image, "--format", "raw")["captured_as"] == "full"

    def test_no_passphrase_and_no_terminal(self, lab: Lab) -> None:
        cli = Cli(repository=lab.cli.repository, passphrase_file=Path())
        assert cli.error_code("points", exits=2) == "invalid_input"


class TestPoints:
    def test_incremental_says_what_it_did_and_why(self, lab: Lab) -> None:
        point = lab.cli.backup(lab.image)
        [disk] = point["disks"]
        assert (point["captured_as"], disk["mode"]) == ("incremental", "compare")
        assert disk["reason"] and disk["changed_bytes"] == 0
        first, second = lab.cli.points()
        assert second.items() <= point.items()
        assert point["parent_id"] == first["id"]
        assert disk["size_bytes"] == 24 * MIB

    def test_list_for_a_person(self, lab: Lab) -> None:
        [point] = lab.cli.points()
        output, errors = lab.cli.run("points", "--repository", lab.cli.repository)
        assert point["id"] in output and "web.raw:24.0 MiB" in output
        assert not errors
        output, _ = lab.cli.run("points", "-r", lab.cli.repository, "--name", "nobody")
        assert point["id"] not in output

    def test_delete_asks_and_deletes_one(self, lab: Lab) -> None:
        lab.cli.backup(lab.image, "--full")
        first, second = (point["id"] for point in lab.cli.points())
        assert lab.cli.error_code("delete", first, exits=2) == "invalid_input"
        assert lab.cli.error_code("delete", "latest", "--yes", exits=2) == "invalid_input"
        assert lab.cli.error_code("delete", "0000", "--yes") == "point_not_found"
        assert lab.cli.json("delete", first, "--yes") == {"deleted": first}
        assert [point["id"] for point in lab.cli.points()] == [second]
        assert lab.cli.json("check", "--read-data")["sound"]


class TestRestore:
    @pytest.mark.parametrize("format", ["raw", "qcow2", "vmdk"])
    def test_disk_to_a_file(self, lab: Lab, tmp_path: Path, format: str) -> None:
        output = tmp_path / f"out.{format}"
        arguments = ("restore", "latest", "--disk", "web.raw", "--output", output)
        assert lab.cli.json(*arguments)["format"] == format
        compare = ["qemu-img", "compare", "-f", format, "-F", "raw", output, lab.image]
        subprocess.run(compare, check=True, capture_output=True, timeout=60)
        assert output.stat().st_blocks * 512 < 12 * MIB
        before = output.read_bytes()
        assert lab.cli.error_code(*arguments) == "target_exists"
        assert output.read_bytes() == before

    def test_unknown_disk(self, lab: Lab, tmp_path: Path) -> None:
        arguments = ("restore", "latest", "--disk", "vdz", "--output", tmp_path / "out")
        assert lab.cli.error_code(*arguments) == "disk_not_found"

    def test_damaged_pack_is_an_integrity_error(self, lab: Lab, tmp_path: Path) -> None:
        pack = max(packs_of(lab.cli.repository), key=lambda path: path.stat().st_size)
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(content)
        output = tmp_path / "out.raw"
        arguments = ("restore", "latest", "--disk", "web.raw", "--output", output)
        assert lab.cli.error_code(*arguments, exits=3) == "object_damaged"
        assert list(tmp_path.glob("out*")) == []
        report = lab.cli.json("check", "--read-data", exits=3)
        assert not report["sound"]
        assert pack.name in report["problems"][0]["object"]


class TestFiles:
    def test_list_get_find(self, lab: Lab, tmp_path: Path) -> None:
        [volume] = lab.cli.json("files", "ls", "latest")["volumes"]
        top = f"/{volume['id']}"
        listing = lab.cli.json("files", "ls", "latest", f"{top}/srv")
        assert {entry["name"] for entry in listing["entries"]} == {"letter.txt", "random"}
        letter = tmp_path / "letter"
        lab.cli.json("files", "get", "latest", f"{top}/srv/letter.txt", "--output", letter)
        assert letter.read_text() == TEXT
        found = json.dumps(lab.cli.json("files", "find", "latest", "LETTER*"))
        assert "letter.txt" in found and "random" not in found
        code = lab.cli.error_code("files", "ls", "latest", f"{top}/absent")
        assert "not_found" in code

    def test_folder_as_an_archive(self, lab: Lab, tmp_path: Path) -> None:
        [volume] = lab.cli.json("files", "ls", "latest")["volumes"]
        archive = tmp_path / "srv.tar.zst"
        lab.cli.json("files", "get", "latest", f"/{volume['id']}/srv", "--output", archive)
        done = subprocess.run(
            ["tar", "--zstd", "-tf", archive],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert "letter.txt" in done.stdout


class TestExport:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_serves_until_interrupted(self, lab: Lab, number: signal.Signals) -> None:
        arguments = ("export", "latest", "--disk", "web.raw", "--json")
        process = lab.cli.start(*arguments, "--repository", lab.cli.repository)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        document = json.loads(line)
        uri = str(document["uri"])
        socket = urllib.parse.unquote(uri.partition("?socket=")[2])
        compare = ["qemu-img", "compare", "-f", "raw", "-F", "raw", uri, lab.image]
        subprocess.run(compare, check=True, capture_output=True, timeout=60)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, ""), errors
        assert not Path(socket).parent.exists()


class TestInterrupted:
    def test_ctrl_c_leaves_nothing_visible(self, lab: Lab, big_image: Path) -> None:
        process = _start_and_reach_packs(lab, big_image)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert json.loads(output)["error"]["code"] == "cancelled"
        assert len(lab.cli.points()) == 1
        assert lab.cli.backup(big_image)["captured_as"] == "full"
        assert lab.cli.json("check")["sound"]

    @pytest.mark.parametrize("fault", ["truncated", "replaced"])
    def test_image_changed_under_the_backup(self, lab: Lab, big_image: Path, fault: str) -> None:
        process = _start_and_reach_packs(lab, big_image)
        if fault == "truncated":
            os.truncate(big_image, 100 * MIB)
        else:
            other = big_image.with_suffix(".other")
            other.write_bytes(b"other")
            other.replace(big_image)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 1, errors
        assert json.loads(output)["error"]["code"] in {"source_read_failed", "capture_lost"}
        assert len(lab.cli.points()) == 1
        assert lab.cli.backup(big_image)["captured_as"] == "full"

    def test_two_backups_at_once_and_a_killed_one(self, lab: Lab) -> None:
        before = leases_of(lab.cli.repository)
        first = lab.cli.start(
            "backup", lab.image, "--repository", lab.cli.repository, failpoints=HANG
        )
        try:
            until(lambda: not leases_of(lab.cli.repository) <= before, first)
            assert lab.cli.error_code("backup", lab.image) == "already_running"
            for name in ("cmdline", "environ"):
                seen = Path("/proc", str(first.pid), name).read_bytes()
                assert seen and PASSPHRASE.encode() not in seen
        finally:
            first.kill()
            first.communicate()
        assert lab.cli.backup(lab.image)["captured_as"] == "incremental"
        assert lab.cli.json("check", "--read-data")["sound"]


def _start_and_reach_packs(lab: Lab, image: Path) -> subprocess.Popen[str]:
    """A backup that has stored some of the image's bytes and has more to read."""
    before = len(packs_of(lab.cli.repository))
    process = lab.cli.start("backup", image, "--repository", lab.cli.repository, "--json")
    until(_more(lab.cli.repository, before), process)
    return process


def _more(repository: Path, before: int) -> Callable[[], bool]:
    return lambda: len(packs_of(repository)) > before


def test_full_disk_then_space(lab: Lab, big_image: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mount = tmp_path / "small"
    mount.mkdir()
    tmpfs = ["mount", "-t", "tmpfs", "-o", "size=64m", "holdfast-test", mount]
    subprocess.run(tmpfs, check=True, timeout=60)
    try:
        cli = Cli(repository=mount / "r", passphrase_file=lab.cli.passphrase_file)
        shutil.copytree(lab.cli.repository, cli.repository)
        document = cli.backup(big_image, exits=1)
        assert document["error"]["code"] == "out_of_space"
        assert str(cli.repository) in document["error"]["message"]
        assert document["error"]["hint"]
        assert len(cli.points()) == 1
        subprocess.run(["mount", "-o", "remount,size=512m", mount], check=True, timeout=60)
        assert cli.backup(big_image)["captured_as"] == "full"
        assert len(cli.points()) == 2
        assert cli.json("check")["sound"]
    finally:
        subprocess.run(["umount", mount], check=True, timeout=60)


def test_changed_file_from_both_points(lab: Lab, tmp_path: Path) -> None:
    image = tmp_path / "own.raw"
    texts = ["version one\n", "version two\n"]
    for number, text in enumerate(texts):
        make_image(image, tmp_path / f"tree{number}", text)
        lab.cli.backup(image, "--name", "own")
    points = [point["id"] for point in lab.cli.json("points", "--name", "own")["points"]]
    for point, text in zip(points, texts, strict=True):
        [volume] = lab.cli.json("files", "ls", point)["volumes"]
        path = f"/{volume['id']}/srv/letter.txt"
        output, _ = lab.cli.run(
            *("files", "get", point, path, "--output", "-", "--repository"), lab.cli.repository
        )
        assert output == text


@pytest.mark.parametrize(
    "arguments",
    [
        ["points"],
        ["points", "--json"],
        ["files", "get", "latest", "VOLUME/srv/letter.txt", "--output", "-"],
        ["files", "get", "latest", "VOLUME/srv", "--format", "zip", "--output", "-"],
    ],
)
def test_output_that_cannot_be_written_is_an_error(made: Lab, arguments: list[str]) -> None:
    """A full disk behind a redirection: an ordinary error, and no success."""
    volume = made.cli.json("files", "ls", "latest", "/")["volumes"][0]["id"]
    arguments = [part.replace("VOLUME", f"/{volume}") for part in arguments]
    ended = _with_output(made, ">/dev/full", arguments)
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr and "ignored" not in ended.stderr


@pytest.mark.parametrize("arguments", [["points"], ["points", "--json"]])
def test_who_closes_the_output_gets_none(made: Lab, arguments: list[str]) -> None:
    ended = _with_output(made, ">&-", arguments)
    assert (ended.returncode, ended.stderr) == (0, "")


def _with_output(
    lab: Lab, redirection: str, arguments: list[str]
) -> subprocess.CompletedProcess[str]:
    """As a shell runs it with that redirection."""
    return subprocess.run(
        [
            *("sh", "-c", f'exec "$@" {redirection}', "sh", BINARY, *arguments),
            *("--repository", lab.cli.repository),
        ],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        env={
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "HOLDFAST_PASSPHRASE_FILE": str(lab.cli.passphrase_file),
        },
    )
