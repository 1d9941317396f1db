"""Records of what verify proved: the latest word counts, and damage wins a tie."""

from __future__ import annotations

from holdfast.repository import Repository
from holdfast.repository.format.pack import pack_name
from tests.support.engine import CREDENTIAL
from tests.support.memory_store import MemoryStore

_A, _B, _C = (bytes([number]) * 32 for number in (1, 2, 3))


def _repository() -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    return store, Repository.create(store, CREDENTIAL)[0]


def test_the_latest_record_of_a_pack_counts() -> None:
    store, repository = _repository()
    repository.proofs.put(sound=[_A, _B], damaged=[])
    store.advance(3600)
    repository.proofs.put(sound=[], damaged=[_A])
    proven = repository.proofs.proven()
    assert proven.damaged == {_A}
    assert set(proven.sound_at) == {_B}
    store.advance(3600)
    repository.proofs.put(sound=[_A], damaged=[])
    assert repository.proofs.damaged() == frozenset()


def test_damaged_wins_within_one_record() -> None:
    _, repository = _repository()
    repository.proofs.put(sound=[_A], damaged=[_A])
    assert repository.proofs.damaged() == {_A}


def test_records_go_when_they_say_nothing_any_more() -> None:
    store, repository = _repository()
    repository.proofs.put(sound=[_A, _B], damaged=[])
    repository.proofs.put(sound=[_C], damaged=[])
    store.advance(3600)
    repository.proofs.put(sound=[_A], damaged=[_B])
    repository.proofs.drop_superseded({_A, _B})
    (left,) = repository.proofs.all()
    assert (list(left.sound), list(left.damaged)) == ([_A], [_B])


def test_an_unreadable_record_proves_nothing_and_hides_nothing() -> None:
    store, repository = _repository()
    repository.proofs.put(sound=[_A], damaged=[_B])
    (key,) = [name for name in store.objects if name.startswith("verified/")]
    store.put_new("verified/0192b3c4-0000-7000-8000-000000000000", [store.get(key)])
    assert len(repository.proofs.all()) == 1
    assert repository.proofs.damaged() == {_B}


def test_a_clock_that_was_set_back_hides_no_damage() -> None:
    store, repository = _repository()
    store.advance(3600)
    repository.proofs.put(sound=[_A, _B], damaged=[_C])
    store.advance(-1800)
    repository.proofs.put(sound=[], damaged=[_A])
    assert repository.proofs.damaged() == {_A, _C}
    repository.proofs.drop_superseded({_A, _B, _C})
    store.advance(7200)
    proven = repository.proofs.proven()
    assert proven.damaged == {_A, _C}
    assert set(proven.sound_at) == {_B}
    repository.proofs.put(sound=[_A], damaged=[])
    assert repository.proofs.damaged() == {_C}


def test_damage_that_another_run_found_in_a_pack_put_since_stays_known() -> None:
    store, repository = _repository()
    store.put_new(pack_name(_A), [b"put after the first run listed the packs"])
    repository.proofs.put(sound=[], damaged=[_A, _B])
    repository.proofs.drop_superseded({_C})
    assert _A in repository.proofs.damaged()
    store.delete(pack_name(_A))
    repository.proofs.drop_superseded({_C})
    assert repository.proofs.damaged() == frozenset()
