"""Secrets of repositories, as the API handles them: what is shared with workers is in
`catalog.repository_secrets`. Nothing else in the API sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.catalog.repository_secrets import RepositorySecret as RepositorySecret
from holdfast.catalog.repository_secrets import Sealer as Sealer
from holdfast.catalog.repository_secrets import SecretMissing as SecretMissing
from holdfast.catalog.repository_secrets import repository_secret as repository_secret
from holdfast.catalog.repository_secrets import seal_repository_secret as seal_repository_secret
from holdfast.repository import StoreOptions
from holdfast.repository.opening import RepositoryAccess
from holdfast.repository.opening import credential_of as credential_of


def store_options(
    settings: dict[str, Any], s3_secret_key: str, cache_root: str | None
) -> StoreOptions:
    """For a repository's location: from the columns and the secret."""
    access = RepositoryAccess(
        location="", settings=settings, passphrase="", s3_secret_key=s3_secret_key
    )
    return access.store_options(Path(cache_root) if cache_root else None)
