"""The document handed to the process that serves a disk: the repository with its key, the disk,
and where Holdfast's code is. It travels through a pipe and is read once."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import holdfast
from holdfast.repository import DiskRecord, Repository

LARGEST_BYTES = 4096
"""Less than a pipe holds: writing it never waits for the reader."""


def encode_handover(repository: Repository, disk: DiskRecord) -> bytes:
    """Holds the master key in clear; see `Repository.share`."""
    document = {
        "python": list(sys.version_info[:2]),
        "paths": _code_paths(),
        "repository": repository.share(),
        "disk": {
            "key": disk.key,
            "size_bytes": disk.size_bytes,
            "format": disk.format,
            "root": disk.root.hex(),
            "height": disk.height,
        },
    }
    encoded = json.dumps(document).encode()
    if len(encoded) > LARGEST_BYTES:
        raise ValueError(f"a handover of {len(encoded)} bytes")
    return encoded


def decode_disk(document: Mapping[str, Any]) -> DiskRecord:
    """The disk's content. How it was captured is not handed over and reads as nothing."""
    return DiskRecord(
        key=str(document["key"]),
        size_bytes=int(document["size_bytes"]),
        format=str(document["format"]),
        root=bytes.fromhex(document["root"]),
        height=int(document["height"]),
        mode="",
        reason="",
        read_bytes=0,
        changed_bytes=0,
        stored_bytes=0,
        proven=False,
        token=None,
    )


def _code_paths() -> list[str]:
    """Folders in which a Python outside our virtual environment finds Holdfast and its libraries.
    Not `sys.path`: that may name the user's current folder."""
    installed = sysconfig.get_paths()
    ours = str(Path(holdfast.__file__).parent.parent)
    return list(dict.fromkeys([ours, installed["purelib"], installed["platlib"]]))
