"""Where a worker gets the secrets of repositories from: sealed columns, opened by whoever holds the
sealing key. Nothing else in here sees one, and none is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from holdfast.catalog.models import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySecrets:
    """Its `repr` shows nothing."""

    passphrase: str = field(repr=False)
    """Or a recovery key."""
    s3_secret_key: str = field(default="", repr=False)


class SecretSource(Protocol):
    """Thread-safe."""

    def repository(self, row: Repository) -> RepositorySecrets:
        """Raises HoldfastError when the secret is not stored or does not open."""
        ...
