"""The header of a qcow2 image: its size, and every reason not to open it. Pure and bounded.

Layout: QEMU's docs/interop/qcow2.txt. A header may name other files and ask for features; QEMU
follows both, so the header is judged here before QEMU sees the image.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from holdfast.hypervisors.errors import DamagedImage, UnsupportedImage

MAGIC = b"QFI\xfb"
HEADER_READ_BYTES = 64 * 1024
"""What `parse_header` wants to see: header and extensions lie in the first cluster, and what it
looks for comes in its first bytes; a header that needs more is refused."""

_SECTOR = 512
_V2_HEADER_BYTES = 72
_V3_HEADER_BYTES = 104
_MAX_SIZE_BYTES = 1 << 56

_FEATURE_DIRTY = 1 << 0
_FEATURE_CORRUPT = 1 << 1
_FEATURE_EXTERNAL_DATA = 1 << 2
_FEATURE_COMPRESSION_TYPE = 1 << 3
_FEATURE_EXTENDED_L2 = 1 << 4
_FEATURES_READ = _FEATURE_COMPRESSION_TYPE | _FEATURE_EXTENDED_L2

_EXTENSION_END = 0
_REFUSED_EXTENSIONS = {
    0xE2792ACA: "it names a backing format",
    0x44415441: "its data is in another file",
    0x0537BE77: "it is encrypted (LUKS)",
}
_ENCRYPTION = {1: "AES", 2: "LUKS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Qcow2Header:
    size_bytes: int
    cluster_bytes: int


def parse_header(path: str, head: bytes) -> Qcow2Header:
    """Judge the first `HEADER_READ_BYTES` of the image at `path` (fewer if it is shorter).

    Raises UnsupportedImage and DamagedImage.
    """
    if head[:4] != MAGIC:
        raise UnsupportedImage(
            path=path,
            problem="it does not begin as a qcow2 image",
            advice_text="Name its real format with --format",
        )
    if len(head) < _V2_HEADER_BYTES:
        raise DamagedImage(path=path, problem="it ends inside its header")
    version, backing_offset, backing_length, cluster_bits, size_bytes, encryption = (
        struct.unpack_from(">IQIIQI", head, 4)
    )
    if version not in {2, 3}:
        raise UnsupportedImage(path=path, problem=f"its qcow2 version {version} is not known")
    if backing_offset or backing_length:
        raise UnsupportedImage(
            path=path,
            problem="it has a backing file, so it is only part of a disk",
            advice_text="Make it standalone first: qemu-img convert, or qemu-img rebase -b ''",
        )
    if encryption:
        name = _ENCRYPTION.get(encryption, f"method {encryption}")
        raise UnsupportedImage(path=path, problem=f"it is encrypted ({name})")
    if not 9 <= cluster_bits <= 21:
        raise DamagedImage(path=path, problem=f"its cluster size is 2^{cluster_bits} bytes")
    if size_bytes > _MAX_SIZE_BYTES:
        raise DamagedImage(path=path, problem=f"its header says {size_bytes} bytes")
    if size_bytes % _SECTOR:
        raise UnsupportedImage(
            path=path, problem=f"its size of {size_bytes} bytes is no whole number of sectors"
        )
    extensions_at = _V2_HEADER_BYTES if version == 2 else _check_version3(path, head)
    _check_extensions(path, head, extensions_at)
    return Qcow2Header(size_bytes=size_bytes, cluster_bytes=1 << cluster_bits)


def _check_version3(path: str, head: bytes) -> int:
    """Judge the features; returns where the header ends."""
    if len(head) < _V3_HEADER_BYTES:
        raise DamagedImage(path=path, problem="it ends inside its header")
    (features,) = struct.unpack_from(">Q", head, 72)
    (header_bytes,) = struct.unpack_from(">I", head, 100)
    if features & _FEATURE_EXTERNAL_DATA:
        raise UnsupportedImage(path=path, problem=_REFUSED_EXTENSIONS[0x44415441])
    if features & _FEATURE_CORRUPT:
        raise DamagedImage(path=path, problem="QEMU has marked it as corrupt")
    if features & _FEATURE_DIRTY:
        raise DamagedImage(
            path=path, problem="it was not closed cleanly (qemu-img check -r all mends that)"
        )
    unknown = features & ~_FEATURES_READ
    if unknown:
        raise UnsupportedImage(path=path, problem=f"it needs unknown features ({unknown:#x})")
    if header_bytes < _V3_HEADER_BYTES or header_bytes % 8:
        raise DamagedImage(path=path, problem=f"its header says it is {header_bytes} bytes long")
    return header_bytes


def _check_extensions(path: str, head: bytes, position: int) -> None:
    while True:
        if position + 8 > len(head):
            raise DamagedImage(path=path, problem="its header extensions do not end")
        kind, length = struct.unpack_from(">II", head, position)
        if kind == _EXTENSION_END:
            return
        if kind in _REFUSED_EXTENSIONS:
            raise UnsupportedImage(path=path, problem=_REFUSED_EXTENSIONS[kind])
        position += 8 + -(-length // 8) * 8
