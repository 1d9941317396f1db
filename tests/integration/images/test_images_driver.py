"""The images platform on real files: what is accepted, what is refused, and what a writer does."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.units import KIB, MIB, TIB
from holdfast.hypervisors.driver import (
    CaptureRequest,
    ChangesUnknown,
    Consistency,
    Disk,
    DiskReader,
    PowerState,
)
from holdfast.hypervisors.errors import (
    CaptureLost,
    DamagedImage,
    SourceUnavailable,
    UnsupportedImage,
    VmBusy,
    VmNotFound,
)
from holdfast.hypervisors.images import ImagesDriver
from holdfast.hypervisors.images.capture import ImagesCapture
from holdfast.nbd.client import NbdWriter
from holdfast.nbd.qemu import QemuNbd, create_image

SECRET = b"not for the guest's eyes"


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


def begin(source: Path, *, format: str | None = None, name: str | None = None) -> ImagesCapture:
    driver = ImagesDriver(source, format=format, name=name)
    [vm] = driver.list_vms()
    request = CaptureRequest(
        run_id=str(uuid.uuid4()), repository_id="r", parent_tokens={}, cancel=CancelToken()
    )
    return driver.capture(vm, request)


def read_all(reader: DiskReader, disk: Disk) -> bytes:
    data = bytearray(disk.size_bytes)
    reader.pread_into(0, memoryview(data))
    reader.close()
    return bytes(data)


def content_of(source: Path, *, format: str | None = None) -> bytes:
    with begin(source, format=format) as capture:
        [disk] = capture.disks
        content = read_all(disk.open_reader(), disk.disk)
        capture.check()
    return content


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(os.urandom(3 * MIB))
    return path


class TestRaw:
    @pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 64 * KIB - 1, 64 * KIB + 1])
    def test_sizes_are_exact(self, tmp_path: Path, size: int) -> None:
        path = tmp_path / "disk.img"
        path.write_bytes(os.urandom(size))
        assert content_of(path) == path.read_bytes()
        [vm] = ImagesDriver(path).list_vms()
        assert [disk.size_bytes for disk in vm.disks] == [size]

    def test_terabytes_of_nothing_are_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.raw"
        with path.open("wb") as file:
            file.truncate(3 * TIB)
            file.seek(2 * TIB + 5)
            file.write(b"here")
        with begin(path) as capture:
            reader = capture.disks[0].open_reader()
            extents = list(reader.allocated(0, 3 * TIB))
            [data] = [extent for extent in extents if not extent.zero]
            assert data.offset <= 2 * TIB + 5 and data.end >= 2 * TIB + 9
            assert data.length <= 64 * KIB
            buffer = bytearray(4)
            reader.pread_into(2 * TIB + 5, memoryview(buffer))
            assert buffer == b"here"
            reader.close()

    @pytest.mark.parametrize("name", ["disk.raw", "disk.img", "disk.RAW"])
    def test_a_guest_cannot_choose_the_format(self, tmp_path: Path, name: str) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(SECRET.ljust(1024))
        inner = tmp_path / "inner"
        qemu_img("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", inner, "1M")
        path = tmp_path / name
        path.write_bytes(inner.read_bytes())
        assert content_of(path) == inner.read_bytes()
        assert SECRET not in content_of(path)

    def test_a_file_that_is_cut_is_no_source_of_zeroes(self, raw: Path) -> None:
        with begin(raw) as capture:
            reader = capture.disks[0].open_reader()
            os.truncate(raw, MIB + 5)
            with pytest.raises(HoldfastError) as caught:
                reader.pread_into(MIB, memoryview(bytearray(64 * KIB)))
            assert caught.value.code == "source_read_failed"
            assert caught.value.params["offset"] == MIB + 5
            for offset in (0, 2 * MIB):
                with pytest.raises(HoldfastError) as caught:
                    list(reader.allocated(offset, 3 * MIB - offset))
                assert caught.value.code == "source_read_failed"
            reader.close()
            with pytest.raises(CaptureLost):
                capture.check()

    def test_a_loop_device_is_read(self, raw: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("attaching a loop device needs root")
        added = subprocess.run(
            ["losetup", "--find", "--show", "--read-only", raw],
            check=True,
            capture_output=True,
            text=True,
        )
        device = Path(added.stdout.strip())
        try:
            assert content_of(device, format="raw") == raw.read_bytes()
            with begin(device, format="raw", name="web") as capture:
                assert capture.vm.name == "web"
                assert "no trace of writes" in capture.notes[0]
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)


class TestQcow2:
    @pytest.mark.parametrize(
        "options",
        [
            (),
            ("-o", "compat=0.10"),
            ("-o", "cluster_size=512"),
            ("-o", "cluster_size=2M"),
            ("-o", "extended_l2=on,cluster_size=128k"),
            ("-o", "lazy_refcounts=on"),
            ("-c",),
            ("-c", "-o", "compression_type=zstd"),
        ],
    )
    def test_variants(self, tmp_path: Path, raw: Path, options: tuple[str, ...]) -> None:
        path = tmp_path / "disk.qcow2"
        qemu_img("convert", "-f", "raw", "-O", "qcow2", *options, raw, path)
        assert content_of(path) == raw.read_bytes()

    def test_the_active_layer_is_read_not_a_snapshot(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.qcow2"
        create_image(path, "qcow2", MIB)
        for data, snapshot in ((b"old", "s1"), (b"new", "s2"), (b"now", None)):
            with QemuNbd.serve(
                image=path, format="qcow2", read_only=False, socket_dir=tmp_path
            ) as server:
                writer = NbdWriter.connect(socket_path=server.socket_path, export="", target="d")
                with writer:
                    writer.write(0, data)
                    writer.flush()
            if snapshot:
                qemu_img("snapshot", "-c", snapshot, path)
        assert content_of(path)[:3] == b"now"

    def test_other_files_are_not_opened(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(SECRET.ljust(MIB))
        path = tmp_path / "disk.qcow2"
        qemu_img("create", "-f", "qcow2", "-b", tmp_path / "secret", "-F", "raw", path)
        with pytest.raises(UnsupportedImage, match="backing file"):
            begin(path)
        qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path}/d", path, "1M")
        with pytest.raises(UnsupportedImage, match="another file"):
            begin(path)

    def test_encryption_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.qcow2"
        qemu_img(
            *("create", "-f", "qcow2", "--object", "secret,id=s,data=x"),
            *("-o", "encrypt.format=aes,encrypt.key-secret=s", path, "1M"),
        )
        with pytest.raises(UnsupportedImage, match="AES"):
            begin(path)

    @pytest.mark.parametrize("cut_bytes", [1, 512, 64 * KIB, MIB])
    def test_an_image_shorter_than_its_table_says(
        self, tmp_path: Path, raw: Path, cut_bytes: int
    ) -> None:
        path = tmp_path / "disk.qcow2"
        qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
        os.truncate(path, path.stat().st_size - cut_bytes)
        with pytest.raises(DamagedImage):
            begin(path)


class TestVmdk:
    @pytest.mark.parametrize("subformat", ["monolithicSparse", "streamOptimized"])
    def test_single_sparse_files_are_read(self, tmp_path: Path, raw: Path, subformat: str) -> None:
        path = tmp_path / "disk.vmdk"
        qemu_img(*("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}", raw, path))
        renamed = path.rename(tmp_path / "other.vmdk")
        assert content_of(renamed) == raw.read_bytes()

    @pytest.mark.parametrize(
        "subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"]
    )
    def test_other_kinds_are_refused(self, tmp_path: Path, subformat: str) -> None:
        path = tmp_path / "disk.vmdk"
        qemu_img("create", "-f", "vmdk", "-o", f"subformat={subformat}", path, "1M")
        with pytest.raises(UnsupportedImage, match="descriptor"):
            begin(path)

    def test_a_child_is_refused(self, tmp_path: Path) -> None:
        parent = tmp_path / "parent.vmdk"
        create_image(parent, "vmdk", MIB)
        path = tmp_path / "disk.vmdk"
        qemu_img("create", "-f", "vmdk", "-b", parent, "-F", "vmdk", path)
        with pytest.raises(UnsupportedImage, match="parent"):
            begin(path)

    @pytest.mark.parametrize("cut_bytes", [1, 64 * KIB, MIB])
    def test_an_image_shorter_than_its_table_says(
        self, tmp_path: Path, raw: Path, cut_bytes: int
    ) -> None:
        path = tmp_path / "disk.vmdk"
        qemu_img("convert", "-f", "raw", "-O", "vmdk", raw, path)
        os.truncate(path, path.stat().st_size - cut_bytes)
        with pytest.raises(DamagedImage):
            begin(path)


class TestInventory:
    def test_a_file_is_a_vm(self, raw: Path) -> None:
        [vm] = ImagesDriver(raw).list_vms()
        assert (vm.id, vm.name, vm.platform) == (str(raw), "disk", "images")
        assert vm.power is PowerState.SHUT_OFF
        [disk] = vm.disks
        assert (disk.key, disk.format, disk.path) == ("disk.raw", "raw", str(raw))
        assert not disk.tracks_changes
        [named] = ImagesDriver(raw, name="web").list_vms()
        assert named.name == "web"
        with pytest.raises(VmNotFound):
            ImagesDriver(raw).find_vm("web")

    def test_a_folder_is_a_vm(self, tmp_path: Path, raw: Path) -> None:
        folder = tmp_path / "web.d"
        folder.mkdir()
        outside = tmp_path / "outside.raw"
        outside.write_bytes(SECRET)
        create_image(folder / "b.qcow2", "qcow2", MIB)
        (folder / "a.raw").write_bytes(b"a" * 512)
        (folder / ".hidden.raw").write_bytes(b"x")
        (folder / "notes.txt").write_bytes(b"x")
        (folder / "link.raw").symlink_to(outside)
        (folder / "sub.raw").mkdir()
        os.mkfifo(folder / "pipe.raw")
        with begin(folder) as capture:
            assert [disk.disk.key for disk in capture.disks] == ["a.raw", "b.qcow2"]
            assert capture.vm.name == "web.d"
            assert capture.consistency is Consistency.OFFLINE
            assert all(disk.token is None for disk in capture.disks)
            assert all(isinstance(disk.changes, ChangesUnknown) for disk in capture.disks)
            notes = "\n".join(capture.notes)
        for name in ("notes.txt", "link.raw", "sub.raw", "pipe.raw"):
            assert name in notes
        assert "hidden" not in notes

    def test_an_empty_folder_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedImage, match="no disk image"):
            ImagesDriver(tmp_path).list_vms()

    def test_one_bad_image_of_a_folder_is_not_left_out(self, tmp_path: Path, raw: Path) -> None:
        qemu_img("create", "-f", "qcow2", "-b", raw, "-F", "raw", tmp_path / "b.qcow2")
        with pytest.raises(UnsupportedImage, match=r"b\.qcow2"):
            ImagesDriver(tmp_path).list_vms()

    def test_what_has_no_known_name_needs_a_format(self, tmp_path: Path, raw: Path) -> None:
        path = raw.rename(tmp_path / "disk")
        with pytest.raises(UnsupportedImage, match="--format"):
            ImagesDriver(path).list_vms()
        assert content_of(path, format="raw") == path.read_bytes()
        with pytest.raises(UnsupportedImage, match="does not begin as a qcow2"):
            ImagesDriver(path, format="qcow2").list_vms()
        with pytest.raises(UnsupportedImage, match="vdi"):
            ImagesDriver(path, format="vdi").list_vms()

    def test_what_is_no_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.raw")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s.raw"))
        for name in ("pipe.raw", "s.raw", "nothing.raw"):
            with pytest.raises(SourceUnavailable):
                ImagesDriver(tmp_path / name).list_vms()
        listener.close()
        with pytest.raises(SourceUnavailable, match="no file"):
            ImagesDriver(Path("/dev/zero"), format="raw").list_vms()

    def test_names_are_printable(self, tmp_path: Path) -> None:
        for name in ("d\u00e9.raw", "d\n.raw"):
            path = tmp_path / name
            path.write_bytes(b"x")
            with pytest.raises(UnsupportedImage, match="ASCII"):
                ImagesDriver(path).list_vms()
            path.unlink()

    def test_a_link_that_the_user_names_is_followed(self, tmp_path: Path, raw: Path) -> None:
        link = tmp_path / "current.raw"
        link.symlink_to(raw)
        [vm] = ImagesDriver(link).list_vms()
        assert (vm.id, vm.name) == (str(link), "current")
        assert content_of(link) == raw.read_bytes()


class TestWriters:
    @pytest.mark.parametrize("format", ["raw", "qcow2"])
    def test_an_image_open_in_qemu_is_refused(self, tmp_path: Path, format: str) -> None:
        path = tmp_path / f"disk.{format}"
        create_image(path, format, MIB)
        with (
            QemuNbd.serve(image=path, format=format, read_only=False, socket_dir=tmp_path),
            pytest.raises(VmBusy, match="libvirt:"),
        ):
            begin(path)
        with QemuNbd.serve(image=path, format=format, read_only=True, socket_dir=tmp_path):
            assert content_of(path) == bytes(MIB)

    @pytest.mark.parametrize("format", ["raw", "qcow2", "vmdk"])
    def test_a_vm_started_meanwhile_is_seen_before_it_writes(
        self, tmp_path: Path, format: str
    ) -> None:
        path = tmp_path / f"disk.{format}"
        create_image(path, format, MIB)
        with begin(path) as capture:
            capture.check()
            with (
                QemuNbd.serve(image=path, format=format, read_only=False, socket_dir=tmp_path),
                pytest.raises(CaptureLost, match="libvirt:"),
            ):
                capture.check()

    def test_any_write_is_seen(self, raw: Path) -> None:
        def overwrite() -> None:
            with raw.open("r+b") as file:
                file.write(b"x")

        def restore_times() -> None:
            before = raw.stat()
            overwrite()
            os.utime(raw, ns=(before.st_atime_ns, before.st_mtime_ns))

        def replace() -> None:
            copy = raw.with_suffix(".new")
            copy.write_bytes(raw.read_bytes())
            copy.rename(raw)

        for act in (overwrite, restore_times, replace, lambda: os.truncate(raw, 5), raw.unlink):
            with begin(raw) as capture:
                capture.check()
                act()
                with pytest.raises(CaptureLost):
                    capture.check()

    def test_a_dead_server_loses_the_capture(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.qcow2"
        create_image(path, "qcow2", MIB)
        with begin(path) as capture:
            server = next(
                pid
                for pid in Path("/proc").glob("[0-9]*")
                if str(path).encode() in _command_line(pid)
            )
            watch = os.pidfd_open(int(server.name))
            os.kill(int(server.name), 9)
            os.waitid(os.P_PIDFD, watch, os.WEXITED | os.WNOWAIT)
            os.close(watch)
            with pytest.raises(CaptureLost, match="server"):
                capture.check()
            with pytest.raises(HoldfastError) as caught:
                capture.disks[0].open_reader()
            assert caught.value.code == "source_unavailable"


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
