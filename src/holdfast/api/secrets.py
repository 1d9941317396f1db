"""Secrets of platforms and repositories on their way between a request, the sealed column and
whoever opens the repository. They are JSON documents; nothing else in the API sees them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol, cast

from holdfast.catalog.models import Repository
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.repository import (
    Credential,
    S3Access,
    StoreOptions,
    is_recovery_key,
    parse_recovery_key,
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySecret:
    """What opens a repository. Its `repr` shows nothing."""

    passphrase: str
    s3_secret_key: str = ""

    def __repr__(self) -> str:
        return "RepositorySecret(…)"

    @property
    def credential(self) -> Credential:
        return credential_of(self.passphrase)


def credential_of(text: str) -> Credential:
    """A passphrase, or a recovery key, told apart by its beginning."""
    if "\n" in text or "\r" in text:
        raise InvalidInput(what="passphrase", problem="has more than one line")
    return parse_recovery_key(text) if is_recovery_key(text) else Credential.passphrase(text)


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


def store_options(
    settings: dict[str, Any], s3_secret_key: str, cache_root: str | None
) -> StoreOptions:
    """For a repository's location: from the columns and the secret."""
    from pathlib import Path

    if not settings.get("access_key_id"):
        return StoreOptions()
    access = S3Access(
        region=str(settings.get("region") or "us-east-1"),
        endpoint=str(settings.get("endpoint") or ""),
        access_key_id=str(settings["access_key_id"]),
        secret_access_key=s3_secret_key,
        allow_http=bool(settings.get("allow_http")),
    )
    return StoreOptions(s3=access, cache_root=Path(cache_root) if cache_root else None)
