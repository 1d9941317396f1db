"""Bundles make lists short and decide nothing: which points there are, the listing of `points/`
says, and whatever becomes of a bundle, the list is the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from blake3 import blake3

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError, OutOfSpace
from holdfast.core.progress import SilentProgress
from holdfast.policy.retention import RetentionRules
from holdfast.repository import Manifest, Repository
from holdfast.repository import bundling as bundling_module
from holdfast.repository.bundles import FOLDER
from holdfast.repository.bundling import bundle_points
from holdfast.repository.check import check_repository
from holdfast.repository.compact import CompactOptions, run_compact
from holdfast.repository.errors import LeaseLost, ObjectDamaged, StoreUnavailable
from holdfast.repository.format.bundle import encode_bundle
from holdfast.repository.format.envelope import Kind
from holdfast.repository.format.point import encode_manifest
from holdfast.repository.manifests import fetch_for_list
from holdfast.repository.prune import PruneScope, plan_prune
from holdfast.repository.session import point_key
from holdfast.repository.store.cached import CachedStore
from holdfast.repository.store.local import LocalStore
from holdfast.repository.store.store import ObjectStore
from tests.support.engine import CREDENTIAL, Engine
from tests.support.memory_store import FaultyStore, MemoryStore
from tests.support.oracle import assert_repository_sound

_POINTS = 6


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(bundling_module, "FEW", 2)


@pytest.fixture
def engine() -> Engine:
    made = Engine.create()
    for _ in range(_POINTS):
        made.back_up()
    return made


def _ignore() -> None:
    pass


def _bundle(repository: Repository, confirm: Callable[[], None] = _ignore) -> int:
    return bundle_points(repository.manifests, confirm=confirm)


def _memory(engine: Engine) -> MemoryStore:
    assert isinstance(engine.store, MemoryStore)
    return engine.store


def _bundles(engine: Engine) -> list[str]:
    return sorted(info.key for info in engine.store.list(FOLDER))


def _listing(store: ObjectStore, reads: list[str] | None = None) -> list[Manifest]:
    """As a new process lists them; `reads` gets the keys of the objects below `points/` it read."""
    watched = FaultyStore(store)

    def note(operation: str, key: str) -> None:
        if reads is not None and operation == "get" and key.startswith("points/"):
            reads.append(key)

    watched.before = note
    damage: list[HoldfastError] = []
    points = Repository.open(watched, CREDENTIAL).points(damage.append)
    assert damage == []
    watched.before = None
    in_short = Repository.open(watched, CREDENTIAL).listed_points(damage.append)
    assert in_short == [point.listed() for point in points]
    assert damage == []
    return [point.manifest for point in points]


def _problems(engine: Engine) -> dict[str, tuple[str, ...]]:
    report = check_repository(
        Repository.open(engine.store, CREDENTIAL), cancel=CancelToken(), progress=SilentProgress()
    )
    return {problem.object: tuple(problem.points) for problem in report.problems}


def test_what_is_bundled_is_not_read_again(engine: Engine) -> None:
    expected = _listing(engine.store)
    assert _bundle(engine.repository) == _POINTS
    reads: list[str] = []
    assert _listing(engine.store, reads) == expected
    assert reads == []
    assert _problems(engine) == {}


def test_the_listing_of_points_is_the_truth(engine: Engine) -> None:
    _bundle(engine.repository)
    points = [manifest.id for manifest in _listing(engine.store)]
    engine.repository.delete_point(points[2])
    new = engine.back_up().manifest.id
    reads: list[str] = []
    listed = [manifest.id for manifest in _listing(engine.store, reads)]
    assert listed == [*points[:2], *points[3:], new]
    assert reads == [point_key(new)]
    assert _problems(engine) == {}


def test_what_was_fetched_ahead_serves_one_list(tmp_path: Path) -> None:
    """Points that came or went after it are not in it; the next list asks again."""
    store = LocalStore(tmp_path)
    store.prepare()
    engine = Engine.create(store)
    points = [engine.back_up().manifest.id for _ in range(_POINTS)]
    _bundle(engine.repository)
    opened = Repository.open(store, CREDENTIAL)
    opened.manifests.take(fetch_for_list(store))
    engine.repository.delete_point(points[0])
    new = engine.back_up().manifest.id
    assert [point.id for point in opened.listed_points()] == points
    assert [point.id for point in opened.listed_points()] == [*points[1:], new]
    opened.manifests.take(fetch_for_list(store))
    assert [point.id for point in opened.points()] == [*points[1:], new]


def test_few_new_points_are_left_alone(engine: Engine) -> None:
    _bundle(engine.repository)
    before = _bundles(engine)
    for _ in range(2):
        engine.back_up()
        assert _bundle(engine.repository) == 0
        assert _bundles(engine) == before
    engine.back_up()
    assert _bundle(engine.repository) == _POINTS + 3
    assert len(_bundles(engine)) == 1
    assert before != _bundles(engine)


def test_bundles_are_closed_and_stay(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full one is not written again for new points; one of points that are mostly gone is."""
    monkeypatch.setattr(bundling_module, "_FULL_POINTS", 4)
    assert _bundle(engine.repository) == _POINTS
    full = _bundles(engine)
    assert len(full) == 2
    for _ in range(3):
        engine.back_up()
    assert _bundle(engine.repository) == 3
    assert set(full) < set(_bundles(engine))
    points = [manifest.id for manifest in _listing(engine.store)]
    for point in points[:3]:
        engine.repository.delete_point(point)
    assert _bundle(engine.repository) == 1
    reads: list[str] = []
    assert [manifest.id for manifest in _listing(engine.store, reads)] == points[3:]
    assert reads == []
    for point in points[3:]:
        engine.repository.delete_point(point)
    assert _bundle(engine.repository) == 0
    assert _bundles(engine) == []


def test_a_bundle_is_closed_by_size_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling_module, "_FULL_BYTES", 3000)
    _bundle(engine.repository)
    assert 2 <= len(_bundles(engine)) <= _POINTS
    reads: list[str] = []
    assert len(_listing(engine.store, reads)) == _POINTS
    assert reads == []


def _altered(engine: Engine, key: str) -> Iterator[bytes | None]:
    data = _memory(engine).objects[key]
    rng = random.Random(1)
    for position in [*range(64), *rng.sample(range(len(data)), 100)]:
        changed = bytearray(data)
        changed[position] ^= rng.randrange(1, 256)
        yield bytes(changed)
    yield from (data[:length] for length in (0, 1, 31, 60, len(data) // 2, len(data) - 1))
    yield data + b"\0"
    yield None


def test_a_damaged_bundle_costs_time_only(engine: Engine) -> None:
    expected = _listing(engine.store)
    _bundle(engine.repository)
    (key,) = _bundles(engine)
    whole = _memory(engine).objects[key]
    for altered in _altered(engine, key):
        if altered is None:
            engine.store.delete(key)
        else:
            _memory(engine).replace(key, altered)
        reads: list[str] = []
        assert _listing(engine.store, reads) == expected
        assert len(reads) == _POINTS
        assert _problems(engine) == ({} if altered is None else {key: ()})
    engine.store.put_new(key, [whole[:-1]])
    assert _bundle(engine.repository) == _POINTS
    assert key not in _bundles(engine)
    assert _problems(engine) == {}


def test_a_bundle_of_another_repository_is_none(engine: Engine) -> None:
    """Also under a name that is right for it, and with the same points in it."""
    other = Engine.create()
    for _ in range(3):
        other.back_up()
    (manifests, *_) = [{point.id: encode_manifest(point) for point in _listing(engine.store)}]
    other.repository.manifests.bundles.put(manifests)
    (key,) = _bundles(other)
    engine.store.put_new(key, [_memory(other).objects[key]])
    reads: list[str] = []
    assert len(_listing(engine.store, reads)) == len(reads) == _POINTS
    assert _problems(engine) == {key: ()}


def test_a_bundle_replayed_from_before_deletions_shows_nothing_of_them(engine: Engine) -> None:
    _bundle(engine.repository)
    (key,) = _bundles(engine)
    old = _memory(engine).objects[key]
    points = [manifest.id for manifest in _listing(engine.store)]
    for point in points[:-1]:
        engine.repository.delete_point(point)
    _bundle(engine.repository)
    assert key not in _bundles(engine)
    engine.store.put_new(key, [old])
    assert [manifest.id for manifest in _listing(engine.store)] == points[-1:]
    assert _problems(engine) == {}


def test_an_object_of_another_kind_is_no_bundle(engine: Engine) -> None:
    _bundle(engine.repository)
    expected = _listing(engine.store)
    objects = _memory(engine).objects
    for key in [key for key in objects if key.startswith(("index/", "packs/"))]:
        engine.store.put_new(f"{FOLDER}{key.rpartition('/')[2]}", [objects[key]])
    engine.store.put_new(f"{FOLDER}not-a-hash", [b"x"])
    assert _listing(engine.store) == expected


@pytest.mark.parametrize("what", ["other row", "no manifest", "other version", "two in one"])
def test_an_entry_that_is_not_what_its_row_says_is_passed_over(engine: Engine, what: str) -> None:
    """Only who has the master key can write one."""
    manifests = _listing(engine.store)
    texts = {manifest.id: encode_manifest(manifest) for manifest in manifests}
    first, second = manifests[0].id, manifests[1].id
    if what == "other row":
        texts[first], texts[second] = texts[second], texts[first]
    elif what == "no manifest":
        texts[first], texts[second] = b"[]", b"7"
    elif what == "other version":
        for point in (first, second):
            texts[point] = texts[point].replace(b'"manifest_version": 1', b'"manifest_version": 2')
    else:
        texts[first], texts[second] = texts[first][:-1] + b",", b'"x": 1}'
    engine.repository.manifests.bundles.put(texts)
    reads: list[str] = []
    assert _listing(engine.store, reads) == manifests
    if what != "two in one":
        assert sorted(reads) == sorted([point_key(first), point_key(second)])


def test_check_says_when_a_bundle_says_something_else(engine: Engine) -> None:
    manifests = _listing(engine.store)
    lie = replace(manifests[0], notes=("never written",))
    key = engine.repository.manifests.bundles.put({lie.id: encode_manifest(lie)})
    assert _problems(engine) == {key: ()}


def test_damage_to_a_bundled_manifest_is_seen_where_it_matters(engine: Engine) -> None:
    """The list shows the point; check, restore and prune read the manifest itself."""
    _bundle(engine.repository)
    points = [manifest.id for manifest in _listing(engine.store)]
    newest = points[-1]
    _memory(engine).replace(point_key(newest), b"damaged")
    assert [manifest.id for manifest in _listing(engine.store)] == points
    assert _problems(engine) == {point_key(newest): (newest,)}
    repository = Repository.open(engine.store, CREDENTIAL)
    with pytest.raises(ObjectDamaged):
        repository.point(newest)
    assert repository.point("latest").id == points[-2]
    scope = PruneScope(rules=RetentionRules(keep_last=1), time_zone=UTC)
    with pytest.raises(ObjectDamaged):
        plan_prune(repository, scope, cancel=CancelToken(), progress=SilentProgress())


def test_compact_writes_them_last(engine: Engine) -> None:
    dry = CompactOptions(grace=timedelta(0), dry_run=True)
    options = replace(dry, dry_run=False)
    repository = engine.repository
    report = run_compact(repository, dry, cancel=CancelToken(), progress=SilentProgress())
    assert (report.bundled_points, _bundles(engine)) == (0, [])
    report = run_compact(repository, options, cancel=CancelToken(), progress=SilentProgress())
    assert report.bundled_points == _POINTS
    assert len(_bundles(engine)) == 1
    report = run_compact(repository, options, cancel=CancelToken(), progress=SilentProgress())
    assert report.bundled_points == 0


def test_a_full_storage_does_not_fail_compact(engine: Engine) -> None:
    store = FaultyStore(engine.store)

    def full(operation: str, key: str) -> None:
        if operation == "put_new" and key.startswith(FOLDER):
            raise OutOfSpace(location="memory")

    store.before = full
    report = run_compact(
        Repository.open(store, CREDENTIAL),
        CompactOptions(),
        cancel=CancelToken(),
        progress=SilentProgress(),
    )
    assert report.bundled_points == 0
    assert _bundles(engine) == []


def test_whoever_lost_the_lease_writes_nothing(engine: Engine) -> None:
    def lost() -> None:
        raise LeaseLost(what="maintenance")

    with pytest.raises(LeaseLost):
        _bundle(engine.repository, lost)
    assert _bundles(engine) == []


def test_a_crash_at_any_step_is_cleaned_up_by_the_next_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling_module, "_FULL_POINTS", 4)
    _bundle(engine.repository)
    for _ in range(7):
        engine.back_up()
    points = [manifest.id for manifest in _listing(engine.store)]
    for point in points[:5]:
        engine.repository.delete_point(point)
    before = _memory(engine).objects
    for step in range(1, 20):
        for applied in (False, True):
            memory = MemoryStore(before)
            store = FaultyStore(memory)
            repository = Repository.open(store, CREDENTIAL)
            store.die_at(step, applied=applied)
            with suppress(StoreUnavailable):
                _bundle(repository)
            if not store.died:
                assert step > 4  # two bundles put, two deleted
                return
            assert [manifest.id for manifest in _listing(memory)] == points[5:]
            _bundle(Repository.open(memory, CREDENTIAL))
            reads: list[str] = []
            assert [manifest.id for manifest in _listing(memory, reads)] == points[5:]
            assert len(reads) <= bundling_module.FEW
            left = {point: engine.acknowledged[point] for point in points[5:]}
            assert_repository_sound(memory, CREDENTIAL, left)
    raise AssertionError("it never came to an end")


def test_two_writers_at_once_lose_nothing(engine: Engine) -> None:
    """The second one does all its work while the first is between reading and writing."""
    _bundle(engine.repository)
    for _ in range(3):
        engine.back_up()
    expected = _listing(engine.store)
    other = Repository.open(engine.store, CREDENTIAL)

    def meanwhile() -> None:
        assert _bundle(other) == len(expected)

    assert _bundle(engine.repository, meanwhile) == len(expected)
    reads: list[str] = []
    assert _listing(engine.store, reads) == expected
    assert reads == []
    assert _problems(engine) == {}


def test_a_bundle_that_is_replaced_while_a_list_is_read(engine: Engine) -> None:
    _bundle(engine.repository)
    for _ in range(3):
        engine.back_up()
    expected = _listing(engine.store)
    store = FaultyStore(engine.store)
    reads: list[str] = []

    def replace_it(operation: str, key: str) -> None:
        if operation != "get":
            return
        if key.startswith(FOLDER) and not reads:
            reads.append(key)
            _bundle(engine.repository)
        elif key.startswith("points/"):
            reads.append(key)

    store.before = replace_it
    listed = Repository.open(store, CREDENTIAL).points()
    assert [point.manifest for point in listed] == expected
    assert len(reads) == 1


def test_a_bucket_keeps_a_bundle_in_its_cache_and_copies_of_the_rest(
    engine: Engine, tmp_path: Path
) -> None:
    _bundle(engine.repository)
    gets: list[str] = []

    def listed() -> list[Manifest]:
        gets.clear()
        store = FaultyStore(engine.store)
        store.before = lambda operation, key: (
            gets.append(key) if operation == "get" and "/" in key else None
        )
        points = Repository.open(CachedStore(store, tmp_path), CREDENTIAL).points()
        return [point.manifest for point in points]

    expected = listed()
    assert len(expected) == _POINTS
    assert [key for key in gets if not key.startswith("keys/")] == _bundles(engine)
    new = engine.back_up().manifest.id
    assert [manifest.id for manifest in listed()] == [*(item.id for item in expected), new]
    assert [key for key in gets if not key.startswith("keys/")] == [point_key(new)]
    engine.repository.delete_point(expected[0].id)
    assert [manifest.id for manifest in listed()] == [*(item.id for item in expected[1:]), new]


def test_an_unsealed_bundle_is_none(engine: Engine) -> None:
    """Sealed as another kind, by who has the key: still none."""
    manifests = {item.id: encode_manifest(item) for item in _listing(engine.store)}
    for kind in (Kind.INDEX, Kind.POINT):
        sealed = engine.repository.sealer.seal(kind, "", encode_bundle(manifests))
        engine.store.put_new(f"{FOLDER}{blake3(sealed).hexdigest()}", [sealed])
    reads: list[str] = []
    assert len(_listing(engine.store, reads)) == len(reads) == _POINTS
