"""Which qcow2 headers are accepted, and why the others are not."""

from __future__ import annotations

import random
import struct

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.hypervisors.errors import DamagedImage, UnsupportedImage
from holdfast.hypervisors.images.qcow2 import parse_header


def header(
    *,
    version: int = 3,
    backing: tuple[int, int] = (0, 0),
    cluster_bits: int = 16,
    size_bytes: int = 1 << 30,
    encryption: int = 0,
    features: int = 0,
    header_bytes: int = 104,
    extensions: bytes = bytes(8),
) -> bytes:
    start = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", version, *backing, cluster_bits, size_bytes, encryption),
        *(2, 3 << 16, 1 << 16, 1, 0, 0),
    )
    if version == 3:
        start += struct.pack(">QQQII", features, 0, 0, 4, header_bytes)
        start += bytes(max(header_bytes, 104) - 104)
    return (start + extensions).ljust(4096, b"\0")


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")


@pytest.mark.parametrize(
    "head",
    [
        header(),
        header(version=2),
        header(header_bytes=112),
        header(size_bytes=0),
        header(features=1 << 3 | 1 << 4),
        header(extensions=extension(0x6803F857, b"x" * 49) + bytes(8)),
        header(extensions=extension(0x23852875, b"x" * 24) + bytes(8)),
        header(cluster_bits=9),
        header(cluster_bits=21),
    ],
)
def test_accepted(head: bytes) -> None:
    parsed = parse_header("a.qcow2", head)
    assert parsed.size_bytes in {0, 1 << 30}
    assert parsed.cluster_bytes in {1 << 9, 1 << 16, 1 << 21}


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"", "does not begin"),
        (b"KDMV" + bytes(600), "does not begin"),
        (header(version=1), "version 1"),
        (header(version=4), "version 4"),
        (header(backing=(512, 12)), "backing file"),
        (header(backing=(512, 0)), "backing file"),
        (header(backing=(0, 12)), "backing file"),
        (header(version=2, backing=(512, 12)), "backing file"),
        (header(encryption=1), "AES"),
        (header(encryption=2), "LUKS"),
        (header(encryption=9), "method 9"),
        (header(features=1 << 2), "another file"),
        (header(features=1 << 5), "0x20"),
        (header(features=1 << 63), "unknown features"),
        (header(size_bytes=1000), "sectors"),
        (header(extensions=extension(0xE2792ACA, b"raw") + bytes(8)), "backing format"),
        (header(extensions=extension(0x44415441, b"/etc/shadow") + bytes(8)), "another file"),
        (header(extensions=extension(0x0537BE77, b"x" * 16) + bytes(8)), "LUKS"),
        (
            header(extensions=extension(1, b"x" * 9) + extension(0x44415441, b"d") + bytes(8)),
            "another file",
        ),
    ],
)
def test_refused(head: bytes, problem: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        parse_header("a.qcow2", head)
    assert problem in str(caught.value)
    assert "a.qcow2" in str(caught.value)


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (header()[:40], "inside its header"),
        (header()[:103], "inside its header"),
        (header(cluster_bits=8), "2^8"),
        (header(cluster_bits=22), "2^22"),
        (header(cluster_bits=63), "cluster size"),
        (header(size_bytes=1 << 63), "says"),
        (header(features=1 << 0), "closed cleanly"),
        (header(features=1 << 1), "corrupt"),
        (header(header_bytes=96), "96"),
        (header(extensions=extension(7, b"x" * 3984)), "do not end"),
        (header(extensions=struct.pack(">II", 7, 0xFFFFFFFF)), "do not end"),
    ],
)
def test_damaged(head: bytes, problem: str) -> None:
    with pytest.raises(DamagedImage) as caught:
        parse_header("a.qcow2", head)
    assert problem in str(caught.value)


def test_noise_ends_in_an_error_of_ours_or_a_header() -> None:
    chance = random.Random(5)
    for _ in range(3000):
        head = bytearray(header(version=chance.choice([2, 3])))
        for _ in range(chance.randrange(1, 6)):
            head[chance.randrange(4, 130)] = chance.randrange(256)
        try:
            parsed = parse_header("a.qcow2", bytes(head[: chance.choice([60, 90, 110, 4096])]))
        except HoldfastError:
            continue
        assert parsed.size_bytes % 512 == 0
