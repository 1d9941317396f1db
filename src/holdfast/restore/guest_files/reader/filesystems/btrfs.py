"""btrfs over dissect, shown from its top level so that every subvolume is reachable.

dissect.btrfs 1.10 wants a zstd module of Python 3.14 or a backport; the decompressor of the
`zstandard` package is put in its place. A directory entry of a subvolume counts only when the root
tree confirms it, as in the kernel: a snapshot holds entries of subvolumes that are not inside it,
and following them never ends. Enter at `BtrfsFileSystem`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from ..device import Device
from ..faults import PARSE_ERRORS, Damaged, describe
from .base import (
    DIRECTORY,
    FILE,
    MAX_PROBLEMS,
    MAX_TARGET_BYTES,
    OTHER,
    SYMLINK,
    Attributes,
    Dirent,
    Problem,
    Stream,
    kind_of_mode,
)

_KINDS = {1: FILE, 2: DIRECTORY, 3: OTHER, 4: OTHER, 5: OTHER, 6: OTHER, 7: SYMLINK}
_KEY_DIR_INDEX = 96
_KEY_INODE = 1
_KEY_ROOT = 132
_KEY_ROOT_REF = 156


class BtrfsFileSystem:
    """See `FileSystem`. A node is one of dissect's inodes."""

    def __init__(self, devices: Sequence[Device]) -> None:
        _provide_zstd()
        module: Any = import_module("dissect.btrfs.btrfs")
        self._structures: Any = import_module("dissect.btrfs.c_btrfs").c_btrfs
        self._fs: Any = module.Btrfs(list(devices))
        self.root: Any = self._fs.fs_tree.root

    def identity(self, node: Any) -> Hashable:
        return (node.subvolume.objectid, node.inum)

    def attributes(self, node: Any) -> Attributes:
        raw = node.inode
        mode = int(raw.mode)
        return Attributes(
            kind=kind_of_mode(mode),
            size=int(raw.size),
            mode=mode & 0o7777,
            uid=int(raw.uid),
            gid=int(raw.gid),
            modified_ns=int(raw.mtime.sec) * 1_000_000_000 + int(raw.mtime.nsec),
        )

    def target(self, node: Any) -> bytes:
        if node.size > MAX_TARGET_BYTES:
            raise Damaged("symbolic link of impossible length")
        return node.open().read(node.size)

    def open(self, node: Any) -> Stream:
        return node.open()

    def scan(self, node: Any) -> Iterator[Dirent | Problem]:
        if kind_of_mode(int(node.inode.mode)) != DIRECTORY:
            raise Damaged(f"inode {node.inum} is not a directory")
        problems = 0
        cursor = node.subvolume.tree.cursor()
        for _, data in cursor.iter(node.inum, _KEY_DIR_INDEX, 2, ignore_offset=True):
            try:
                yield self._dirent(node, data)
            except PARSE_ERRORS as error:
                problems += 1
                yield Problem(text=describe(error))
                if problems >= MAX_PROBLEMS:
                    return

    def _dirent(self, node: Any, data: Any) -> Dirent:
        item = self._structures.btrfs_dir_item(data)
        name = bytes(item.name)
        number = int(item.location.objectid)
        kind = _KINDS.get(int(item.type))
        if item.location.type == _KEY_INODE:
            return Dirent(name=name, node=node.subvolume.inode(number, item.type, None), kind=kind)
        if item.location.type != _KEY_ROOT:
            raise Damaged("directory entry points at neither an inode nor a subvolume")
        try:
            self._fs._root_tree.find(node.subvolume.objectid, _KEY_ROOT_REF, number)
        except KeyError:
            return Dirent(name=name, node=_EmptyDirectory(number), kind=DIRECTORY)
        return Dirent(name=name, node=self._fs.open_subvolume(number).root, kind=DIRECTORY)


class _EmptyDirectory:
    """Stands for a subvolume that was not included in the snapshot that names it."""

    def __init__(self, objectid: int) -> None:
        self.inum = 2
        self.size = 0
        self.subvolume = SimpleNamespace(
            objectid=-objectid, tree=SimpleNamespace(cursor=_EmptyCursor)
        )
        time = SimpleNamespace(sec=0, nsec=0)
        self.inode = SimpleNamespace(mode=0o040555, size=0, uid=0, gid=0, mtime=time)


class _EmptyCursor:
    def iter(self, *_key: int, ignore_offset: bool) -> Iterator[tuple[Any, Any]]:
        del ignore_offset
        return iter(())


def _provide_zstd() -> None:
    stream: Any = import_module("dissect.btrfs.stream")
    if stream.HAS_ZSTD:
        return
    zstandard: Any = import_module("zstandard")
    stream.zstd = SimpleNamespace(
        ZstdDecompressor=lambda: zstandard.ZstdDecompressor().decompressobj()
    )
    stream.HAS_ZSTD = True
