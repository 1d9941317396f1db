"""The disk that is measured: an ext4 file system made of this system's own files, and the changes
made to it.

Enter at `source_disk` and `changed_ranges`. Reads nothing but files that every user may read;
needs no mount and no privileges.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from holdfast.core.units import GIB, KIB

CHANGED_RANGE_BYTES = 64 * KIB
_LAYOUT = 2
_MKFS_TIMEOUT_S = 900
_INODE_RATIO = 16 * KIB
_FILE_SYSTEM_ID = "6c6b4fd0-5a1e-4c55-9a55-2f0f5d1c9b01"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpec:
    """What the disk is made of. Disks of equal specs are made once and kept."""

    size_bytes: int = 4 * GIB
    content_bytes: int = 3 * GIB
    """Files to put on it, in blocks they take."""
    roots: Sequence[str] = ("/usr", "/opt")
    """Folders to take them from: the next one only when those before are too small."""

    @property
    def key(self) -> str:
        text = json.dumps([_LAYOUT, asdict(self)], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDisk:
    path: Path
    size_bytes: int
    files: int
    content_bytes: int
    """Sum of the sizes of the files."""
    roots: Sequence[str]
    """Folders whose files are on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    path: Path
    size_bytes: int
    allocated_bytes: int


def source_disk(work: Path, spec: DiskSpec, *, rebuild: bool = False) -> SourceDisk:
    """The disk of that spec below `work`, made when it is not there yet (about two minutes)."""
    path = work / f"disk-{spec.key}.raw"
    about = path.with_suffix(".json")
    if rebuild or not (path.exists() and about.exists()):
        about.unlink(missing_ok=True)
        about.write_text(json.dumps(_build(path, spec)))
    found = json.loads(about.read_text())
    return SourceDisk(path=path, size_bytes=spec.size_bytes, **found)


def changed_ranges(size_bytes: int, share: float, seed: int) -> list[int]:
    """Offsets of aligned ranges of `CHANGED_RANGE_BYTES`, `share` of the disk, ascending."""
    slots = size_bytes // CHANGED_RANGE_BYTES
    chosen = random.Random(seed).sample(range(slots), max(1, round(slots * share)))
    return sorted(slot * CHANGED_RANGE_BYTES for slot in chosen)


def changed_content(offset: int, seed: int) -> bytes:
    """New bytes of one range: random, so that no tool gains by compressing them."""
    return random.Random(f"{seed}:{offset}").randbytes(CHANGED_RANGE_BYTES)


def change(path: Path, offsets: Sequence[int], seed: int) -> None:
    """Write new bytes into a raw image."""
    with path.open("r+b", buffering=0) as file:
        for offset in offsets:
            os.pwrite(file.fileno(), changed_content(offset, seed), offset)
        os.fsync(file.fileno())


def copy_disk(source: Path, target: Path) -> None:
    """A new file with the same content and the same holes."""
    command = ["cp", "--sparse=always", "--reflink=auto", str(source), str(target)]
    subprocess.run(command, check=True, timeout=_MKFS_TIMEOUT_S)


def _build(path: Path, spec: DiskSpec) -> dict[str, object]:
    stage = path.with_suffix(".stage")
    shutil.rmtree(stage, ignore_errors=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        entries, roots = _choose(spec)
        _stage(entries, stage)
        _make_file_system(stage, unfinished, spec, len(entries))
        unfinished.replace(path)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        unfinished.unlink(missing_ok=True)
    content = sum(entry.size_bytes for entry in entries)
    return {"files": len(entries), "content_bytes": content, "roots": roots}


def _choose(spec: DiskSpec) -> tuple[list[_Entry], list[str]]:
    """All files of a root, or where they are too many a share of them chosen by the hash of the
    path: a cross-section of the folder instead of its first letters."""
    chosen: list[_Entry] = []
    roots: list[str] = []
    remaining = spec.content_bytes
    for root in spec.roots:
        if remaining < spec.content_bytes // 20 or not Path(root).is_dir():
            continue
        entries = list(_regular_files(Path(root)))
        total = sum(entry.allocated_bytes for entry in entries)
        if total > remaining:
            entries = [entry for entry in entries if _draw(entry.path) < remaining / total]
        # A few large files decide whether the drawn share comes out below or above.
        for entry in entries:
            if entry.allocated_bytes <= remaining:
                chosen.append(entry)
                remaining -= entry.allocated_bytes
        roots.append(root)
    return chosen, roots


def _regular_files(root: Path) -> Iterator[_Entry]:
    device = root.stat().st_dev
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if Path(folder, name).lstat().st_dev == device)
        for name in sorted(names):
            path = Path(folder, name)
            status = path.lstat()
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                blocks = -(-status.st_size // 4096) * 4096
                yield _Entry(path=path, size_bytes=status.st_size, allocated_bytes=blocks)


def _draw(path: Path) -> float:
    """A number in [0, 1) that belongs to the path."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _stage(entries: Sequence[_Entry], stage: Path) -> None:
    """Copies of the files. Hard links would be quicker, but they change the time stamps of the
    originals: libvirt, for one, then takes QEMU for another program and probes it anew."""
    for entry in entries:
        target = stage / entry.path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(entry.path, target)


def _make_file_system(stage: Path, path: Path, spec: DiskSpec, files: int) -> None:
    with path.open("xb") as file:
        file.truncate(spec.size_bytes)
    inodes = max(spec.size_bytes // _INODE_RATIO, files * 2)
    options = f"hash_seed={_FILE_SYSTEM_ID},lazy_itable_init=1,root_owner=0:0"
    command = ["mkfs.ext4", "-q", "-F", "-m", "0", "-U", _FILE_SYSTEM_ID, "-N", str(inodes)]
    command += ["-E", options, "-d", str(stage), str(path)]
    subprocess.run(command, check=True, timeout=_MKFS_TIMEOUT_S)
