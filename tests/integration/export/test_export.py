"""Disks of a point over NBD, as the programs of the field and a VM see them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbd
import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import ToolMissing
from holdfast.core.units import KIB, MIB, TIB
from holdfast.nbd import processes
from holdfast.repository import ChunkType
from holdfast.restore.export import ExportedDamage, ExportFailed, ServedDisk, export_disk
from tests.integration.export.conftest import BOOT_SECTOR, Exported

FILES = "files.raw"


def run(*arguments: str | Path, accept: Sequence[int] = (0,)) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in accept, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def connect(served: ServedDisk) -> Any:
    """A libnbd handle; its binding is typed only as far as the product uses it."""
    handle: Any = nbd.NBD()
    handle.connect_uri(served.uri)
    return handle


def digest_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


class TestPrograms:
    @pytest.mark.parametrize("writable", [False, True])
    @pytest.mark.parametrize("key", ["files.raw", "odd.raw", "tiny.raw", "empty.raw"])
    def test_nbdcopy_gets_the_disk(
        self, point: Exported, tmp_path: Path, key: str, writable: bool
    ) -> None:
        copy = tmp_path / "copy"
        disk = point.disks[key]
        with export_disk(repository=point.repository, disk=disk, writable=writable) as served:
            run("nbdcopy", "--connections=4", served.uri, copy)
        assert copy.read_bytes() == (point.images / key).read_bytes()

    def test_qemu_img_converts_and_compares(self, point: Exported, tmp_path: Path) -> None:
        image = point.images / FILES
        copy = tmp_path / "copy.qcow2"
        disk = point.disks[FILES]
        with export_disk(repository=point.repository, disk=disk, writable=False) as served:
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", served.uri, image)
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", served.uri, copy)
        run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", copy, image)
        assert copy.stat().st_size < 10 * MIB  # free space of the file system stayed a hole

    def test_nbdinfo_maps_data_and_holes(self, point: Exported) -> None:
        disk = point.disks[FILES]
        content = (point.images / FILES).read_bytes()
        with export_disk(repository=point.repository, disk=disk, writable=False) as served:
            extents = json.loads(run("nbdinfo", "--map", "--json", served.uri))
            facts = json.loads(run("nbdinfo", "--json", served.uri))["exports"][0]
        assert facts["can_multi_conn"] and facts["is_read_only"]
        assert facts["block_size_preferred"] == 64 * KIB
        position = 0
        for extent in extents:
            assert extent["offset"] == position
            position += extent["length"]
            piece = content[extent["offset"] : position]
            if extent["type"] == 3:
                assert not any(piece)
            else:
                chunks = range(0, len(piece), 64 * KIB)
                assert all(any(piece[at : at + 64 * KIB]) for at in chunks)
        assert position == len(content)
        assert {extent["type"] for extent in extents} == {0, 3}

    @pytest.mark.parametrize("writable", [False, True])
    def test_map_of_a_large_sparse_disk(self, point: Exported, writable: bool) -> None:
        disk = point.disks["sparse.raw"]
        with export_disk(repository=point.repository, disk=disk, writable=writable) as served:
            extents = json.loads(run("nbdinfo", "--map", "--json", served.uri))
            assert connect(served).pread(6, 2 * TIB) == b"island"
        [data] = [extent for extent in extents if extent["type"] == 0]
        assert (data["offset"], data["length"]) == (2 * TIB, 64 * KIB)
        assert sum(extent["length"] for extent in extents) == 3 * TIB

    def test_connections_read_in_parallel(self, point: Exported) -> None:
        content = (point.images / FILES).read_bytes()
        disk = point.disks[FILES]

        def read(seed: int) -> int:
            pick = random.Random(seed)
            handle = connect(served)
            for _ in range(150):
                length = pick.randint(1, 200_000)
                offset = pick.randrange(len(content) - length)
                assert handle.pread(length, offset) == content[offset : offset + length]
            handle.shutdown()
            return seed

        with (
            export_disk(repository=point.repository, disk=disk, writable=False) as served,
            ThreadPoolExecutor(max_workers=6) as pool,
        ):
            assert list(pool.map(read, range(6))) == list(range(6))


class TestWrites:
    def test_read_only_export_refuses_them(self, point: Exported) -> None:
        disk = point.disks[FILES]
        with export_disk(repository=point.repository, disk=disk, writable=False) as served:
            handle = connect(served)
            handle.set_strict_mode(0)  # else libnbd refuses for the server
            with pytest.raises(nbd.Error) as caught:
                handle.pwrite(b"x" * 512, 0)
            assert caught.value.errnum in {errno.EPERM, errno.EROFS, errno.EINVAL}

    def test_writable_export_forgets_them_and_the_point_stays(
        self, point: Exported, tmp_path: Path
    ) -> None:
        content = bytearray((point.images / FILES).read_bytes())
        disk = point.disks[FILES]
        before = digest_of_folder(point.folder)
        with export_disk(repository=point.repository, disk=disk, writable=True) as served:
            writer = connect(served)
            for offset, data in ((0, b"first"), (65 * KIB - 7, b"x" * 70_000), (47 * MIB, b"end")):
                writer.pwrite(data, offset)
                content[offset : offset + len(data)] = data
            writer.flush()
            copy = tmp_path / "copy"
            run("nbdcopy", "--connections=4", served.uri, copy)
            assert copy.read_bytes() == content
        assert digest_of_folder(point.folder) == before
        with export_disk(repository=point.repository, disk=disk, writable=True) as served:
            assert connect(served).pread(5, 0) == bytes(5)

    @pytest.mark.qemu
    @pytest.mark.parametrize(("writable", "said"), [(False, b"R"), (True, b"W")])
    def test_vm_boots_from_it(
        self, point: Exported, tmp_path: Path, writable: bool, said: bytes
    ) -> None:
        console = tmp_path / "console"
        disk = point.disks["boot.raw"]
        before = digest_of_folder(point.folder)
        with export_disk(repository=point.repository, disk=disk, writable=writable) as served:
            node = {
                "driver": "nbd",
                "node-name": "boot",
                "read-only": not writable,
                "server": {"type": "unix", "path": str(served.socket_path)},
            }
            run(
                *("qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none"),
                *("-m", "32", "-blockdev", json.dumps(node)),
                *("-device", "virtio-blk-pci,drive=boot,bootindex=0"),
                *("-device", "isa-debug-exit,iobase=0x501,iosize=1"),
                *("-debugcon", f"file:{console}"),
                accept=(said[0] << 1 & 0xFF | 1,),
            )
            second_sector = connect(served).pread(512, 512)
        assert console.read_bytes().endswith(said)
        assert second_sector == (BOOT_SECTOR if writable else bytes(512))
        assert digest_of_folder(point.folder) == before


class TestFaults:
    def test_damaged_chunk_is_an_error_and_is_named(self, point: Exported) -> None:
        content = (point.images / "odd.raw").read_bytes()
        disk = point.disks["odd.raw"]
        point.repository.load_index()
        place = point.repository.chunks.locate(
            point.repository.disk_map(disk).chunk_id(3), ChunkType.DATA
        )
        [pack] = point.folder.glob(f"packs/**/{place.pack_hash.hex()}")
        with pack.open("r+b") as file:
            file.seek(place.offset + 40)
            file.write(bytes([file.read(1)[0] ^ 1]))
        cancel = CancelToken()
        heard: list[str] = []

        def hear(problem: str) -> None:
            heard.append(problem)
            cancel.cancel()

        with export_disk(repository=point.repository, disk=disk, writable=False) as served:
            handle = connect(served)
            waiter = threading.Thread(
                target=served.wait, args=(cancel,), kwargs={"on_problem": hear}
            )
            waiter.start()
            for _ in range(3):
                with pytest.raises(nbd.Error) as caught:
                    handle.pread(10, 3 * 64 * KIB + 5)
                assert caught.value.errnum == errno.EIO
            waiter.join(timeout=20)
            assert not waiter.is_alive()
            assert handle.pread(1000, 0) == content[:1000]
            assert served.problems() == heard
            with pytest.raises(ExportedDamage):
                served.require_sound()
        [problem] = heard
        assert place.pack_hash.hex() in problem and "is damaged" in problem

    def test_sound_disk_has_no_problems(self, point: Exported) -> None:
        disk = point.disks["odd.raw"]
        with export_disk(repository=point.repository, disk=disk, writable=False) as served:
            connect(served).pread(1000, 0)
            served.require_sound()

    def test_wait_ends_when_the_server_dies(self, point: Exported) -> None:
        disk = point.disks["odd.raw"]
        with export_disk(repository=point.repository, disk=disk, writable=False) as served:
            os.kill(served.pid, signal.SIGKILL)
            with pytest.raises(ExportFailed, match="nbdkit"):
                served.wait(CancelToken())
        assert not served.socket_path.parent.exists()

    def test_no_repository_no_export(self, point: Exported) -> None:
        (point.folder / "sentinel").unlink()
        disk = point.disks["odd.raw"]
        with (
            pytest.raises(ExportFailed) as caught,
            export_disk(repository=point.repository, disk=disk, writable=False),
        ):
            pass
        assert "its sentinel is missing" in str(caught.value)
        assert "Traceback" not in str(caught.value)

    def test_nbdkit_not_installed(
        self, point: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processes, "SEARCH_PATH", str(tmp_path))
        disk = point.disks["odd.raw"]
        with (
            pytest.raises(ToolMissing, match="nbdkit nbdkit-plugin-python"),
            export_disk(repository=point.repository, disk=disk, writable=False),
        ):
            pass


class TestSecrecy:
    def test_the_key_is_in_no_argument_environment_or_file(self, point: Exported) -> None:
        disk = point.disks["odd.raw"]
        secret = str(point.repository.share()["master"])
        with export_disk(repository=point.repository, disk=disk, writable=False) as served:
            folder = served.socket_path.parent
            assert folder.stat().st_mode & 0o777 == 0o700
            process = Path("/proc", str(served.pid))
            seen = [process / "cmdline", process / "environ", folder / "stderr", folder / "pid"]
            for path in seen:
                content = path.read_bytes()
                assert content or path.name == "stderr"
                assert secret.encode() not in content
                assert bytes.fromhex(secret) not in content
            limits = (process / "limits").read_text()
            [core] = [line for line in limits.splitlines() if "core file size" in line]
            assert core.split()[-3:-1] == ["0", "0"]

    def test_the_handed_over_repository_is_checked(self, point: Exported) -> None:
        shared = {**point.repository.share(), "master": bytes(32).hex()}
        with pytest.raises(Exception, match="without the key"):
            type(point.repository).from_shared(shared)


_EXPORTER = """
import sys
from pathlib import Path
from holdfast.core.cancellation import CancelToken
from holdfast.repository import Credential, Repository, open_store
from holdfast.restore.export import export_disk

repository = Repository.open(
    open_store(sys.argv[1]), Credential(kind="recovery", secret=bytes(range(32)))
)
disk = repository.point("latest").disk("odd.raw")
with export_disk(
    repository=repository, disk=disk, writable=False, socket_dir=Path(sys.argv[2])
) as served:
    print(served.pid, flush=True)
    served.wait(CancelToken())
"""


def test_the_server_dies_with_a_killed_exporter(point: Exported, tmp_path: Path) -> None:
    sockets = tmp_path / "s"
    sockets.mkdir()
    exporter = subprocess.Popen(
        [sys.executable, "-c", _EXPORTER, str(point.folder), str(sockets)],
        stdout=subprocess.PIPE,
    )
    assert exporter.stdout is not None
    with exporter.stdout:
        server = os.pidfd_open(int(exporter.stdout.readline()))
        exporter.kill()
        exporter.wait()
    ended, _, _ = select.select([server], [], [], 20)
    os.close(server)
    assert ended
    left = list(sockets.iterdir())
    disk = point.disks["odd.raw"]
    with export_disk(
        repository=point.repository, disk=disk, writable=False, socket_dir=sockets
    ) as served:
        assert list(sockets.iterdir()) == [served.socket_path.parent]  # the stale one is removed
    assert left and not any(sockets.iterdir())
