"""A damaged config in a bucket: put right in a plain one, and said to be locked in an immutable
repository."""

from __future__ import annotations

import pytest

from holdfast.core.units import KIB
from holdfast.repository import Repository
from holdfast.repository.errors import HeaderDamaged, ObjectsHidden
from holdfast.repository.format.immutability import Immutability
from holdfast.repository.hidden import unhide
from holdfast.repository.mending import mend_header
from tests.support.engine import CREDENTIAL
from tests.support.seaweedfs import boto_client, locking_bucket, new_location, shared_server


@pytest.mark.parametrize("key", ["config", "sentinel"])
def test_in_a_bucket(key: str) -> None:
    location = new_location()
    store = shared_server().store(location)
    Repository.create(store, CREDENTIAL, chunk_bytes=64 * KIB)
    whole = store.get(key)
    damaged = whole[:40] + b"?" + whole[41:]
    store.delete(key)
    store.put_new(key, [damaged])
    with pytest.raises(HeaderDamaged):
        Repository.open(store, CREDENTIAL)
    (mended,) = mend_header(store, CREDENTIAL)
    assert mended.key == key
    Repository.open(store, CREDENTIAL)
    assert key == "sentinel" or store.get(key) == whole
    (aside,) = store.list("damaged/")
    assert store.get(aside.key) == damaged


def test_what_is_locked_stays() -> None:
    location = new_location(locking_bucket())
    store = shared_server().store(location)
    Repository.create(store, CREDENTIAL, chunk_bytes=64 * KIB, immutability=Immutability(days=1))
    # Another version lies on top of the locked one: to be brought back, not to be built anew.
    boto_client().put_object(Bucket=location.bucket, Key=location.path("config"), Body=b"damaged")
    with pytest.raises(ObjectsHidden):
        mend_header(store, CREDENTIAL)
    assert store.get("config") == b"damaged"
    assert not list(store.list("damaged/"))
    unhide(store)
    assert Repository.open(store, CREDENTIAL).points() == []
