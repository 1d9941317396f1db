"""qemu-nbd and qemu-img as they really are, driven through `holdfast.nbd`."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import (
    Cancelled,
    OutOfSpace,
    TargetExists,
    ToolFailed,
    ToolMissing,
    ToolStalled,
)
from holdfast.core.extents import total_length
from holdfast.core.units import KIB, MIB, TIB
from holdfast.nbd import processes, qemu
from holdfast.nbd.client import NbdReader, NbdWriter
from holdfast.nbd.errors import SourceReadFailed, SourceUnavailable, TargetUnavailable
from holdfast.nbd.processes import run_tool
from holdfast.nbd.qemu import QemuNbd, create_image, image_check, image_data_end, image_size

AWKWARD_NAME = "a, file.filename=b: json:{} %s 'c\"d\u00e9"


def reader_of(server: QemuNbd, bitmap: str | None = None) -> NbdReader:
    return NbdReader.connect(
        socket_path=server.socket_path, export=server.export, source="disk", bitmap=bitmap
    )


def writer_of(server: QemuNbd) -> NbdWriter:
    return NbdWriter.connect(socket_path=server.socket_path, export=server.export, target="disk")


def write(path: Path, format: str, offset: int, data: bytes) -> None:
    with (
        QemuNbd.serve(image=path, format=format, read_only=False, socket_dir=path.parent) as server,
        writer_of(server) as writer,
    ):
        writer.write(offset, data)
        writer.flush()


@pytest.fixture
def no_tmpfs_left(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], check=True)
    yield small
    subprocess.run(["umount", small], check=True)


class TestServing:
    @pytest.mark.parametrize("format", ["raw", "qcow2", "vmdk"])
    def test_what_is_written_is_read_again(self, tmp_path: Path, format: str) -> None:
        image = tmp_path / AWKWARD_NAME
        create_image(image, format, 64 * MIB)
        expected = bytearray(64 * MIB)
        pieces = [(1 * MIB + 7, os.urandom(9 * MIB + 1)), (40 * MIB, os.urandom(2 * MIB))]
        with (
            QemuNbd.serve(
                image=image, format=format, read_only=False, socket_dir=tmp_path
            ) as server,
            writer_of(server) as writer,
        ):
            assert writer.size_bytes == 64 * MIB
            for offset, data in pieces:
                writer.write(offset, data)
                expected[offset : offset + len(data)] = data
            writer.zero(4 * MIB, 3 * MIB)
            expected[4 * MIB : 7 * MIB] = bytes(3 * MIB)
            writer.flush()
        with (
            QemuNbd.serve(
                image=image, format=format, read_only=True, socket_dir=tmp_path
            ) as server,
            reader_of(server) as reader,
        ):
            data = bytearray(64 * MIB)
            reader.pread_into(0, memoryview(data))
            assert data == expected
            extents = list(reader.allocated(0, 64 * MIB))
            assert total_length(extents) == 64 * MIB
            assert all(not any(expected[e.offset : e.end]) for e in extents if e.zero)
            assert sum(e.length for e in extents if e.zero) > 45 * MIB
        assert image_size(image, format) == 64 * MIB
        assert image_check(image, format).damage == ""
        assert image_data_end(image, format) <= image.stat().st_size
        assert list(tmp_path.iterdir()) == [image]

    def test_zeroes_take_no_space(self, tmp_path: Path) -> None:
        image = tmp_path / "a.qcow2"
        create_image(image, "qcow2", 3 * TIB)
        with (
            QemuNbd.serve(
                image=image, format="qcow2", read_only=False, socket_dir=tmp_path
            ) as server,
            writer_of(server) as writer,
        ):
            writer.write(2 * TIB, b"data")
            writer.zero(0, 64 * MIB)
            writer.zero(2 * TIB, 4 * MIB)
            writer.flush()
        assert image.stat().st_blocks * 512 < 4 * MIB
        with (
            QemuNbd.serve(
                image=image, format="qcow2", read_only=True, socket_dir=tmp_path
            ) as server,
            reader_of(server) as reader,
        ):
            extents = list(reader.allocated(0, 3 * TIB))
            assert total_length(extents) == 3 * TIB
            assert [extent for extent in extents if not extent.zero] == []

    def test_the_socket_is_private(self, tmp_path: Path) -> None:
        image = tmp_path / "a.raw"
        create_image(image, "raw", MIB)
        with QemuNbd.serve(
            image=image, format="raw", read_only=True, socket_dir=tmp_path
        ) as server:
            assert server.socket_path.parent.stat().st_mode & 0o777 == 0o700

    def test_dirty_extents_are_exact(self, tmp_path: Path) -> None:
        image = tmp_path / "a.qcow2"
        create_image(image, "qcow2", 16 * MIB)
        add = ["qemu-img", "bitmap", "--add", "-g", "65536", "-f", "qcow2", str(image), "b0"]
        subprocess.run(add, check=True)
        write(image, "qcow2", 1 * MIB + 5, b"x" * 10)
        write(image, "qcow2", 3 * MIB, b"x" * (128 * KIB))
        with (
            QemuNbd.serve(
                image=image, format="qcow2", read_only=True, bitmap="b0", socket_dir=tmp_path
            ) as server,
            reader_of(server, bitmap="b0") as reader,
        ):
            dirty = [(e.offset, e.length) for e in reader.dirty(0, 16 * MIB)]
            assert dirty == [(1 * MIB, 64 * KIB), (3 * MIB, 128 * KIB)]
            part = [(e.offset, e.length) for e in reader.dirty(MIB + 100, 2 * MIB)]
            assert part == [(MIB + 100, 64 * KIB - 100), (3 * MIB, 100)]

    def test_a_server_that_cannot_open_its_image_says_why(self, tmp_path: Path) -> None:
        image = tmp_path / "a.raw"
        create_image(image, "raw", MIB)
        with pytest.raises(SourceUnavailable, match="not in qcow2 format"):
            QemuNbd.serve(image=image, format="qcow2", read_only=True, socket_dir=tmp_path)
        with pytest.raises(TargetUnavailable, match="not in qcow2 format"):
            QemuNbd.serve(image=image, format="qcow2", read_only=False, socket_dir=tmp_path)
        with pytest.raises(SourceUnavailable, match="No such file"):
            QemuNbd.serve(image=tmp_path / "b", format="raw", read_only=True, socket_dir=tmp_path)
        assert list(tmp_path.iterdir()) == [image]

    def test_a_backing_file_is_never_opened(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"secret" * 1000)
        image = tmp_path / "a.qcow2"
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", image]
        subprocess.run(create, check=True)
        with (
            QemuNbd.serve(
                image=image, format="qcow2", read_only=True, socket_dir=tmp_path
            ) as server,
            reader_of(server) as reader,
        ):
            data = bytearray(b"x" * 4096)
            reader.pread_into(0, memoryview(data))
            assert not any(data)

    def test_a_full_target_is_told(self, tmp_path: Path, no_tmpfs_left: Path) -> None:
        image = no_tmpfs_left / "a.raw"
        create_image(image, "raw", 16 * MIB)
        with (
            QemuNbd.serve(
                image=image, format="raw", read_only=False, socket_dir=tmp_path
            ) as server,
            writer_of(server) as writer,
            pytest.raises(OutOfSpace),
        ):
            writer.write(0, b"x" * (8 * MIB))

    def test_a_killed_server_fails_the_read_at_once(self, tmp_path: Path) -> None:
        image = tmp_path / "a.raw"
        create_image(image, "raw", 64 * MIB)
        with QemuNbd.serve(
            image=image, format="raw", read_only=True, socket_dir=tmp_path
        ) as server:
            reader = reader_of(server)
            os.kill(server.pid, signal.SIGSTOP)
            failures: list[SourceReadFailed] = []

            def read() -> None:
                try:
                    reader.pread_into(0, memoryview(bytearray(32 * MIB)))
                except SourceReadFailed as failure:
                    failures.append(failure)

            thread = threading.Thread(target=read)
            thread.start()
            started = time.monotonic()
            os.kill(server.pid, signal.SIGKILL)
            thread.join(30)
            assert time.monotonic() - started < 30
            assert len(failures) == 1


class TestLifetime:
    SCRIPT = """
import sys, threading
from pathlib import Path
from holdfast.nbd.qemu import QemuNbd
servers = []
def serve():
    servers.append(QemuNbd.serve(
        image=Path(sys.argv[1]), format="raw", read_only=True, socket_dir=Path(sys.argv[2])))
thread = threading.Thread(target=serve)
thread.start()
thread.join()
print(servers[0].pid, flush=True)
sys.stdin.read()
"""

    def test_a_server_outlives_its_thread_and_dies_with_its_process(self, tmp_path: Path) -> None:
        image = tmp_path / "a.raw"
        create_image(image, "raw", MIB)
        sockets = tmp_path / "sockets"
        sockets.mkdir()
        owner = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, image, sockets],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert owner.stdout is not None and owner.stdin is not None
        server = int(owner.stdout.readline())
        watch = os.pidfd_open(server)
        with_socket = [f for f in sockets.iterdir() if (f / "socket").exists()]
        assert len(with_socket) == 1
        reader = NbdReader.connect(socket_path=with_socket[0] / "socket", export="", source="disk")
        reader.pread_into(0, memoryview(bytearray(512)))
        owner.kill()
        owner.wait()
        owner.stdin.close()
        owner.stdout.close()
        assert select.select([watch], [], [], 20)[0], "the server is still there"
        os.close(watch)
        reader.close()
        # What the killed process could not remove, the next server does.
        with QemuNbd.serve(image=image, format="raw", read_only=True, socket_dir=sockets):
            assert not with_socket[0].exists()

    def test_a_vm_may_write_what_is_force_shared(self, tmp_path: Path) -> None:
        image = tmp_path / "a.qcow2"
        create_image(image, "qcow2", MIB)
        with QemuNbd.serve(
            image=image, format="qcow2", read_only=True, force_share=True, socket_dir=tmp_path
        ):
            write(image, "qcow2", 0, b"a VM started meanwhile")
        with (
            QemuNbd.serve(image=image, format="qcow2", read_only=True, socket_dir=tmp_path),
            pytest.raises(TargetUnavailable, match="lock"),
        ):
            write(image, "qcow2", 0, b"refused")


class TestImages:
    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        image = tmp_path / "a.raw"
        image.write_bytes(b"precious")
        with pytest.raises(TargetExists):
            create_image(image, "raw", MIB)
        assert image.read_bytes() == b"precious"

    def test_a_failed_creation_leaves_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ToolFailed):
            create_image(tmp_path / "a", "no-such-format", MIB)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("format", ["qcow2", "vmdk"])
    @pytest.mark.parametrize("cut_bytes", [1, 512, 64 * KIB, 3 * MIB])
    def test_a_cut_image_is_noticed(self, tmp_path: Path, format: str, cut_bytes: int) -> None:
        image = tmp_path / "a"
        create_image(image, format, 32 * MIB)
        write(image, format, 0, os.urandom(8 * MIB))
        size = image.stat().st_size
        assert image_check(image, format).damage == ""
        assert image_data_end(image, format) <= size
        os.truncate(image, size - cut_bytes)
        assert image_check(image, format).damage or image_data_end(image, format) > size - cut_bytes

    def test_storage_that_stops_answering_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = tmp_path / "a.qcow2"
        create_image(image, "qcow2", MIB)
        with hanging_copy(image) as hanging:
            monkeypatch.setattr(qemu, "_STALLED_AFTER_S", 1.0)
            # qemu-img is in the kernel, and does not die before the read has ended.
            monkeypatch.setattr(processes, "_DIES_WITHIN_S", 1.0)
            for question in (image_check, image_data_end):
                started = time.monotonic()
                with pytest.raises(SourceUnavailable, match="did not answer"):
                    question(hanging, "qcow2")
                assert time.monotonic() - started < 30


@contextmanager
def hanging_copy(image: Path) -> Generator[Path]:
    """The image as a file whose size can be asked for and whose bytes never come."""
    mount = image.with_suffix(".mount")
    mount.touch()
    server = ["nbdkit", "-s", "--exit-with-parent", "--filter=delay", "file", image, "rdelay=3600"]
    process = subprocess.Popen(["nbdfuse", mount, "--command", *server])
    try:
        while not mount.stat().st_size:
            assert process.poll() is None, "nbdfuse ended"
            time.sleep(0.01)
        yield mount
    finally:
        process.kill()
        process.wait()
        subprocess.run(["umount", "--lazy", mount], check=True, timeout=60)


class TestTools:
    def test_a_missing_program_names_its_package(self) -> None:
        with pytest.raises(ToolMissing, match="apt-get install some-package"):
            run_tool(["no-such-program"], package="some-package", timeout_s=5)

    def test_a_failure_carries_the_end_of_the_message(self) -> None:
        command = ["sh", "-c", "seq 100000 >&2; echo 'the \x1b[1mreason' >&2; exit 3"]
        with pytest.raises(ToolFailed) as caught:
            run_tool(command, package="dash", timeout_s=30)
        assert caught.value.status == 3
        assert caught.value.output.endswith("the ?[1mreason")
        assert len(caught.value.output) < 4000

    def test_time_is_limited(self) -> None:
        started = time.monotonic()
        for command in ("exec sleep 60", "exec >&- 2>&-; exec sleep 60"):
            with pytest.raises(ToolFailed, match="did not end within"):
                run_tool(["sh", "-c", command], package="dash", timeout_s=0.5)
        assert time.monotonic() - started < 20

    def test_standing_still_is_limited_and_working_is_not(self) -> None:
        def run(command: str) -> bytes:
            arguments = ["sh", "-c", command]
            return run_tool(arguments, package="dash", timeout_s=60, stalled_after_s=1).output

        with pytest.raises(ToolStalled, match="stood still for 1 s"):
            run("exec sleep 60")
        work = "i=0; while [ $i -lt 3000000 ]; do i=$((i + 1)); done; echo done"
        assert run(work) == b"done\n"

    def test_cancelling_ends_the_program(self) -> None:
        cancel = CancelToken()
        threading.Timer(0.2, cancel.cancel).start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            run_tool(["sleep", "60"], package="coreutils", timeout_s=60, cancel=cancel)
        assert time.monotonic() - started < 20

    def test_children_get_a_plain_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOLDFAST_PASSPHRASE", "secret")
        result = run_tool(["env"], package="coreutils", timeout_s=10)
        names = {line.split(b"=")[0] for line in result.output.splitlines()}
        assert names == {b"PATH", b"LC_ALL"}

    def test_memory_is_limited(self) -> None:
        result = run_tool(["sh", "-c", "ulimit -v"], package="dash", timeout_s=10)
        assert 0 < int(result.output) <= 8 * 1024 * 1024
