"""Volume groups whose metadata is old on some disks, wraps around, or is nonsense."""

from __future__ import annotations

import struct

import pytest

from holdfast.restore.guest_files.reader.device import Device
from holdfast.restore.guest_files.reader.lvm import LogicalVolume, read_groups

AREA_START, AREA_SIZE = 4096, 64 * 1024
EXTENT = 4096
DATA_START = 128 * 1024
IDS = ("A" * 32, "B" * 32)


class Memory(Device):
    def __init__(self, content: bytes) -> None:
        super().__init__(len(content))
        self.content = content

    def pread(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]


def _text(sequence: int, segments: str, name: str = "root") -> str:
    physical = "".join(
        f'pv{n} {{\nid = "{identity}"\nstatus = ["ALLOCATABLE"]\n'
        f"pe_start = {DATA_START // 512}\npe_count = 16\n}}\n"
        for n, identity in enumerate(IDS)
    )
    return (
        f'vg {{\nid = "group"\nseqno = {sequence}\nextent_size = {EXTENT // 512}\n'
        f"physical_volumes {{\n{physical}}}\nlogical_volumes {{\n"
        f'{name} {{\nid = "volume"\nstatus = ["READ", "VISIBLE"]\nsegment_count = 1\n'
        f"{segments}}}\n}}\n}}\n"
    )


def _segment(kind: str, extents: int, more: str) -> str:
    return f'segment1 {{\nstart_extent = 0\nextent_count = {extents}\ntype = "{kind}"\n{more}\n}}\n'


LINEAR = _segment("striped", 2, 'stripe_count = 1\nstripes = ["pv0", 1]')


def _disk(identity: str, text: str, *, offset: int = 512) -> Memory:
    """A physical volume whose metadata text begins at `offset` of its ring."""
    disk = bytearray(DATA_START)
    for extent in range(16):
        disk += bytes([ord(identity[0]) + extent]) * EXTENT
    label = struct.pack("<8sQII8s", b"LABELONE", 1, 0, 32, b"LVM2 001")
    locations = struct.pack("<QQQQ", DATA_START, 0, 0, 0)
    locations += struct.pack("<QQQQ", AREA_START, AREA_SIZE, 0, 0)
    header = label + identity.encode() + struct.pack("<Q", len(disk)) + locations
    disk[512 : 512 + len(header)] = header
    raw = text.encode() + b"\0"
    area = struct.pack("<I16sIQQ", 0, b" LVM2 x[5A%r0N*>", 1, AREA_START, AREA_SIZE)
    area += struct.pack("<QQII", offset, len(raw), 0, 0)
    disk[AREA_START : AREA_START + len(area)] = area
    first = raw[: AREA_SIZE - offset]
    disk[AREA_START + offset : AREA_START + offset + len(first)] = first
    rest = raw[len(first) :]
    disk[AREA_START + 512 : AREA_START + 512 + len(rest)] = rest
    return Memory(bytes(disk))


def _only(volumes: list[LogicalVolume]) -> LogicalVolume:
    assert len(volumes) == 1
    return volumes[0]


def test_a_linear_volume() -> None:
    volumes, problems = read_groups([_disk(IDS[0], _text(1, LINEAR))])
    volume = _only(volumes)
    assert (volume.group, volume.name, problems) == ("vg", "root", [])
    assert volume.device is not None
    assert volume.device.read() == b"B" * EXTENT + b"C" * EXTENT


def test_metadata_that_wraps_around_its_area() -> None:
    text = _text(1, LINEAR)
    volumes, problems = read_groups([_disk(IDS[0], text, offset=AREA_SIZE - 100)])
    assert problems == []
    assert _only(volumes).device is not None


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_newest_metadata_counts(newest_first: bool) -> None:
    old = _disk(IDS[0], _text(7, LINEAR, name="old"))
    new = _disk(IDS[1], _text(8, LINEAR, name="new"))
    volumes, _ = read_groups([new, old] if newest_first else [old, new])
    assert _only(volumes).name == "new"


def test_stripes_alternate() -> None:
    more = 'stripe_count = 2\nstripe_size = 4\nstripes = ["pv0", 0, "pv1", 2]'
    text = _text(1, _segment("striped", 2, more))
    volumes, _ = read_groups([_disk(IDS[0], text), _disk(IDS[1], text)])
    device = _only(volumes).device
    assert device is not None
    assert device.read() == (b"A" * 2048 + b"D" * 2048) * 2
    device.seek(3000)
    assert device.read(2000) == b"D" * 1096 + b"A" * 904


@pytest.mark.parametrize(
    ("segments", "problem"),
    [
        (_segment("striped", 2, 'stripe_count = 1\nstripes = ["pv1", 0]'), "not among the disks"),
        (_segment("striped", 2, 'stripe_count = 1\nstripes = ["root", 0]'), "contain each other"),
        (_segment("vdo", 2, ""), "of type vdo"),
        (_segment("striped", 1 << 60, 'stripe_size = 1\nstripes = ["pv0", 0, "pv0", 0]'), "many"),
        (_segment("striped", 2, "stripe_count = 1"), "stripes"),
    ],
)
def test_volumes_that_cannot_be_put_together_say_why(segments: str, problem: str) -> None:
    volumes, _ = read_groups([_disk(IDS[0], _text(1, segments))])
    volume = _only(volumes)
    assert volume.device is None
    assert problem in volume.problem


def test_nonsense_is_reported_beside_what_is_sound() -> None:
    sound = _disk(IDS[0], _text(1, LINEAR))
    broken = _disk(IDS[1], "vg {\nid = __import__('os')\n}\n")
    volumes, problems = read_groups([broken, Memory(bytes(4096)), sound])
    assert _only(volumes).device is not None
    assert len(problems) == 2
