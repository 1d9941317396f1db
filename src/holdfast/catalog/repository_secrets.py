"""Secrets of repositories on their way between a request, the sealed column and whoever opens the
repository: one JSON document each, sealed for its row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from holdfast.catalog.models import Repository
from holdfast.core.errors import HoldfastError
from holdfast.repository import Credential
from holdfast.repository import Repository as OpenedRepository
from holdfast.repository.opening import RepositoryAccess, credential_of


class Sealer(Protocol):
    """Seals a secret for one place: a sealed value that was moved to another row does not open."""

    def seal(self, table: str, row_id: str, column: str, secret: bytes) -> bytes: ...

    def unseal(self, table: str, row_id: str, column: str, sealed: bytes) -> bytes: ...


@dataclass(kw_only=True, eq=False)
class SecretMissing(HoldfastError):
    code = "secret_missing"
    template = "the secret of {what} is not stored"
    hint = "Enter it again in the settings of {what}"
    what: str


@dataclass(kw_only=True, eq=False)
class WrongRepository(HoldfastError):
    code = "wrong_repository"
    template = "at {location} is another repository ({found}) than the one that was added"
    hint = "Mount the right storage there, or add what is there as a repository of its own"
    location: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySecret:
    """What opens a repository. Its `repr` shows nothing."""

    passphrase: str
    """Or a recovery key."""
    s3_secret_key: str = ""

    def __repr__(self) -> str:
        return "RepositorySecret(…)"

    @property
    def credential(self) -> Credential:
        return credential_of(self.passphrase)


def seal_repository_secret(sealer: Sealer, row_id: str, secret: RepositorySecret) -> bytes:
    document = {"passphrase": secret.passphrase, "s3_secret_key": secret.s3_secret_key}
    return sealer.seal("repository", row_id, "sealed_secret", json.dumps(document).encode())


def repository_secret(sealer: Sealer, row: Repository) -> RepositorySecret:
    """Raises SecretMissing, and what unsealing raises."""
    if row.sealed_secret is None:
        raise SecretMissing(what=f"repository {row.name}")
    plain = sealer.unseal("repository", row.id, "sealed_secret", row.sealed_secret)
    document = cast("dict[str, str]", json.loads(plain))
    return RepositorySecret(
        passphrase=document["passphrase"], s3_secret_key=document["s3_secret_key"]
    )


def repository_access(row: Repository, secret: RepositorySecret) -> RepositoryAccess:
    """Everything that opens it, as plain values."""
    return RepositoryAccess(
        location=row.location,
        settings=row.settings,
        passphrase=secret.passphrase,
        s3_secret_key=secret.s3_secret_key,
    )


def open_added(row: Repository, secret: RepositorySecret, cache_root: Path) -> OpenedRepository:
    """The repository of the row and no other. Raises what `Repository.open` raises,
    WrongRepository."""
    opened = repository_access(row, secret).open(cache_root)
    if opened.id != row.id:
        raise WrongRepository(location=row.location, found=opened.id)
    return opened
