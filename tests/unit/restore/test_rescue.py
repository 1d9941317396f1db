"""Rescue: from a repository that is damaged in every way that still leaves something, read only."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import TargetExists
from holdfast.core.progress import SilentProgress
from holdfast.hypervisors.driver import Artifact
from holdfast.hypervisors.libvirt.domain_xml import parse_domain
from holdfast.repository import ChunkType, LocalStore, RestorePoint
from holdfast.repository.errors import StoreUnavailable
from holdfast.repository.rescue import Rescue, open_for_rescue, packs_of, point_health
from holdfast.repository.store.store import ObjectInfo
from holdfast.restore.rescue import rescue_point
from holdfast.restore.rescued import PointRescue, RescueOptions
from tests.support.damage import flip_bit, pack_files
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs

_DOMAIN = b"""<domain type='kvm' id='3'><name>guest one</name>
<uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid><memory unit='KiB'>1048576</memory>
<os><type arch='x86_64' machine='pc'>hvm</type><loader readonly='yes' type='pflash'>/l</loader>
<nvram>/old/host/vars.fd</nvram></os>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/old/a.qcow2'/>
<target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/old/b.qcow2'/>
<target dev='vdb' bus='virtio'/></disk>
<interface type='network'><mac address='52:54:00:11:22:33'/><source network='default'/></interface>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
</devices></domain>"""


class Place:
    """A repository in a folder with two points of one VM."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        small_packs(patch)
        self.root = root
        store = LocalStore(root)
        store.prepare()
        self.engine = Engine.create(
            store, disks={"vda": 60 * CHUNK_BYTES + 512, "vdb": 9 * CHUNK_BYTES}
        )
        rng = random.Random(4)
        self.engine.vm.artifacts = [
            Artifact(name="domain.xml", data=_DOMAIN),
            Artifact(name="nvram", data=rng.randbytes(3000)),
            Artifact(name="tpm.tar", data=_tar()),
        ]
        for disk in self.engine.vm.disks.values():
            disk.write(0, rng.randbytes(disk.size_bytes // 2))
        self.first = self.engine.back_up().manifest.id
        self.engine.vm.disks["vda"].write(40 * CHUNK_BYTES, rng.randbytes(9 * CHUNK_BYTES))
        self.second = self.engine.back_up().manifest.id

    def open(self) -> Rescue:
        return open_for_rescue(LocalStore(self.root), CREDENTIAL)

    def point(self, rescue: Rescue, point_id: str) -> RestorePoint:
        return next(point for point in rescue.points() if point.id == point_id)

    def save(
        self, folder: Path, point_id: str | None = None, **options: Any
    ) -> tuple[PointRescue, Rescue]:
        rescue = self.open()
        packs_of(rescue)
        done = rescue_point(
            repository=rescue.repository,
            point=self.point(rescue, point_id or self.second),
            folder=folder,
            options=RescueOptions(**{"format": "raw", **options}),
            cancel=CancelToken(),
            progress=SilentProgress(),
        )
        return done, rescue

    def content(self, key: str, point_id: str | None = None) -> bytes:
        content: Any = self.engine.acknowledged[point_id or self.second][key]
        return content.read()

    def assert_saved(self, folder: Path, point_id: str | None = None) -> None:
        for key in ("vda", "vdb"):
            assert (folder / f"{key}.img").read_bytes() == self.content(key, point_id)
        for artifact in self.engine.vm.artifacts:
            assert (folder / artifact.name).read_bytes() == artifact.data

    def fingerprint(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in self.root.rglob("*")
        }


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("tpm2/tpm2-00.permall")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"state"))
    return buffer.getvalue()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path / "repository", monkeypatch)


# -- what is missing or damaged, and does not matter ----------------------------------------------


def _no_index(root: Path) -> None:
    shutil.rmtree(root / "index")


def _damaged_index(root: Path) -> None:
    for path in (root / "index").iterdir():
        flip_bit(path, 900)


def _no_leases(root: Path) -> None:
    shutil.rmtree(root / "leases")


def _no_sentinel(root: Path) -> None:
    (root / "sentinel").unlink()


def _damaged_sentinel(root: Path) -> None:
    flip_bit(root / "sentinel", 400)


def _no_config(root: Path) -> None:
    (root / "config").unlink()


def _damaged_config(root: Path) -> None:
    flip_bit(root / "config", 300)


def _altered_config(root: Path) -> None:
    """By somebody without the key, checksum included: another size of chunks."""
    first, _, keyed, _ = (root / "config").read_bytes().split(b"\n")
    text = json.dumps({**json.loads(first), "chunk_bytes": 8192}, sort_keys=True).encode()
    checksum = hashlib.sha256(text).hexdigest().encode()
    (root / "config").write_bytes(b"\n".join((text, checksum, keyed, b"")))


def _odd_files_among_packs(root: Path) -> None:
    (root / "packs" / "readme").write_bytes(b"what is this")


def _a_linked_folder_of_packs(root: Path) -> None:
    (root / "packs" / "zz").symlink_to("/nowhere")


def _damaged_marks(root: Path) -> None:
    (root / "marks").mkdir()
    (root / "marks" / "01a20569-ffff-7fff-bfff-ffffffffffff").write_bytes(bytes(100))


_BEARABLE = (
    _no_index,
    _damaged_index,
    _no_leases,
    _no_sentinel,
    _damaged_sentinel,
    _no_config,
    _damaged_config,
    _altered_config,
    _odd_files_among_packs,
    _a_linked_folder_of_packs,
    _damaged_marks,
)
_SAID = {
    "_no_sentinel": "sentinel",
    "_damaged_sentinel": "sentinel",
    "_no_config": "other objects",
    "_damaged_config": "other objects",
    "_altered_config": "other objects",
    "_a_linked_folder_of_packs": "symbolic link",
}


@pytest.mark.parametrize("damage", _BEARABLE)
def test_everything_is_saved_and_nothing_is_written(
    place: Place, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(place.root)
    before = place.fingerprint()
    done, rescue = place.save(tmp_path / "out")
    assert done.is_whole
    place.assert_saved(tmp_path / "out")
    place.save(tmp_path / "old", place.first)
    place.assert_saved(tmp_path / "old", place.first)
    packs = packs_of(rescue)
    assert [point_health(point, packs) for point in rescue.points()] == ["", ""]
    assert place.fingerprint() == before
    said = _SAID.get(damage.__name__, "")
    assert any(said in problem for problem in rescue.problems) == bool(said)


def test_the_store_refuses_to_be_written(place: Place) -> None:
    rescue = place.open()
    for act in (
        rescue.repository.begin_maintenance,
        lambda: rescue.repository.mark_suspect([place.first], "x"),
        lambda: rescue.repository.delete_point(place.first),
        lambda: rescue.repository.begin_backup(platform="p", vm_id="v", vm_name="v"),
    ):
        with pytest.raises(StoreUnavailable, match="read only"):
            act()


# -- damage that costs something ------------------------------------------------------------------


def test_a_damaged_manifest_costs_its_point_only(place: Place, tmp_path: Path) -> None:
    flip_bit(place.root / "points" / place.first, 500)
    done, rescue = place.save(tmp_path / "out")
    assert done.is_whole
    assert [point.id for point in rescue.points()] == [place.second]
    assert [place.first in problem for problem in rescue.damaged] == [True]


def test_a_damaged_disk_costs_itself_only_and_its_rest_is_given_when_asked(
    place: Place, tmp_path: Path
) -> None:
    repository = place.engine.repository
    manifest = repository.point(place.second).manifest
    repository.load_index()
    (disk,) = [item for item in manifest.disks if item.key == "vda"]
    lost_index, chunk = next(iter(repository.disk_map(disk).data_chunks()))
    location = repository.chunks.locate(chunk, ChunkType.DATA)
    path = next(item for item in pack_files(place.root) if item.name == location.pack_hash.hex())
    flip_bit(path, 8 * (location.offset + 100))

    out = tmp_path / "out"
    done, _ = place.save(out)
    assert {file.what: file.is_there for file in done.files} == {
        "domain.xml": True,
        "nvram": True,
        "tpm.tar": True,
        "vda": False,
        "vdb": True,
    }
    assert not (out / "vda.img").exists()
    assert (out / "vdb.img").read_bytes() == place.content("vdb")
    readme = (out / "README.txt").read_text()
    assert "NOT EVERYTHING COULD BE SAVED" in readme
    assert "--fill-holes-with-zeroes" in readme
    kept = (out / "vdb.img").stat().st_ino

    done, _ = place.save(out, fill_holes=True)
    (file,) = [file for file in done.files if file.what == "vda"]
    assert file.is_there
    assert not done.is_whole
    assert file.holes == [(lost_index * CHUNK_BYTES, CHUNK_BYTES)]
    expected = bytearray(place.content("vda"))
    expected[lost_index * CHUNK_BYTES : (lost_index + 1) * CHUNK_BYTES] = bytes(CHUNK_BYTES)
    assert (out / "vda.img").read_bytes() == bytes(expected)
    assert (out / "vdb.img").stat().st_ino == kept, "what was complete was written again"
    assert f"{CHUNK_BYTES} bytes from byte" in (out / "README.txt").read_text()


def test_missing_packs_show_in_the_health_of_points(place: Place) -> None:
    for path in pack_files(place.root):
        path.unlink()
    rescue = place.open()
    packs = packs_of(rescue)
    assert all("cannot be read" in point_health(point, packs) for point in rescue.points())
    assert any("missing" in problem for problem in rescue.problems)


def test_files_that_cannot_be_read_are_damage_of_themselves(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a disk with bad sectors: the kernel says EIO."""
    bad = str(place.root / "points" / place.first)
    true_open = os.open

    def broken_open(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path) == bad:
            raise OSError(5, "Input/output error")
        return true_open(path, *arguments, **more)

    monkeypatch.setattr(os, "open", broken_open)
    done, rescue = place.save(tmp_path / "out")
    assert done.is_whole
    assert any("Input/output error" in problem for problem in rescue.damaged)


# -- the folder -----------------------------------------------------------------------------------


def test_the_definition_is_ready_for_the_restored_files(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out dir"
    place.save(out, format="qcow2")
    made = parse_domain((out / "define.xml").read_text())
    assert made.uuid == "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
    text = (out / "define.xml").read_text()
    for name in ("vda.qcow2", "vdb.qcow2", "nvram"):
        assert str(out / name) in text
        assert (out / name).exists()
    assert "/old/" not in text
    readme = (out / "README.txt").read_text()
    assert f"virsh define '{out}'/define.xml" in readme
    assert "virsh start" in readme
    assert "tar -xf" in readme


def test_a_folder_with_something_else_in_it_is_left_alone(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "letter").write_text("mine")
    with pytest.raises(TargetExists):
        place.save(out)
    assert [path.name for path in out.iterdir()] == ["letter"]
    (out / "letter").unlink()
    place.save(out)
    with pytest.raises(TargetExists):
        place.save(out, place.first)
    place.save(out)  # the same point again: everything is there
    place.assert_saved(out)


def test_a_run_that_breaks_off_anywhere_is_gone_on_with(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every replacement of the list: what came before it is there, what follows is not."""
    true_replace = Path.replace
    left = 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal left
        if target.name == "rescue.json":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return true_replace(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    for number in range(40):
        out = tmp_path / f"out{number}"
        left = number
        try:
            place.save(out)
        except KeyboardInterrupt:
            left = 1000
            done, _ = place.save(out)
            assert done.is_whole
            place.assert_saved(out)
        else:
            assert number > 5, "no run broke off"
            return
    pytest.fail("no run came to its end")


def test_what_an_earlier_run_completed_stays_on_record(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the run after it breaks off before it comes to that file."""
    out = tmp_path / "out"
    place.save(out)
    (out / "nvram").unlink()
    with monkeypatch.context() as patch:

        def broken(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("holdfast.restore.rescue.new_target", broken)
        with pytest.raises(KeyboardInterrupt):
            place.save(out)
    kept = (out / "vda.img").stat().st_ino
    done, _ = place.save(out)
    assert done.is_whole
    assert (out / "vda.img").stat().st_ino == kept
    place.assert_saved(out)


def test_a_listing_that_breaks_off_gives_what_it_gave(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_list = LocalStore.list

    def broken_list(store: LocalStore, prefix: str) -> Iterator[ObjectInfo]:
        for info in true_list(store, prefix):
            yield info
            if prefix == "points/":
                raise StoreUnavailable(location=store.location, problem="Input/output error")

    rescue = place.open()
    monkeypatch.setattr(LocalStore, "list", broken_list)
    assert len(rescue.points()) == 1
    assert any("in full: Input/output error" in problem for problem in rescue.problems)


def test_hostile_names_stay_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path / "repository", monkeypatch)
    place.engine.vm.artifacts = [
        Artifact(name="../../escape", data=b"a"),
        Artifact(name="README.TXT", data=b"b"),
        Artifact(name="..", data=b"c"),
    ]
    place.engine.vm.add_disk("../vda", CHUNK_BYTES).write(0, b"x")
    place.engine.vm.add_disk("VDA", CHUNK_BYTES).write(0, b"y")
    point = place.engine.back_up().manifest.id
    out = tmp_path / "deep" / "out"
    done, _ = place.save(out, point)
    assert done.is_whole
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    names = [file.name.lower() for file in done.files]
    assert len(set(names)) == len(names) == 7
    assert all((out / file.name).is_file() for file in done.files)
    assert (out / "README.txt").read_text().startswith("guest as it was")
