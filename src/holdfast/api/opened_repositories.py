"""Repositories that this process has opened, kept open: unlocking takes a tenth of a second on
purpose, and an index that was read once is worth keeping.

Enter at `OpenedRepositories.get`. An entry is dropped when the repository's row changes.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.api.secrets import RepositorySecret, Sealer, repository_secret, store_options
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.catalog.repository_secrets import open_added
from holdfast.repository import Repository, StoreOptions


@dataclass(frozen=True, slots=True)
class _Entry:
    key: tuple[str, bytes | None, str]
    repository: Repository
    index_lock: threading.Lock


class OpenedRepositories:
    """Thread-safe."""

    def __init__(self, sealer: Sealer, *, cache_root: Path) -> None:
        self._sealer = sealer
        self._cache_root = cache_root
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def get(self, row: RepositoryRow) -> Repository:
        """Opened, the sentinel looked for just now. Raises what `Repository.open` raises,
        WrongRepository, SecretMissing."""
        return self._entry(row).repository

    @contextmanager
    def with_index(self, row: RepositoryRow) -> Generator[Repository]:
        """With the index read after whatever points were listed before the call."""
        entry = self._entry(row)
        with entry.index_lock:
            entry.repository.load_index()
        yield entry.repository

    def open_anew(self, row: RepositoryRow) -> Repository:
        """One that nobody else uses. Raises what `get` raises."""
        return open_added(row, repository_secret(self._sealer, row), self._cache_root)

    def options(self, row: RepositoryRow) -> tuple[StoreOptions, RepositorySecret]:
        """What opens the repository, for handing to a mover through a pipe."""
        secret = repository_secret(self._sealer, row)
        options = store_options(row.settings, secret.s3_secret_key, str(self._cache_root))
        return options, secret

    def drop(self, repository_id: str) -> None:
        with self._lock:
            self._entries.pop(repository_id, None)

    def _entry(self, row: RepositoryRow) -> _Entry:
        key = (row.location, row.sealed_secret, repr(sorted(row.settings.items())))
        with self._lock:
            known = self._entries.get(row.id)
        if known is not None and known.key == key:
            known.repository.require_sentinel()
            return known
        opened = self.open_anew(row)
        entry = _Entry(key, opened, threading.Lock())
        with self._lock:
            self._entries[row.id] = entry
        return entry
