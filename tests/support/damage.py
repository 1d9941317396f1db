"""Damage to stored objects, as disks and storage systems do it, and who is hit by it.

Enter at `flip_packs`. `unreadable_points` is the oracle of what verify reports: it reads every byte
of every point by the public read path.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from holdfast.core.errors import HoldfastError
from holdfast.repository import Credential, Repository
from holdfast.repository.store.store import ObjectStore
from tests.support.oracle import read_point


def pack_files(root: Path) -> list[Path]:
    """The packs of a repository in a folder."""
    return sorted(path for path in (root / "packs").rglob("*") if path.is_file())


def flip_packs(root: Path, share: float, chance: random.Random) -> list[Path]:
    """Flip one bit in that share of the packs, at least one; the damaged ones."""
    files = pack_files(root)
    chosen = chance.sample(files, max(1, round(len(files) * share)))
    for path in chosen:
        flip_bit(path, chance.randrange(path.stat().st_size * 8))
    return chosen


def flip_bit(path: Path, bit: int) -> None:
    """In place, as a disk does it: the file keeps its name, size and times."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def unreadable_points(store: ObjectStore, credential: Credential) -> Sequence[str]:
    """Ids of the points of which something cannot be read, by reading everything."""
    repository = Repository.open(store, credential)
    points = repository.points()
    repository.load_index()
    lost: list[str] = []
    for point in points:
        try:
            read_point(repository, point)
        except HoldfastError:
            lost.append(point.id)
    return sorted(lost)
