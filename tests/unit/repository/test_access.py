"""Key slots: several open the repository, the last one stays, and a change may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast.core import failpoints
from holdfast.core.errors import InjectedFault
from holdfast.repository import Credential, Repository
from holdfast.repository.errors import KeySlotNotFound, LastKeySlot, WrongPassphrase
from tests.support.engine import CREDENTIAL
from tests.support.memory_store import FaultyStore, MemoryStore

_NEW = Credential(kind="recovery", secret=bytes(range(7, 39)))


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    Repository.create(made, CREDENTIAL)
    return made


def _opens(store: MemoryStore, credential: Credential) -> bool:
    try:
        Repository.open(store, credential)
    except WrongPassphrase:
        return False
    return True


def test_every_slot_opens_the_same_repository(store: MemoryStore) -> None:
    repository = Repository.open(store, CREDENTIAL)
    added = repository.key_slots.add(_NEW)
    assert Repository.open(store, _NEW).id == repository.id
    assert added in [slot.id for slot in repository.key_slots.all()]


def test_slots_are_listed_with_kind_and_time(store: MemoryStore) -> None:
    repository = Repository.open(store, CREDENTIAL)
    slots = repository.key_slots.all()
    assert [slot.kind for slot in slots] == ["recovery", "recovery"]
    for slot in slots:
        assert slot.created_at is not None
        assert abs((slot.created_at - repository.clock.now()).total_seconds()) < 60


def test_a_slot_that_is_removed_while_it_is_looked_at_is_no_slot(store: MemoryStore) -> None:
    """By another process, between the listing and the reading."""
    repository = Repository.open(store, CREDENTIAL)
    for _ in range(2):
        repository.key_slots.add(_NEW)
    others = FaultyStore(store)
    going = {f"keys/{slot}" for slot in repository.key_slots.opened_by(_NEW)}

    def remove(operation: str, key: str) -> None:
        if operation == "get" and key in going:
            going.remove(key)
            store.delete(key)

    others.before = remove
    assert Repository.open(others, CREDENTIAL).id == repository.id
    looking = Repository.open(others, CREDENTIAL).key_slots
    assert len(looking.all()) == 2
    assert not looking.opened_by(_NEW)
    assert not going


def test_a_changed_key_opens_and_the_old_one_does_not(store: MemoryStore) -> None:
    repository = Repository.open(store, CREDENTIAL)
    added, removed = repository.key_slots.change(CREDENTIAL, _NEW)
    assert len(removed) == 1
    assert added not in removed
    assert _opens(store, _NEW)
    assert not _opens(store, CREDENTIAL)


def test_a_change_that_is_broken_off_leaves_both(store: MemoryStore) -> None:
    repository = Repository.open(store, CREDENTIAL)
    failpoints.arm("keys.between_slots:error")
    try:
        with pytest.raises(InjectedFault):
            repository.key_slots.change(CREDENTIAL, _NEW)
    finally:
        failpoints.disarm()
    assert _opens(store, _NEW)
    assert _opens(store, CREDENTIAL)
    repository.key_slots.change(CREDENTIAL, _NEW)
    assert not _opens(store, CREDENTIAL)


def test_a_wrong_old_key_changes_nothing(store: MemoryStore) -> None:
    repository = Repository.open(store, CREDENTIAL)
    before = dict(store.objects)
    with pytest.raises(WrongPassphrase):
        repository.key_slots.change(_NEW, _NEW)
    assert dict(store.objects) == before


def test_the_last_readable_slot_stays(store: MemoryStore) -> None:
    """A damaged slot opens nothing and does not count."""
    kept = Repository.open(store, CREDENTIAL).key_slots.add(_NEW)
    damaged = MemoryStore(
        {
            key: b"{}" if key.startswith("keys/") and not key.endswith(kept) else data
            for key, data in store.objects.items()
        }
    )
    slots = Repository.open(damaged, _NEW).key_slots
    assert sorted(slot.kind for slot in slots.all()) == ["", "", "recovery"]
    with pytest.raises(LastKeySlot):
        slots.remove(kept)
    for slot in slots.all():
        if slot.id != kept:
            assert slots.remove(slot.id) == slot.id
    with pytest.raises(LastKeySlot):
        slots.remove(kept)
    assert _opens(damaged, _NEW)


def test_an_unknown_or_ambiguous_slot_is_refused(store: MemoryStore) -> None:
    slots = Repository.open(store, CREDENTIAL).key_slots
    for name in ("ffff", "", "0"):
        with pytest.raises(KeySlotNotFound):
            slots.remove(name)
    assert len(slots.all()) == 2


_MANY_PASSPHRASES = """
from concurrent.futures import ThreadPoolExecutor
from holdfast.repository import Credential
from holdfast.repository.format.keys import new_slot, open_slot

words, repository, master = Credential.passphrase("words"), bytes(16), bytes(32)
stored = new_slot(repository, "slot", master, words)
with ThreadPoolExecutor(4) as pool:
    opened = pool.map(lambda _: open_slot(repository, "slot", stored, words), range(16))
    assert list(opened) == [master] * 16
"""


def test_a_service_opens_several_repositories_at_once() -> None:
    """In a process of its own: two derivations at a time stood still for ever, within OpenSSL."""
    code = Path(holdfast.__file__).parent.parent
    command = [sys.executable, "-c", _MANY_PASSPHRASES]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "PYTHONPATH": str(code)})
