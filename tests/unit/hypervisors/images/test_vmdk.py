"""Which VMDK headers and descriptors are accepted, and why the others are not."""

from __future__ import annotations

import random
import struct

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.hypervisors.errors import DamagedImage, UnsupportedImage
from holdfast.hypervisors.images.vmdk import parse_header

SECTORS = 204800

DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=8e2e0b2d
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW 204800 SPARSE "a.vmdk"

# The Disk Data Base
#DDB
ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "203"
"""


def header(
    descriptor: str = DESCRIPTOR,
    *,
    magic: bytes = b"KDMV",
    version: int = 1,
    capacity: int = SECTORS,
    at: int = 1,
    length: int = 20,
) -> bytes:
    start = struct.pack("<4sIIQQQQIQQQ", magic, version, 3, capacity, 128, at, length, *(512,) * 4)
    return start.ljust(512, b"\0") + descriptor.encode().ljust(20 * 512, b"\0") + bytes(4096)


@pytest.mark.parametrize(
    "head",
    [
        header(),
        header(version=3),
        header(DESCRIPTOR.replace("monolithicSparse", "streamOptimized")),
        header(DESCRIPTOR.replace("a.vmdk", "renamed since.vmdk")),
        header(DESCRIPTOR.replace("\n", "\r\n")),
        header(DESCRIPTOR.replace("ffffffff", "FFFFFFFF")),
    ],
)
def test_accepted(head: bytes) -> None:
    assert parse_header("a.vmdk", head).size_bytes == SECTORS * 512


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (DESCRIPTOR.encode(), "only a descriptor"),
        (b"\n# Disk DescriptorFile\n", "only a descriptor"),
        (header(magic=b"COWD"), "ESX"),
        (header(magic=b"QFI\xfb"), "does not begin"),
        (b"", "does not begin"),
        (header(version=4), "version 4"),
        (header(capacity=0), "no descriptor and size"),
        (header(at=0), "no descriptor"),
        (header(length=0), "no descriptor"),
        (header(DESCRIPTOR.replace("monolithicSparse", "monolithicFlat")), "monolithicFlat"),
        (header(DESCRIPTOR.replace("monolithicSparse", "twoGbMaxExtentSparse")), "twoGb"),
        (header(DESCRIPTOR.replace("createType", "x")), "missing"),
        (header(DESCRIPTOR + 'createType="vmfs"\n'), "vmfs"),
        (header(DESCRIPTOR.replace("ffffffff", "12345678")), "parent"),
        (header(DESCRIPTOR + "parentCID=12345678\n"), "parent"),
        (header(DESCRIPTOR + 'parentFileNameHint="/etc/shadow"\n'), "parent"),
        (header(DESCRIPTOR + '# parentFileNameHint="/etc/shadow"\n'), "parent"),
        (header(DESCRIPTOR + 'x parentFileNameHint="/etc/shadow"\n'), "parent"),
        (header(DESCRIPTOR.replace("SPARSE", "FLAT")), "one file"),
        (header(DESCRIPTOR.replace('"a.vmdk"', '"a-flat.vmdk" 0')), "one file"),
        (header(DESCRIPTOR.replace("a.vmdk", "/etc/shadow")), "one file"),
        (header(DESCRIPTOR.replace("a.vmdk", "../a.vmdk")), "one file"),
        (header(DESCRIPTOR + 'RW 100 FLAT "/etc/shadow" 0\n'), "one file"),
        (header(DESCRIPTOR + 'RW 204800 SPARSE "b.vmdk"\n'), "one file"),
        (header(DESCRIPTOR.replace('RW 204800 SPARSE "a.vmdk"', "")), "one file"),
        (header(""), "missing"),
    ],
)
def test_refused(head: bytes, problem: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        parse_header("a.vmdk", head)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (header()[:100], "inside its header"),
        (header(length=1 << 40), "not where"),
        (header(at=1 << 50), "not where"),
        (header()[:2000], "not where"),
        (header(capacity=1 << 60), "sectors"),
        (header(capacity=SECTORS + 1), "differ in size"),
    ],
)
def test_damaged(head: bytes, problem: str) -> None:
    with pytest.raises(DamagedImage) as caught:
        parse_header("a.vmdk", head)
    assert problem in str(caught.value)


def test_noise_ends_in_an_error_of_ours_or_the_same_size() -> None:
    chance = random.Random(5)
    for _ in range(3000):
        head = bytearray(header())
        for _ in range(chance.randrange(1, 4)):
            head[chance.choice([chance.randrange(4, 80), chance.randrange(512, 900)])] = (
                chance.randrange(256)
            )
        try:
            parsed = parse_header("a.vmdk", bytes(head))
        except HoldfastError:
            continue
        assert parsed.size_bytes > 0
