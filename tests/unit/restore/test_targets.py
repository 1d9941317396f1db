"""What is written to a raw target arrives, past the page cache or through it."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.units import KIB, MIB
from holdfast.restore.targets import new_target

_SIZE = 3 * MIB + 511


@pytest.fixture
def area() -> Iterator[memoryview]:
    """Memory at the beginning of a page, as restores use."""
    with mmap.mmap(-1, 4 * MIB) as memory, memoryview(memory) as view:
        view[:_SIZE] = random.Random(4).randbytes(_SIZE)
        yield view


def _folders() -> list[Path]:
    """A file system with and one without writes past the cache, where this machine has them."""
    return [Path("/dev/shm"), Path("/var/tmp")]  # noqa: S108 - of the test's own name


@pytest.mark.parametrize("folder", _folders(), ids=str)
@pytest.mark.parametrize("shift", [0, 1])
def test_pieces_of_any_place_and_length(folder: Path, shift: int, area: memoryview) -> None:
    path = folder / f"holdfast-test-{os.getpid()}-{shift}.raw"
    expected = bytearray(_SIZE)
    pieces = [
        (0, 64 * KIB),
        (64 * KIB, 4 * KIB),
        (100 * KIB, 511),
        (200 * KIB + 1, 8 * KIB),
        (MIB, 128 * KIB + 512),
        (3 * MIB, 511),
    ]
    try:
        with new_target(path, "raw", _SIZE) as target:
            writer = target.open_writer()
            for offset, length in pieces:
                data = area[offset + shift : offset + shift + length]
                writer.write(offset, data)
                expected[offset : offset + length] = data
            writer.close()
        assert path.read_bytes() == expected
        assert path.stat().st_blocks * 512 < 600 * KIB, "what was not written takes no space"
    finally:
        path.unlink(missing_ok=True)


def test_a_file_system_that_refuses_at_the_write(
    tmp_path: Path, area: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with larger blocks than ours lets the file be opened and refuses the write."""
    real = os.pwrite

    def refusing(descriptor: int, data: memoryview, offset: int) -> int:
        flags = int(
            next(
                line.split()[1]
                for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
                if line.startswith("flags:")
            ),
            8,
        )
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", refusing)
    path = tmp_path / "disk.raw"
    with new_target(path, "raw", MIB) as target:
        writer = target.open_writer()
        for offset in range(0, MIB, 256 * KIB):
            writer.write(offset, area[offset : offset + 256 * KIB])
        writer.close()
    assert path.read_bytes() == area[:MIB]
