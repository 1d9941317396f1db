"""Where a worker gets the secrets of repositories from. None is kept."""

from __future__ import annotations

from typing import Protocol

from holdfast.catalog.models import Repository
from holdfast.catalog.repository_secrets import RepositorySecret, Sealer, repository_secret


class SecretSource(Protocol):
    """Thread-safe."""

    def repository(self, row: Repository) -> RepositorySecret:
        """Raises HoldfastError when the secret is not stored or does not open."""
        ...


class SealedSecrets:
    """From the sealed columns, with the key of this host."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def repository(self, row: Repository) -> RepositorySecret:
        return repository_secret(self._sealer, row)
