"""Is there a repository in a store, and may there be a new one? What can be told without a key.

Enter at `read_config` and `refuse_used`.
"""

from __future__ import annotations

from holdfast.repository.errors import (
    HeaderDamaged,
    NotARepository,
    ObjectExists,
    ObjectMissing,
    RepositoryIncomplete,
    StoreUnavailable,
)
from holdfast.repository.format.config import RepositoryConfig, decode_config
from holdfast.repository.store.store import ObjectStore

SENTINEL_KEY = "sentinel"
SENTINEL_CONTENT = b"holdfast"
"""Of version 1 of the format, without features. A later one has another content, so that nobody
mends the `config` of a repository that he does not know."""


def read_config(store: ObjectStore) -> tuple[RepositoryConfig, bytes]:
    """The public header of a repository, without a key. Raises NotARepository, RepositoryTooNew,
    HeaderDamaged."""
    try:
        stored = store.get("config")
    except ObjectMissing as error:
        if is_there(store):
            raise HeaderDamaged(key="config", problem="it is missing") from error
        raise NotARepository(location=store.location) from error
    return decode_config(stored, location=store.location), stored


def is_there(store: ObjectStore) -> bool:
    """Whether there is a repository although it has no `config`: that is the first object of one
    to be stored, and nobody deletes it."""
    return any(True for _ in store.list("keys/"))


def refuse_used(store: ObjectStore) -> None:
    """Raises ObjectExists, RepositoryIncomplete, StoreUnavailable unless nothing is there."""
    for info in store.list(""):
        if info.key in {"config", SENTINEL_KEY} or info.key.startswith("points/"):
            _require_sentinel(store)
            raise ObjectExists(key=info.key, location=store.location)
        problem = f"it is not empty (it holds {info.key})"
        raise StoreUnavailable(location=store.location, problem=problem)


def _require_sentinel(store: ObjectStore) -> None:
    try:
        store.stat(SENTINEL_KEY)
    except ObjectMissing as error:
        raise RepositoryIncomplete(location=store.location) from error
