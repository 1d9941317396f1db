"""The header and descriptor of a VMDK: its size, and every reason not to open it. Pure, bounded.

Accepted: one file that holds everything (`monolithicSparse`, `streamOptimized`). A descriptor can
name any other file of the host as an extent or parent, and QEMU would read it, so descriptors are
judged here before QEMU sees the image. Layout: VMware "Virtual Disk Format 5.0".
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from holdfast.hypervisors.errors import DamagedImage, UnsupportedImage

MAGIC = b"KDMV"
HEADER_READ_BYTES = 1024 * 1024
"""What `parse_header` wants to see. The descriptor follows the header and is 10 KiB by custom."""

_SECTOR = 512
_MAX_SECTORS = 1 << 47
_ACCEPTED_TYPES = frozenset({"monolithicSparse", "streamOptimized"})
_NO_PARENT = "ffffffff"
_SETTING = re.compile(r'^\s*([A-Za-z.]+)\s*=\s*"?([^"]*)"?\s*$')
_EXTENT = re.compile(r"^\s*(RW|RDONLY|NOACCESS)\b")
_SPARSE_EXTENT = re.compile(r'^\s*RW\s+(\d+)\s+SPARSE\s+"([^"]*)"\s*$')


@dataclass(frozen=True, slots=True, kw_only=True)
class VmdkHeader:
    size_bytes: int


def parse_header(path: str, head: bytes) -> VmdkHeader:
    """Judge the first `HEADER_READ_BYTES` of the image at `path` (fewer if it is shorter).

    Raises UnsupportedImage and DamagedImage.
    """
    if head[:4] != MAGIC:
        raise _other_kind(path, head)
    if len(head) < _SECTOR:
        raise DamagedImage(path=path, problem="it ends inside its header")
    version, _flags, capacity, _grain, descriptor_at, descriptor_length = struct.unpack_from(
        "<IIQQQQ", head, 4
    )
    if version not in {1, 2, 3}:
        raise UnsupportedImage(path=path, problem=f"its VMDK version {version} is not known")
    # QEMU takes a header without capacity for a descriptor that may name other files.
    if capacity == 0 or descriptor_at == 0 or descriptor_length == 0:
        raise UnsupportedImage(path=path, problem="it has no descriptor and size of its own")
    if capacity > _MAX_SECTORS:
        raise DamagedImage(path=path, problem=f"its header says {capacity} sectors")
    start, end = descriptor_at * _SECTOR, (descriptor_at + descriptor_length) * _SECTOR
    if end > len(head):
        raise DamagedImage(path=path, problem="its descriptor is not where its header says")
    text = head[start:end].split(b"\0", 1)[0].decode("utf-8", "replace")
    _check_descriptor(path, text, capacity)
    return VmdkHeader(size_bytes=capacity * _SECTOR)


def _check_descriptor(path: str, text: str, capacity: int) -> None:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    # A setting given twice may be read differently by QEMU: every value has to pass.
    settings = [
        (match[1].lower(), match[2].strip()) for line in lines if (match := _SETTING.match(line))
    ]
    types = {value for key, value in settings if key == "createtype"}
    if not types or not types <= _ACCEPTED_TYPES:
        shown = ", ".join(sorted(types)) or "missing"
        raise UnsupportedImage(
            path=path, problem=f"its type is {shown}; only single sparse files are read"
        )
    parents = {value.lower() for key, value in settings if key == "parentcid"}
    # QEMU looks for the hint anywhere in the text, also in comments.
    if parents - {_NO_PARENT} or "parentfilenamehint" in text.lower():
        raise UnsupportedImage(
            path=path,
            problem="it has a parent, so it is only part of a disk",
            advice_text="Consolidate the VM's snapshots first",
        )
    extents = [line for line in lines if _EXTENT.match(line)]
    matched = _SPARSE_EXTENT.match(extents[0]) if len(extents) == 1 else None
    # The name in the file need not be its present one: people rename images, and QEMU does not
    # look at it here.
    if matched is None or "/" in matched[2]:
        raise UnsupportedImage(path=path, problem="its data is not in this one file")
    if int(matched[1]) != capacity:
        raise DamagedImage(path=path, problem="its header and its descriptor differ in size")


def _other_kind(path: str, head: bytes) -> UnsupportedImage:
    if head.lstrip().startswith(b"# Disk DescriptorFile"):
        problem = "it is only a descriptor; its data is in other files"
    elif head[:4] == b"COWD":
        problem = "it is an ESX snapshot disk"
    else:
        return UnsupportedImage(
            path=path,
            problem="it does not begin as a sparse VMDK",
            advice_text="Name its real format with --format, or convert it to raw or qcow2",
        )
    return UnsupportedImage(path=path, problem=problem)
