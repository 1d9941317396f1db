"""The few fields of a qcow2 header that decide how a disk may be captured. Read only from images
that the VM's definition calls qcow2: a format is never guessed from guest-written bytes.

Layout: QEMU's docs/interop/qcow2.txt, "Header".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"QFI\xfb"
_EXTERNAL_DATA_FILE = 1 << 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Qcow2Header:
    version: int
    size_bytes: int
    has_backing_file: bool
    has_external_data_file: bool

    @property
    def holds_bitmaps(self) -> bool:
        return self.version >= 3


def read_qcow2_header(path: Path) -> Qcow2Header | None:
    """The header of the image, or None when this process may not read it or it is not qcow2."""
    try:
        with path.open("rb") as image:
            head = image.read(80)
    except OSError:
        return None
    if len(head) < 72 or head[:4] != _MAGIC:
        return None
    version, backing_offset = struct.unpack_from(">IQ", head, 4)
    (size_bytes,) = struct.unpack_from(">Q", head, 24)
    features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 and len(head) >= 80 else 0
    return Qcow2Header(
        version=version,
        size_bytes=size_bytes,
        has_backing_file=backing_offset != 0,
        has_external_data_file=bool(features & _EXTERNAL_DATA_FILE),
    )
