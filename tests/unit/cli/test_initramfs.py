"""The guest's root file system: kernel choice, order of modules, and the archive itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.cli.demo.errors import HostNotReady
from holdfast.cli.demo.initramfs import find_kernel, resolve_modules

RELEASE = "6.1.0-9-cloud-amd64"


def make_kernel(root: Path, release: str, *, with_modules: bool = True) -> None:
    (root / "boot").mkdir(exist_ok=True)
    (root / "boot" / f"vmlinuz-{release}").write_bytes(b"kernel")
    if with_modules:
        (root / "modules" / release).mkdir(parents=True)
        (root / "modules" / release / "modules.dep").write_text("")


def chosen(root: Path) -> str:
    return find_kernel(boot=root / "boot", modules=root / "modules").release


def test_newest_kernel_by_number_not_by_text(tmp_path: Path) -> None:
    for release in ("6.1.0-9-amd64", "6.1.0-56-amd64"):
        make_kernel(tmp_path, release)

    assert chosen(tmp_path) == "6.1.0-56-amd64"


def test_cloud_kernel_wins_over_a_newer_one(tmp_path: Path) -> None:
    for release in ("6.12.0-1-amd64", "6.1.0-56-cloud-amd64"):
        make_kernel(tmp_path, release)

    assert chosen(tmp_path) == "6.1.0-56-cloud-amd64"


def test_kernel_without_modules_is_no_kernel(tmp_path: Path) -> None:
    make_kernel(tmp_path, RELEASE, with_modules=False)

    with pytest.raises(HostNotReady, match="linux-image-cloud-amd64"):
        chosen(tmp_path)


def module_folder(tmp_path: Path, dependencies: str, built_in: str) -> Path:
    (tmp_path / "modules.dep").write_text(dependencies)
    (tmp_path / "modules.builtin").write_text(built_in)
    return tmp_path


def test_modules_come_after_those_they_need_and_once(tmp_path: Path) -> None:
    folder = module_folder(
        tmp_path,
        "v/virtio-pci.ko.xz: v/virtio.ko v/virtio_ring.ko\n"
        "v/virtio_blk.ko: v/virtio.ko v/virtio_ring.ko\n"
        "v/virtio_console.ko: v/virtio.ko v/virtio_ring.ko\n"
        "v/virtio.ko: v/virtio_ring.ko\n"
        "v/virtio_ring.ko:\n"
        "f/xfs.ko: l/libcrc32c.ko\n"
        "l/libcrc32c.ko:\n"
        "f/btrfs.ko:\n",
        "kernel/fs/ext4/ext4.ko\n",
    )

    assert [path.name for path in resolve_modules(folder)] == [
        "virtio_ring.ko",
        "virtio.ko",
        "virtio-pci.ko.xz",
        "virtio_blk.ko",
        "virtio_console.ko",
        "libcrc32c.ko",
        "xfs.ko",
    ]


def test_missing_required_module_is_named(tmp_path: Path) -> None:
    folder = module_folder(tmp_path, "v/virtio_pci.ko:\n", "")

    with pytest.raises(HostNotReady, match="virtio_blk"):
        resolve_modules(folder)
