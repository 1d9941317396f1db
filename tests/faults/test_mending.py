"""Damage to the objects that are there once only, and that every reader needs: `config`, the
sentinel, the manifests. Repair puts them right where it is proven what they were, keeps what was
damaged, and otherwise changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

import pytest
from blake3 import blake3

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.progress import SilentProgress
from holdfast.repository import Credential, Repository, bundling
from holdfast.repository.bundling import bundle_points
from holdfast.repository.check import check_repository
from holdfast.repository.copy import copy_points
from holdfast.repository.errors import (
    HeaderDamaged,
    HeaderUnproven,
    NotARepository,
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    RepositoryIncomplete,
    RepositoryTooNew,
    WrongPassphrase,
)
from holdfast.repository.format.bundle import encode_bundle
from holdfast.repository.format.envelope import Kind
from holdfast.repository.format.immutability import Immutability
from holdfast.repository.format.point import encode_manifest
from holdfast.repository.mending import mend_header
from holdfast.repository.repair import RepairReport, repair_repository
from holdfast.repository.rescue import open_for_rescue
from holdfast.repository.store.store import ObjectStore
from holdfast.repository.verify import VerifyOptions, verify_repository
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine
from tests.support.memory_store import FaultyStore, MemoryStore
from tests.support.oracle import Digest, assert_repository_sound, read_point

Objects = Mapping[str, bytes]
OTHER_CREDENTIAL = Credential(kind="recovery", secret=bytes(range(7, 39)))
HEADER = ("config", "sentinel")
KINDS = ("cut", "cut short", "longer", "emptied", "zeroes", "noise", "of another repository")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A repository of three points that a bundle repeats, one of no point, and a copy with other
    keys."""

    objects: Objects
    empty: Objects
    copied: Objects
    content: Mapping[str, Mapping[str, Digest]]

    def store(self, changes: Mapping[str, bytes | None] | None = None) -> MemoryStore:
        objects = {**self.objects, **(changes or {})}
        return MemoryStore({key: data for key, data in objects.items() if data is not None})

    def assert_whole(self, store: MemoryStore) -> None:
        assert_repository_sound(store, CREDENTIAL, self.content)


@cache
def _ground() -> Ground:
    engine = Engine.create(MemoryStore(), disks={"vda": 20 * CHUNK_BYTES})
    for number in range(3):
        engine.vm.disks["vda"].write(0, random.Random(number).randbytes(15 * CHUNK_BYTES))
        engine.back_up()
    bundling_few, bundling.FEW = bundling.FEW, 0
    bundle_points(engine.repository.manifests, confirm=lambda: None)
    bundling.FEW = bundling_few
    empty = MemoryStore()
    Repository.create(empty, CREDENTIAL, chunk_bytes=CHUNK_BYTES)
    copied = MemoryStore()
    target, _ = Repository.create(copied, OTHER_CREDENTIAL, chunk_bytes=2 * CHUNK_BYTES)
    copy_points(
        engine.repository,
        target,
        engine.repository.points(),
        cancel=CancelToken(),
        progress=SilentProgress(),
    )
    assert isinstance(engine.store, MemoryStore)
    content = {
        point: {key: Digest.of(disk.read()) for key, disk in disks.items()}
        for point, disks in engine.acknowledged.items()
    }
    return Ground(
        objects=engine.store.objects, empty=empty.objects, copied=copied.objects, content=content
    )


@pytest.fixture
def ground() -> Ground:
    return _ground()


def _flipped(data: bytes, at: int, mask: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def _damages(key: str, objects: Objects) -> dict[str, bytes]:
    """Every kind, by its name."""
    data = objects[key]
    made = {
        "cut": data[: len(data) // 2],
        "cut short": data[:-1],
        "longer": data + b"\n",
        "emptied": b"",
        "zeroes": bytes(len(data)),
        "noise": random.Random(key).randbytes(len(data)),
        "of another repository": _ground().empty.get(key) or _ground().copied[key],
    }
    assert tuple(made) == KINDS
    return made


def _aside(key: str, damaged: bytes) -> str:
    return f"damaged/{key}/{blake3(damaged).hexdigest()}"


def _repair(store: ObjectStore, source: Repository | None = None) -> RepairReport:
    return repair_repository(
        Repository.open(store, CREDENTIAL),
        source,
        cancel=CancelToken(),
        progress=SilentProgress(),
    )


def _without_leases(store: MemoryStore) -> dict[str, bytes]:
    return {key: data for key, data in store.objects.items() if not key.startswith("leases/")}


def _assert_mended(ground: Ground, store: MemoryStore, changes: Mapping[str, bytes]) -> None:
    """Every point is whole, what was damaged is set aside, and nothing else has changed."""
    after = _without_leases(store)
    for key, damaged in changes.items():
        assert after.pop(_aside(key, damaged)) == damaged
    before = {key: data for key, data in ground.objects.items() if not key.startswith("leases/")}
    for key in {*changes, "sentinel"} - {"config"}:
        assert len(after.pop(key)) == len(before.pop(key))
    assert after == before
    ground.assert_whole(store)


# -- config and sentinel --------------------------------------------------------------------------


@pytest.mark.parametrize("key", HEADER)
@pytest.mark.parametrize("mask", [1, 0x80])
def test_a_flipped_bit_anywhere_is_told_and_mended(ground: Ground, key: str, mask: int) -> None:
    data = ground.objects[key]
    for at in range(len(data)):
        damaged = _flipped(data, at, mask)
        store = ground.store({key: damaged})
        with pytest.raises(HeaderDamaged) as raised:
            Repository.open(store, CREDENTIAL)
        assert raised.value.key == key
        assert "holdfast repair" in raised.value.advice
        (mended,) = mend_header(store, CREDENTIAL)
        assert mended.key == key
        Repository.open(store, CREDENTIAL)
        after = store.objects
        assert after[_aside(key, damaged)] == damaged
        if key == "config":
            assert after[key] == data
    _assert_mended(ground, store, {key: damaged})


@pytest.mark.parametrize("key", HEADER)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_damage_is_told_and_mended(ground: Ground, key: str, kind: str) -> None:
    damaged = _damages(key, ground.objects)[kind]
    store = ground.store({key: damaged})
    with pytest.raises(HeaderDamaged) as raised:
        Repository.open(store, CREDENTIAL)
    assert raised.value.key == key
    rescued = open_for_rescue(ground.store({key: damaged}), CREDENTIAL)
    assert {point.id for point in rescued.points()} == set(ground.content)
    mend_header(store, CREDENTIAL)
    _assert_mended(ground, store, {key: damaged})
    assert store.objects["config"] == ground.objects["config"]


def test_a_missing_config_is_put_again(ground: Ground) -> None:
    store = ground.store({"config": None})
    with pytest.raises(HeaderDamaged) as raised:
        Repository.open(store, CREDENTIAL)
    assert raised.value.problem == "it is missing"
    mend_header(store, CREDENTIAL)
    _assert_mended(ground, store, {})
    assert store.objects["config"] == ground.objects["config"]


def test_a_missing_sentinel_takes_somebody_who_knows(ground: Ground) -> None:
    """It is what tells an incompletely mounted storage: nothing proves that all is here."""
    for config in (ground.objects["config"], None, b"", _flipped(ground.objects["config"], 40)):
        store = ground.store({"sentinel": None, "config": config})
        before = store.objects
        with pytest.raises((RepositoryIncomplete, HeaderDamaged)):
            Repository.open(store, CREDENTIAL)
        with pytest.raises(HeaderUnproven) as raised:
            mend_header(store, CREDENTIAL)
        assert "--without-proof" in raised.value.advice
        assert store.objects == before
        mend_header(store, CREDENTIAL, without_proof=True)
        ground.assert_whole(store)


def test_both_may_be_damaged(ground: Ground) -> None:
    changes = {
        "config": _flipped(ground.objects["config"], 30),
        "sentinel": _flipped(ground.objects["sentinel"], 50),
    }
    store = ground.store(changes)
    assert [item.key for item in mend_header(store, CREDENTIAL)] == [*HEADER]
    _assert_mended(ground, store, changes)


def test_without_keyed_hash_and_sentinel_nothing_tells_the_version(ground: Ground) -> None:
    changes = {"config": b"", "sentinel": _flipped(ground.objects["sentinel"], 50)}
    store = ground.store(changes)
    before = store.objects
    with pytest.raises(HeaderUnproven) as raised:
        mend_header(store, CREDENTIAL)
    assert raised.value.key == "config"
    assert store.objects == before
    mend_header(store, CREDENTIAL, without_proof=True)
    _assert_mended(ground, store, changes)


def test_another_repositorys_config_and_sentinel(ground: Ground) -> None:
    changes = {key: ground.empty[key] for key in HEADER}
    store = ground.store(changes)
    with pytest.raises(HoldfastError):
        Repository.open(store, CREDENTIAL)
    mend_header(store, CREDENTIAL, without_proof=True)
    _assert_mended(ground, store, changes)


def test_what_somebody_without_the_key_wrote_is_not_believed(ground: Ground) -> None:
    """A config with a right checksum and another size of chunks."""
    lines = ground.objects["config"].split(b"\n")
    for keyed in (lines[2], b"0" * 64, b""):
        text = lines[0].replace(b'"chunk_bytes": 4096', b'"chunk_bytes": 8192')
        forged = b"\n".join((text, hashlib.sha256(text).hexdigest().encode(), keyed, b""))
        store = ground.store({"config": forged})
        mend_header(store, CREDENTIAL)
        _assert_mended(ground, store, {"config": forged})
        assert store.objects["config"] == ground.objects["config"]


def test_the_size_of_chunks_is_never_guessed_for_points(ground: Ground) -> None:
    """No manifest can be read and no bundle is there."""
    changes: dict[str, bytes | None] = {"config": b""}
    changes |= {f"points/{point}": b"" for point in ground.content}
    changes |= {key: None for key in ground.objects if key.startswith("bundles/")}
    store = ground.store(changes)
    before = store.objects
    for without_proof in (False, True):
        with pytest.raises(HeaderUnproven) as raised:
            mend_header(store, CREDENTIAL, without_proof=without_proof)
        assert "size of chunks" in raised.value.problem
    assert store.objects == before


@pytest.mark.parametrize("kind", ["missing", "emptied", "another size, without its keyed hash"])
def test_points_that_are_away_do_not_make_it_a_new_repository(ground: Ground, kind: str) -> None:
    """Their folder is a mount of its own, or somebody hides it."""
    lines = ground.objects["config"].split(b"\n")
    text = lines[0].replace(b'"chunk_bytes": 4096', b'"chunk_bytes": 8192')
    forged = b"\n".join((text, hashlib.sha256(text).hexdigest().encode(), b"0" * 64, b""))
    config = {"missing": None, "emptied": b""}.get(kind, forged)
    changes: dict[str, bytes | None] = {"config": config, **_without_bundles(ground)}
    store = ground.store({**changes, **{f"points/{point}": None for point in ground.content}})
    before = store.objects
    for without_proof in (False, True):
        with pytest.raises(HeaderUnproven):
            mend_header(store, CREDENTIAL, without_proof=without_proof)
    assert store.objects == before


def test_a_bundle_tells_the_size_of_chunks(ground: Ground) -> None:
    changes = {"config": b"", **{f"points/{point}": b"" for point in ground.content}}
    store = ground.store(changes)
    mend_header(store, CREDENTIAL)
    assert store.objects["config"] == ground.objects["config"]
    assert _repair(store).is_whole
    ground.assert_whole(store)


@pytest.mark.parametrize("kind", ["emptied", "flipped", "missing"])
def test_a_repository_without_points(ground: Ground, kind: str) -> None:
    config = ground.empty["config"]
    damaged = {"emptied": b"", "flipped": _flipped(config, 20), "missing": None}[kind]
    objects = {**ground.empty, "config": damaged}
    store = MemoryStore({key: data for key, data in objects.items() if data is not None})
    mend_header(store, CREDENTIAL)
    assert Repository.open(store, CREDENTIAL).points() == []
    if kind == "flipped":
        assert store.objects["config"] == config


def test_a_whole_one_is_left_alone(ground: Ground) -> None:
    store = ground.store()
    before = store.objects
    assert mend_header(store, CREDENTIAL) == []
    assert store.objects == before


@pytest.mark.parametrize("key", HEADER)
def test_who_has_no_key_changes_nothing(ground: Ground, key: str) -> None:
    for damaged in (*_damages(key, ground.objects).values(), None, ground.objects[key]):
        store = ground.store({key: damaged})
        before = store.objects
        with pytest.raises(WrongPassphrase):
            mend_header(store, OTHER_CREDENTIAL, without_proof=True)
        assert store.objects == before


def test_the_kit_serves_when_the_passphrase_slot_is_damaged(ground: Ground) -> None:
    """The slots of this repository are recovery slots: the other one plays the damaged one."""
    keys = sorted(key for key in ground.objects if key.startswith("keys/"))
    config = _flipped(ground.objects["config"], 60)
    for slot in keys:
        store = ground.store({"config": config, slot: b"damaged"})
        try:
            mend_header(store, CREDENTIAL)
        except ObjectDamaged as error:
            assert error.key == slot
            continue
        ground.assert_whole(store)
        break
    else:
        pytest.fail("no slot was enough")


def test_objects_that_name_impossible_ids_are_passed_over(ground: Ground) -> None:
    lies = {
        f"points/{number}": ground.objects["sentinel"][:16] + bytes([value]) * 16 + bytes(60)
        for number, value in enumerate((0, 0xFF))
    }
    store = ground.store({"config": b"", "sentinel": lies["points/1"], **lies})
    mend_header(store, CREDENTIAL, without_proof=True)
    assert store.objects["config"] == ground.objects["config"]


def test_what_is_no_repository_stays_so() -> None:
    for objects in ({}, {"notes": b"x"}, {"config": b"x"}):
        store = MemoryStore(objects)
        with pytest.raises((NotARepository, RepositoryIncomplete)):
            mend_header(store, CREDENTIAL, without_proof=True)
        assert store.objects == objects


def test_a_later_version_is_not_touched(ground: Ground) -> None:
    """By its config, and when that is gone by its sentinel."""
    text = ground.objects["config"].split(b"\n")[0].replace(b'"version": 1', b'"version": 2')
    newer = b"\n".join((text, hashlib.sha256(text).hexdigest().encode(), b"?", b""))
    sealer = Repository.open(ground.store(), CREDENTIAL).sealer
    sentinel = sealer.seal(Kind.SENTINEL, "sentinel", b"holdfast 2")
    for config, expected in ((newer, RepositoryTooNew), (b"", HeaderUnproven)):
        store = ground.store({"config": config, "sentinel": sentinel})
        before = store.objects
        with pytest.raises(expected):
            mend_header(store, CREDENTIAL, without_proof=True)
        assert store.objects == before


@pytest.mark.parametrize("applied", [False, True])
def test_a_crash_at_any_write_leaves_it_no_worse(ground: Ground, applied: bool) -> None:
    changes = {
        "config": _flipped(ground.objects["config"], 30),
        "sentinel": _flipped(ground.objects["sentinel"], 50),
    }
    for write in range(1, 20):
        store = ground.store(changes)
        dying = FaultyStore(store)
        dying.die_at(write, applied=applied)
        with suppress(HoldfastError):
            mend_header(dying, CREDENTIAL)
        if not dying.died:
            return
        for key in HEADER:
            assert key in store.objects
        found = open_for_rescue(ground.store(store.objects), CREDENTIAL)
        assert {point.id for point in found.points()} == set(ground.content)
        store.advance(3600)  # the lease of the dead one
        mend_header(store, CREDENTIAL)
        ground.assert_whole(store)
        for key, damaged in changes.items():
            assert store.objects[_aside(key, damaged)] == damaged
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("key", HEADER)
def test_what_is_immutable_stays_and_is_said(key: str) -> None:
    store = MemoryStore()
    Repository.create(
        store, CREDENTIAL, chunk_bytes=CHUNK_BYTES, immutability=Immutability(days=30)
    )
    damaged = _flipped(store.objects[key], 40)
    store.replace(key, damaged)
    before = _without_leases(store)
    with pytest.raises(ObjectLocked) as raised:
        mend_header(store, CREDENTIAL)
    assert raised.value.key == key
    assert _without_leases(store) == before


# -- manifests ------------------------------------------------------------------------------------


def _first(ground: Ground) -> str:
    return min(ground.content)


def _without_bundles(ground: Ground) -> dict[str, bytes | None]:
    return {key: None for key in ground.objects if key.startswith("bundles/")}


def _source(ground: Ground, changes: Mapping[str, bytes] | None = None) -> Repository:
    return Repository.open(MemoryStore({**ground.copied, **(changes or {})}), OTHER_CREDENTIAL)


def _assert_said(store: MemoryStore, point: str) -> None:
    """Check and verify name the point, and what can be done about it."""
    repository = Repository.open(store, CREDENTIAL)
    checked = check_repository(repository, cancel=CancelToken(), progress=SilentProgress())
    (problem,) = [item for item in checked.problems if item.object == f"points/{point}"]
    verified = verify_repository(
        repository, VerifyOptions(), cancel=CancelToken(), progress=SilentProgress()
    )
    (loss,) = [item for item in verified.losses if item.point_id == point]
    for said in (problem.problem, loss.problem):
        assert "`holdfast repair` puts it back" in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_manifest_comes_back_from_a_bundle(ground: Ground, kind: str) -> None:
    key = f"points/{_first(ground)}"
    damaged = _damages(key, ground.objects)[kind]
    store = ground.store({key: damaged})
    _assert_said(store, _first(ground))
    report = _repair(store)
    assert report.is_whole
    assert [(item.key, item.taken_from) for item in report.mended] == [(key, "a bundle")]
    assert store.objects[_aside(key, damaged)] == damaged
    ground.assert_whole(store)
    again = _repair(store)
    assert again.is_whole
    assert not again.mended


def test_a_flipped_bit_of_a_manifest_comes_back_from_a_bundle(ground: Ground) -> None:
    key = f"points/{_first(ground)}"
    data = ground.objects[key]
    for at in [*range(64), *range(64, len(data), 97), len(data) - 1]:
        store = ground.store({key: _flipped(data, at)})
        assert _repair(store).is_whole
        assert store.objects[_aside(key, _flipped(data, at))]
    ground.assert_whole(store)


def test_the_manifest_of_another_point_is_no_manifest_of_this_one(ground: Ground) -> None:
    first, second, third = sorted(ground.content)
    swapped = {
        f"points/{first}": ground.objects[f"points/{second}"],
        f"points/{third}": ground.objects[f"points/{first}"],
    }
    store = ground.store(swapped)
    assert len(_repair(store).mended) == 2
    ground.assert_whole(store)


def test_a_deleted_point_does_not_come_back(ground: Ground) -> None:
    gone = _first(ground)
    store = ground.store({f"points/{gone}": None})
    before = _without_leases(store)
    report = _repair(store, _source(ground))
    assert report.is_whole
    assert not report.mended
    assert _without_leases(store) == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "of another repository"])
def test_no_bundle_that_is_not_proven_is_believed(ground: Ground, damage: str) -> None:
    point = _first(ground)
    (bundle,) = [key for key in ground.objects if key.startswith("bundles/")]
    data = ground.objects[bundle]
    changed = {
        "flipped": _flipped(data, len(data) // 2),
        "cut": data[:-20],
        "missing": None,
        "of another repository": _source(ground).sealer.seal(Kind.BUNDLE, "", b"x" * 50),
    }[damage]
    store = ground.store({f"points/{point}": b"damaged", bundle: changed})
    report = _repair(store)
    assert not report.is_whole
    assert not report.mended
    assert [*report.left] == [f"points/{point}"]
    assert store.objects[f"points/{point}"] == b"damaged"


def test_a_bundle_that_says_it_of_another_point_is_not_believed(ground: Ground) -> None:
    """Sealed with the key: a row names one point and its content is the manifest of another."""
    first, second, _ = sorted(ground.content)
    repository = Repository.open(ground.store(), CREDENTIAL)
    content = encode_manifest(repository.manifest(second))
    changes: dict[str, bytes | None] = {f"points/{first}": b"damaged", **_without_bundles(ground)}
    store = ground.store(changes)
    sealed = repository.sealer.seal(Kind.BUNDLE, "", encode_bundle({first: content}))
    store.put_new(f"bundles/{blake3(sealed).hexdigest()}", [sealed])
    assert not _repair(store).mended
    assert store.objects[f"points/{first}"] == b"damaged"


def test_two_bundles_that_differ_prove_nothing(ground: Ground) -> None:
    point = _first(ground)
    repository = Repository.open(ground.store(), CREDENTIAL)
    other = replace(repository.manifest(point), notes=("something else",))
    store = ground.store({f"points/{point}": b"damaged"})
    repository = Repository.open(store, CREDENTIAL)
    repository.manifests.bundles.put({point: encode_manifest(other)})
    assert not _repair(store).mended
    assert store.objects[f"points/{point}"] == b"damaged"


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_manifest_comes_back_from_another_repository(ground: Ground, kind: str) -> None:
    point = _first(ground)
    key = f"points/{point}"
    damaged = _damages(key, ground.objects)[kind]
    store = ground.store({key: damaged, **_without_bundles(ground)})
    assert not _repair(store).is_whole
    assert store.objects[key] == damaged
    assert f"damaged/{key}" not in "".join(store.objects)
    report = _repair(store, _source(ground))
    assert report.is_whole
    assert [(item.key, item.taken_from) for item in report.mended] == [
        (key, "the other repository")
    ]
    assert store.objects[_aside(key, damaged)] == damaged
    ground.assert_whole(store)


def test_what_is_damaged_there_too_is_said(ground: Ground) -> None:
    key = f"points/{_first(ground)}"
    changes: dict[str, bytes | None] = {key: b"damaged", **_without_bundles(ground)}
    store = ground.store(changes)
    report = _repair(store, _source(ground, {key: b"damaged"}))
    assert not report.is_whole
    assert [*report.left] == [key]
    assert store.objects[key] == b"damaged"


@pytest.mark.parametrize("name", ["latest", "the deleted one's, cut", "no name of a point"])
def test_objects_that_are_no_points_bring_no_point_back(ground: Ground, name: str) -> None:
    deleted = _first(ground)
    stray = {"latest": "latest", "no name of a point": "0"}.get(name, deleted[:-1])
    other = next(point for point in ground.content if point != deleted)
    store = ground.store(
        {
            f"points/{deleted}": None,
            f"points/{stray}": b"stray",
            f"points/{other}": b"damaged",
            **_without_bundles(ground),
        }
    )
    report = _repair(store, _source(ground))
    assert f"points/{deleted}" not in store.objects
    assert [item.key for item in report.mended] == [f"points/{other}"]


def test_a_backup_that_runs_holds_up_its_own_point_only(ground: Ground) -> None:
    key = f"points/{_first(ground)}"
    store = ground.store({key: b"damaged", **_without_bundles(ground)})
    vm = _source(ground).point(_first(ground)).manifest.vm
    running = Repository.open(store, CREDENTIAL)
    with running.begin_backup(platform=vm.platform, vm_id=vm.id, vm_name=vm.name):
        report = _repair(store, _source(ground))
    assert "cannot be replaced now" in report.left[key]
    assert store.objects[key] == b"damaged"
    assert _repair(store, _source(ground)).is_whole


def test_what_changes_meanwhile_or_is_locked_is_left_and_said(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"points/{point}" for point in ground.content]
    errors = iter(
        [
            ObjectLocked(key=keys[0], until="2030-01-01T00:00:00Z"),
            ObjectExists(key=keys[1], location="there"),
        ]
    )
    store = ground.store(dict.fromkeys(keys, b"damaged"))
    replace_damaged = MemoryStore.replace_damaged

    def refused(self: MemoryStore, key: str, damaged: bytes, parts: list[bytes]) -> None:
        if error := next(errors, None):
            raise error
        replace_damaged(self, key, damaged, parts)

    monkeypatch.setattr(MemoryStore, "replace_damaged", refused)
    report = _repair(store)
    assert len(report.left) == 2 and len(report.mended) == 1
    assert all("cannot be replaced now" in why for why in report.left.values())


def test_a_plain_copy_of_the_repository_gives_the_very_manifest(ground: Ground) -> None:
    key = f"points/{_first(ground)}"
    changes: dict[str, bytes | None] = {key: b"damaged", **_without_bundles(ground)}
    store = ground.store(changes)
    report = _repair(store, Repository.open(ground.store(), CREDENTIAL))
    assert report.is_whole
    assert store.objects[key] == ground.objects[key]


def test_a_manifest_that_this_program_does_not_know_is_not_damaged(ground: Ground) -> None:
    point = _first(ground)
    key = f"points/{point}"
    sealer = Repository.open(ground.store(), CREDENTIAL).sealer
    newer = sealer.seal(Kind.POINT, key, json.dumps({"manifest_version": 9}).encode())
    store = ground.store({key: newer})
    report = _repair(store, _source(ground))
    assert not report.mended
    assert store.objects[key] == newer


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("way", ["bundle", "copy"])
def test_a_crash_while_a_manifest_is_put_back(ground: Ground, way: str, applied: bool) -> None:
    """At every moment the point is listed: nobody takes it for deleted, and its packs with it."""
    key = f"points/{_first(ground)}"
    changes: dict[str, bytes | None] = {key: b"damaged"}
    changes |= _without_bundles(ground) if way == "copy" else {}
    for write in range(1, 60):
        store = ground.store(changes)
        dying = FaultyStore(store)
        dying.die_at(write, applied=applied)
        source = _source(ground) if way == "copy" else None
        with suppress(HoldfastError):
            _repair(dying, source)
        assert key in store.objects
        if not dying.died:
            return
        if store.objects[key] != b"damaged":
            assert store.objects[_aside(key, b"damaged")] == b"damaged"
        store.advance(3600)
        assert _repair(store, source).is_whole
        ground.assert_whole(store)
    pytest.fail("it never came to its end")


def test_an_immutable_manifest_stays_and_is_said(ground: Ground) -> None:
    point = _first(ground)
    key = f"points/{point}"
    store = ground.store()
    repository = Repository.open(store, CREDENTIAL)
    repository.locks.put_rule(Immutability(days=30))
    repository.locks.renew([key], repository.locks.now())
    store.replace(key, b"damaged")
    report = _repair(store)
    assert not report.is_whole
    assert "immutable until" in report.left[key]
    assert store.objects[key] == b"damaged"
    assert _aside(key, b"damaged") not in store.objects


def test_what_is_put_back_is_immutable_again(ground: Ground) -> None:
    key = f"points/{_first(ground)}"
    store = ground.store({key: b"damaged"})
    Repository.open(store, CREDENTIAL).locks.put_rule(Immutability(days=30))
    assert _repair(store).is_whole
    until = store.locked_until(key)
    assert until is not None
    assert (until - store.now()).days >= 29
    read_point(
        Repository.open(store, CREDENTIAL), Repository.open(store, CREDENTIAL).point(key[7:])
    )
