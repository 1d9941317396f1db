"""Compares what the kernel saw in a file system with what the sandboxed reader says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from holdfast.restore.guest_files.entries import Found, Unreadable
from holdfast.restore.guest_files.reader_process import ReaderLimits
from holdfast.restore.guest_files.session import GuestFiles, open_guest_files
from tests.support.file_block_source import FileBlockSource
from tests.support.filesystems import Tree


@contextmanager
def guest_files(
    disks: Mapping[str, Path], limits: ReaderLimits | None = None
) -> Generator[GuestFiles]:
    with ExitStack() as stack:
        sources = {key: FileBlockSource(path) for key, path in disks.items()}
        for source in sources.values():
            stack.callback(source.close)
        yield stack.enter_context(open_guest_files(sources, limits=limits))


def assert_equal(
    guest: GuestFiles, volume: str, expected: Tree, *, owners: bool = True, times: bool = True
) -> None:
    """Every path, attribute and byte; nothing missing and nothing more."""
    root = f"/{volume}".encode()
    seen: dict[bytes, Found] = {}
    for item in guest.walk(root):
        assert not isinstance(item, Unreadable), item
        assert item.path is not None, item
        seen[os.path.relpath(item.path, root)] = item
    assert sorted(seen) == sorted(expected)
    for path, wanted in expected.items():
        entry = seen[path].entry
        assert entry.error is None, (path, entry)
        assert (entry.type.value, entry.symlink_target) == (wanted.kind, wanted.target), path
        if times:
            assert entry.modified_ns == wanted.modified_ns, path
        if owners:
            assert (entry.mode, entry.uid, entry.gid) == (wanted.mode, wanted.uid, wanted.gid), path
        if wanted.digest is not None:
            assert entry.size_bytes == wanted.size, path
            digest = hashlib.sha1(usedforsecurity=False)
            for data in guest.open(root + b"/" + path).chunks():
                digest.update(data)
            assert digest.hexdigest() == wanted.digest, path
