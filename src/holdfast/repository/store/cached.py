"""A local copy of what a distant repository need not send twice: its index objects and bundles, and
by `kept_objects` what their reader accepts from a copy.

Those objects never change and their names are the hashes of their bytes, so a copy is either right
or thrown away: it is hashed again at every read. Nothing is lost with the folder, and a folder that
cannot be read or written costs speed only. What it holds is sealed, as in the repository.

Enter at `CachedStore`. Listings, and whether an object still exists, are always the store's.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from holdfast.core.units import GIB
from holdfast.repository.store.kept_objects import KeptObjects
from holdfast.repository.store.passing import PassingStore
from holdfast.repository.store.store import Buffer, ObjectInfo, ObjectStore, RelistingStore

_KEPT = ("index/", "bundles/")
DEFAULT_LIMIT_BYTES = 2 * GIB
"""Forty-four bytes a chunk: the index of 25 TiB of unique data in chunks of 512 KiB."""
_KEEP = 0.8
"""Share of the limit left by a clean-up, so that not every write needs one."""


class CachedStore(PassingStore):
    """Another store, with its index objects and bundles kept below `cache_root`. Several processes,
    also of several repositories, may share a root. Thread-safe as the store is."""

    def __init__(
        self, inner: ObjectStore, cache_root: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES
    ) -> None:
        super().__init__(inner)
        self.cache_root = cache_root
        self._folder = cache_root / "index"
        self._limit_bytes = limit_bytes

    def put_new(self, key: str, parts: Sequence[Buffer]) -> None:
        self.inner.put_new(key, parts)
        if key.startswith(_KEPT):
            self._keep(key, b"".join(parts))

    def get(self, key: str) -> bytes:
        if not key.startswith(_KEPT):
            return self.inner.get(key)
        kept = self._kept(key)
        if kept is None:
            kept = self.inner.get(key)
            self._keep(key, kept)
        return kept

    def list_known(self, prefix: str, known: Sequence[str]) -> Iterator[ObjectInfo]:
        inner = self.inner
        if isinstance(inner, RelistingStore):
            return inner.list_known(prefix, known)
        return inner.list(prefix)

    def delete(self, key: str) -> None:
        if key.startswith(_KEPT):
            with suppress(OSError):
                self._path(key).unlink()
        self.inner.delete(key)

    def kept_objects(self, name: str) -> KeptObjects:
        """Copies of the small objects of one folder, for callers that accept them as of the time
        when they were made. `name` is a file's, different for every repository."""
        return KeptObjects(self._folder / name)

    def _path(self, key: str) -> Path:
        return self._folder / _name(key)

    def _kept(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            data = path.read_bytes()
            if _hash(data) != _name(key):
                path.unlink()
                return None
            os.utime(path)  # the clean-up begins with what was used longest ago
        except OSError:
            return None
        return data

    def _keep(self, key: str, data: bytes) -> None:
        if _hash(data) != _name(key) or len(data) > self._limit_bytes * _KEEP:
            return
        with suppress(OSError):  # a full disk here is no reason to fail
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._folder / f".tmp-{secrets.token_hex(8)}"
            try:
                with open(temporary, "xb", opener=_private) as file:
                    file.write(data)
                temporary.replace(self._path(key))
            finally:
                temporary.unlink(missing_ok=True)
            self._clean_up()

    def _clean_up(self) -> None:
        """Remove what was used longest ago when there is too much."""
        files = [(entry, entry.stat()) for entry in os.scandir(self._folder) if entry.is_file()]
        total = sum(status.st_size for _, status in files)
        if total <= self._limit_bytes:
            return
        for entry, status in sorted(files, key=lambda item: item[1].st_mtime):
            if total <= self._limit_bytes * _KEEP:
                return
            Path(entry.path).unlink(missing_ok=True)
            total -= status.st_size


def _name(key: str) -> str:
    """The hash of its bytes, unless an object there is none of ours."""
    return key.partition("/")[2].replace("/", "-")


def _hash(data: bytes) -> str:
    return blake3(data).hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
