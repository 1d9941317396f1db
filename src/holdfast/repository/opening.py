"""From what is known of a repository that was added to the opened repository: location, settings
and secrets, as plain values that fit into one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.errors import InvalidInput
from holdfast.repository.format.keys import Credential
from holdfast.repository.format.recovery_kit import is_recovery_key, parse_recovery_key
from holdfast.repository.repository import Repository
from holdfast.repository.store.opening import StoreOptions, open_store
from holdfast.repository.store.s3_access import S3Access


def credential_of(text: str) -> Credential:
    """A passphrase, or a recovery key, told apart by its beginning. Raises InvalidInput."""
    if "\n" in text or "\r" in text:
        raise InvalidInput(what="passphrase", problem="has more than one line")
    return parse_recovery_key(text) if is_recovery_key(text) else Credential.passphrase(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAccess:
    """Everything that opens one repository. Its `repr` shows no secret; its `document` does."""

    location: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """S3: endpoint, region, access_key_id, allow_http, ca_file."""
    passphrase: str = field(repr=False)
    """Or a recovery key."""
    s3_secret_key: str = field(default="", repr=False)

    @property
    def credential(self) -> Credential:
        return credential_of(self.passphrase)

    def store_options(self, cache_root: Path | None) -> StoreOptions:
        settings = self.settings
        if not settings.get("access_key_id"):
            return StoreOptions()
        access = S3Access(
            region=str(settings.get("region") or "us-east-1"),
            endpoint=str(settings.get("endpoint") or ""),
            access_key_id=str(settings["access_key_id"]),
            secret_access_key=self.s3_secret_key,
            allow_http=bool(settings.get("allow_http")),
            ca_file=str(settings.get("ca_file") or ""),
        )
        return StoreOptions(s3=access, cache_root=cache_root)

    def open(self, cache_root: Path | None = None) -> Repository:
        """Raises what `Repository.open` raises."""
        store = open_store(self.location, self.store_options(cache_root))
        return Repository.open(store, self.credential)

    def document(self) -> dict[str, Any]:
        """With the secrets in clear: only through a pipe to a process of ours."""
        return {
            "location": self.location,
            "settings": dict(self.settings),
            "passphrase": self.passphrase,
            "s3_secret_key": self.s3_secret_key,
        }
