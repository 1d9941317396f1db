"""The small objects of one folder of a distant repository, kept in one local file.

A copy counts as long as the storage lists an object of the same name, size and time. It holds the
sealed bytes as they came, so that whoever opens one finds out when it is not what it should be, and
asks the storage itself. The file may be deleted at any time; one that is not whole is no file.

Enter at `KeptObjects`.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from holdfast.repository.store.store import ObjectInfo

_MAGIC = b"HFKEPT1\n"
_RECORD = struct.Struct("<HQqI")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FEW = 16
_SHARE = 64
"""The file is written anew for more news than this number, and than one in so many of all: else
every backup would write all of them for the one that the last one added."""


class KeptObjects:
    """Not thread-safe; several processes may share a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[ObjectInfo, bytes]:
        """Every copy, by what the storage listed when it was made."""
        try:
            kept = dict(_records(self._path.read_bytes()))
            os.utime(self._path)  # a clean-up begins with what was used longest ago
        except (OSError, ValueError, OverflowError, struct.error):
            return {}
        return kept

    def write(self, objects: Mapping[ObjectInfo, bytes], known: Collection[ObjectInfo]) -> None:
        """Keep `objects` in place of the `known` ones, if the difference is worth it."""
        news = len(objects.keys() ^ set(known))
        if news <= max(_FEW, len(objects) // _SHARE):
            return
        with suppress(OSError):  # a full disk here is no reason to fail
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._path.with_name(f".tmp-{secrets.token_hex(8)}")
            try:
                with open(temporary, "xb", opener=_private) as file:
                    file.write(_MAGIC)
                    for info, data in objects.items():
                        key = info.key.encode()
                        moment = (info.modified - _EPOCH) // _MICROSECOND
                        head = _RECORD.pack(len(key), info.size_bytes, moment, len(data))
                        file.writelines((head, key, data))
                temporary.replace(self._path)
            finally:
                temporary.unlink(missing_ok=True)


def _records(data: bytes) -> Iterator[tuple[ObjectInfo, bytes]]:
    """Raises ValueError, OverflowError or struct.error for anything but a whole file."""
    if not data.startswith(_MAGIC):
        raise ValueError("not such a file")
    position = len(_MAGIC)
    while position < len(data):
        key_bytes, size_bytes, moment, data_bytes = _RECORD.unpack_from(data, position)
        start = position + _RECORD.size + key_bytes
        key = data[position + _RECORD.size : start].decode()
        position = start + data_bytes
        if position > len(data):
            raise ValueError("it ends too early")
        modified = _EPOCH + moment * _MICROSECOND
        info = ObjectInfo(key=key, size_bytes=size_bytes, modified=modified)
        yield info, data[start:position]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
