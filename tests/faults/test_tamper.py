"""Tamper evidence (T9, T4): every object type, altered in every way there is.

One small repository is written once. Each case changes objects in its folder behind our back,
then everything is read again as a restore would. Whatever comes out must be what went in or an
error of the integrity class, exactly the points that need the altered bytes may fail, and all
others must still restore.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.backup.run import back_up_vm
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Category, HoldfastError
from holdfast.core.progress import SilentProgress
from holdfast.hypervisors.driver import Artifact
from holdfast.repository import ChunkType, Credential, LocalStore, Repository, RestorePoint
from holdfast.repository.check import check_repository
from holdfast.repository.errors import (
    HeaderDamaged,
    ObjectDamaged,
    RepositoryIncomplete,
    WrongPassphrase,
)
from holdfast.repository.format.pack import HEADER_BYTES, pack_name
from holdfast.repository.format.point import encode_manifest
from holdfast.repository.format.recovery_kit import parse_recovery_key
from tests.support.fake_driver import FakeDriver, FakeVm

PASSPHRASE = Credential.passphrase("tamper")
NEW_ID = "01a20569-ffff-7fff-bfff-ffffffffffff"
SAMPLE = 300
CHUNK = 4096

Content = Mapping[tuple[str, int], bytes]
"""Name and offset of every piece that is not zero."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """A repository on disk, what is in it, and what each point needs."""

    root: Path
    recovery: Credential
    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    manifests: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """By id of the point: the content of its manifest."""
    points: dict[str, Content] = field(default_factory=dict[str, Content])
    """By id: the content of its disks and artifacts."""
    needs: dict[str, list[tuple[int, int, str]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[int, int, str]]](list)
    )
    """By key of pack: (first byte, byte after the last, id of a point that needs them)."""

    def keys(self, folder: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(folder))

    def open(self, credential: Credential | None = None) -> Repository:
        return Repository.open(LocalStore(self.root), credential or self.recovery)

    @contextmanager
    def with_objects(self, changes: Mapping[str, bytes | None]) -> Generator[None]:
        """Other bytes under these keys, or nothing, until the block ends."""
        for key, data in changes.items():
            self._write(key, data)
        try:
            yield
        finally:
            for key in changes:
                self._write(key, self.objects.get(key))

    def _write(self, key: str, data: bytes | None) -> None:
        path = self.root / key
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a reader got. Wrong content is not recorded: it fails the test at once."""

    failed: set[str] = field(default_factory=set[str])
    suspect: set[str] = field(default_factory=set[str])


def build(root: Path, seed: int) -> Scene:
    """Two VMs with nothing in common; the first with a full and an incremental point, and that one
    under a data key of its own."""
    store = LocalStore(root)
    store.prepare()
    repository, kit = Repository.create(store, PASSPHRASE, chunk_bytes=CHUNK)
    recovery = parse_recovery_key(next(line for line in kit.splitlines() if "HFK1-" in line))
    scene = Scene(root=root, recovery=recovery)
    rng = random.Random(seed)
    driver = FakeDriver()
    first, second = driver.add_vm("a"), driver.add_vm("b")
    for vm in (first, second):
        vm.add_disk("vda", 41_000).write(100, rng.randbytes(9000) + rng.randbytes(100) * 100)
        vm.add_disk("vdb", CHUNK * 513).write(CHUNK * 512, rng.randbytes(300))
        vm.artifacts = [Artifact(name="nvram", data=rng.randbytes(5000))]
        _back_up(scene, repository, driver, vm)
    with repository.begin_maintenance():
        repository.data_keys.rotate()
    first.disks["vda"].write(20_000, rng.randbytes(5000))
    first.artifacts = [Artifact(name="nvram", data=rng.randbytes(100))]
    _back_up(scene, repository, driver, first)
    for number, point_id in enumerate(scene.points):
        if number != 1:
            repository.mark_suspect([point_id], "in doubt")
    points = {point.id: encode_manifest(point.manifest) for point in repository.points()}
    scene.manifests.update(points)
    repository.manifests.bundles.put(points)
    for path in root.rglob("*"):
        if path.is_file():
            scene.objects[path.relative_to(root).as_posix()] = path.read_bytes()
    return scene


def _back_up(scene: Scene, repository: Repository, driver: FakeDriver, vm: FakeVm) -> None:
    result = back_up_vm(
        driver=driver, vm=driver.find_vm(vm.id), repository=repository, cancel=CancelToken()
    )
    manifest = result.manifest
    content: dict[tuple[str, int], bytes] = {}
    for key, disk in vm.disks.items():
        data = disk.content.read()
        for offset in range(0, len(data), CHUNK):
            if any(data[offset : offset + CHUNK]):
                content[key, offset] = data[offset : offset + CHUNK]
    content.update({(item.name, 0): item.data for item in vm.artifacts})
    scene.points[manifest.id] = content
    used: list[tuple[bytes, ChunkType]] = []
    for disk in manifest.disks:
        disk_map = repository.disk_map(disk)
        used += [(page, ChunkType.MAP) for page in disk_map.page_ids()]
        used += [(chunk, ChunkType.DATA) for _, chunk in disk_map.data_chunks()]
    for artifact in manifest.artifacts:
        used += [(chunk, ChunkType.ARTIFACT) for chunk in artifact.chunks]
    for chunk, kind in used:
        at = repository.chunks.locate(chunk, kind)
        span = (at.offset, at.offset + at.stored_bytes, manifest.id)
        scene.needs[pack_name(at.pack_hash)].append(span)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return build(tmp_path_factory.mktemp("tamper") / "repository", seed=1)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Another repository of the same shape and the same passphrase."""
    return build(tmp_path_factory.mktemp("foreign") / "repository", seed=2)


# -- observing ------------------------------------------------------------------------------------


def read_point(repository: Repository, point: RestorePoint) -> Content:
    content: dict[tuple[str, int], bytes] = {}
    for disk in point.manifest.disks:
        for index, chunk_id in repository.disk_map(disk).data_chunks():
            content[disk.key, index * CHUNK] = repository.chunks.read(chunk_id)
    for artifact in point.manifest.artifacts:
        content[artifact.name, 0] = repository.read_artifact(artifact)
    return content


def observe(scene: Scene) -> Outcome:
    """Restore every point. Only integrity errors are accepted, and never wrong content."""
    outcome = Outcome()
    repository = scene.open()
    for point_id, expected in scene.points.items():
        try:
            point = repository.point(point_id)
            repository.load_index()
            content = read_point(repository, point)
        except HoldfastError as error:
            assert error.category in {Category.INTEGRITY, Category.NOT_FOUND}, error
            outcome.failed.add(point_id)
            continue
        assert content == expected, "wrong content was accepted"
        if point.suspect:
            outcome.suspect.add(point_id)
    return outcome


def problems(scene: Scene) -> dict[str, set[str]]:
    """What `check` reports: points affected, by object."""
    report = check_repository(
        scene.open(), cancel=CancelToken(), progress=SilentProgress(), read_data=True
    )
    return {problem.object: set(problem.points) for problem in report.problems}


def flips(data: bytes, seed: int, sample: int | None = None) -> Iterator[tuple[int, bytes]]:
    """`(position, bytes)` with one byte altered: every position, or a sample of them."""
    rng = random.Random(seed)
    positions = range(len(data))
    if sample is not None and sample < len(data):
        positions = sorted(rng.sample(positions, sample))
    for position in positions:
        altered = bytearray(data)
        altered[position] ^= rng.randrange(1, 256)
        yield position, bytes(altered)


def reshaped(data: bytes) -> list[bytes]:
    """Torn and grown versions: truncated, zero tails, bytes added."""
    lengths = {0, 1, 8, 16, 31, 32, 44, 60, 63, 64, len(data) // 2, len(data) - 17, len(data) - 1}
    cuts = sorted(length for length in lengths if 0 <= length < len(data))
    shapes = [data[:length] for length in cuts]
    shapes += [data[:length] + bytes(len(data) - length) for length in cuts]
    shapes += [data + b"\0", data + b"\n", data + data, data[:1] + data, b"\n" + data]
    return [shape for shape in shapes if shape != data]


def others(scene: Scene, foreign: Scene, key: str) -> list[bytes]:
    """What could be put in the place of `key`: every other object here, and those of the same
    folder of another repository."""
    folder = key.partition("/")[0]
    here = [data for other, data in scene.objects.items() if other != key]
    there = [data for other, data in foreign.objects.items() if other.partition("/")[0] == folder]
    return here + there


# -- every type -----------------------------------------------------------------------------------


def test_untouched_repository_restores(scene: Scene) -> None:
    doubted = {point for number, point in enumerate(scene.points) if number != 1}
    assert observe(scene) == Outcome(suspect=doubted)
    assert problems(scene) == {}
    assert len(scene.keys("packs/")) == len(scene.keys("index/")) == len(scene.points) == 3


@pytest.mark.parametrize("key", ["config", "sentinel"])
def test_objects_everything_depends_on(scene: Scene, foreign: Scene, key: str) -> None:
    data = scene.objects[key]
    cases = [altered for _, altered in flips(data, 3)] + reshaped(data)
    for altered in cases:
        with scene.with_objects({key: altered}), pytest.raises(ObjectDamaged):
            scene.open()
    for altered in others(scene, foreign, key):
        # Another repository's config is whole, but no slot here opens for it.
        with (
            scene.with_objects({key: altered}),
            pytest.raises((ObjectDamaged, WrongPassphrase)),
        ):
            scene.open()
    with (
        scene.with_objects({key: None}),
        pytest.raises((HeaderDamaged, RepositoryIncomplete)),
    ):
        scene.open()
    assert len(cases) > 80


def test_key_slots(scene: Scene, foreign: Scene) -> None:
    """A damaged slot is reported to who needs it, and does not lock out the other one."""
    slots = scene.keys("keys/")
    by_kind = {b'"passphrase"' in scene.objects[key]: key for key in slots}
    for is_passphrase, key in by_kind.items():
        needing = PASSPHRASE if is_passphrase else scene.recovery
        data = scene.objects[key]
        for altered in [altered for _, altered in flips(data, 4)] + reshaped(data):
            with scene.with_objects({key: altered}):
                with pytest.raises(ObjectDamaged):
                    scene.open(needing)
                if is_passphrase:
                    scene.open(scene.recovery)
        for altered in [*others(scene, foreign, key), None]:
            with (
                scene.with_objects({key: altered}),
                pytest.raises((ObjectDamaged, WrongPassphrase)),
            ):
                scene.open(needing)
    first, second = slots
    swapped = {first: scene.objects[second], second: scene.objects[first]}
    with scene.with_objects(swapped), pytest.raises(ObjectDamaged):
        scene.open()
    with scene.with_objects(dict.fromkeys(slots)), pytest.raises(RepositoryIncomplete):
        scene.open()


def test_packs(scene: Scene) -> None:
    """Exactly the points that need the altered byte fail, and `check` names the pack."""
    tried = 0
    for seed, key in enumerate(scene.keys("packs/")):
        data = scene.objects[key]
        header = [case for case in flips(data, seed + 10) if case[0] < HEADER_BYTES]
        for position, altered in [*header, *flips(data, seed, SAMPLE)]:
            tried += 1
            expected = {
                point
                for start, end, point in scene.needs[key]
                if start <= position < end or position < HEADER_BYTES
            }
            with scene.with_objects({key: altered}):
                assert observe(scene).failed == expected, position
                if tried % 4 == 0:
                    assert key in problems(scene), position
    assert tried >= 900


def test_packs_torn_or_grown(scene: Scene, foreign: Scene) -> None:
    for key in scene.keys("packs/"):
        data = scene.objects[key]
        needing = {point for _, _, point in scene.needs[key]}
        table_at = max(end for _, end, _ in scene.needs[key])
        cuts = range(0, len(data), 512)
        for altered in [
            *reshaped(data),
            *(data[:cut] for cut in cuts),
            *(data[:cut] + bytes(len(data) - cut) for cut in cuts),
        ]:
            with scene.with_objects({key: altered}):
                failed = observe(scene).failed
                assert failed <= needing
                if altered[:table_at] != data[:table_at]:
                    assert failed, "damage to chunks went unseen"
                assert key in problems(scene)
        for replaced in [*others(scene, foreign, key), None]:
            with scene.with_objects({key: replaced}):
                assert observe(scene).failed == needing
                assert key in problems(scene)


def test_packs_swapped(scene: Scene) -> None:
    keys = scene.keys("packs/")
    for first, second in zip(keys, keys[1:] + keys[:1], strict=True):
        swapped = {first: scene.objects[second], second: scene.objects[first]}
        with scene.with_objects(swapped):
            needing = {point for key in swapped for _, _, point in scene.needs[key]}
            assert observe(scene).failed == needing
            assert swapped.keys() <= problems(scene).keys()


def test_packs_without_their_index(scene: Scene) -> None:
    """The tables are the only way in: damage to them loses the pack, and nothing more."""
    for seed, key in enumerate(scene.keys("packs/")):
        data = scene.objects[key]
        table_at = max(end for _, end, _ in scene.needs[key])
        needing = {point for _, _, point in scene.needs[key]}
        gone = dict.fromkeys(scene.keys("index/"))
        for position, altered in flips(data[table_at:], seed, SAMPLE):
            with scene.with_objects({**gone, key: data[:table_at] + altered}):
                assert observe(scene).failed == needing, position


def test_index_objects_are_a_cache(scene: Scene, foreign: Scene) -> None:
    """No point is lost, whatever happens to the index; `check` tells all the same."""
    indexes = scene.keys("index/")
    for key in indexes:
        data = scene.objects[key]
        for altered in [
            *(altered for _, altered in flips(data, 5, SAMPLE // 2)),
            *reshaped(data),
            *others(scene, foreign, key),
        ]:
            with scene.with_objects({key: altered}):
                assert not observe(scene).failed
        for _, altered in flips(data, 6, 30):
            with scene.with_objects({key: altered}):
                assert key in problems(scene)
    for changes in (
        dict.fromkeys(indexes),
        {indexes[0]: scene.objects[indexes[1]], indexes[1]: scene.objects[indexes[0]]},
        {"index/" + "0" * 64: scene.objects[indexes[0]]},
    ):
        with scene.with_objects(changes):
            assert not observe(scene).failed


def test_data_keys(scene: Scene, foreign: Scene) -> None:
    """One copy of two is enough, whatever the other holds; without both, exactly the points that
    need a pack under that key fail, and no other key is taken for it."""
    first, second = scene.keys("datakeys/")
    newest = list(scene.points)[-1]
    under_it = {key for key in scene.keys("packs/") if scene.objects[key][8] == 2}
    assert {point for key in under_it for _, _, point in scene.needs[key]} == {newest}
    for key, other in ((first, second), (second, first)):
        data = scene.objects[key]
        cases = [*(altered for _, altered in flips(data, 7)), *reshaped(data)]
        for altered in [*cases, *others(scene, foreign, key), None]:
            with scene.with_objects({key: altered}):
                assert not observe(scene).failed
            with scene.with_objects({key: altered, other: None}):
                assert observe(scene).failed == {newest}
                if altered is not None:
                    with pytest.raises(ObjectDamaged, match="key rotate"):
                        scene.open().data_keys.newest()
        for altered in [*cases[::20], None]:
            with scene.with_objects({key: altered}):
                assert problems(scene) == {key: set()}
        assert len(cases) > 100
    later = {key.replace("00000001", "00000002"): scene.objects[key] for key in (first, second)}
    with scene.with_objects(later):
        assert not observe(scene).failed
        with pytest.raises(ObjectDamaged):
            scene.open().data_keys.newest()


def test_points(scene: Scene, foreign: Scene) -> None:
    for seed, key in enumerate(scene.keys("points/")):
        point_id = key.removeprefix("points/")
        data = scene.objects[key]
        altered_points = [altered for _, altered in flips(data, seed, SAMPLE // 2)]
        for altered in [*altered_points, *reshaped(data), *others(scene, foreign, key)]:
            with scene.with_objects({key: altered}):
                assert observe(scene).failed == {point_id}
        for altered in altered_points[::10]:
            with scene.with_objects({key: altered}):
                assert problems(scene) == {key: {point_id}}
        with scene.with_objects({key: None}):
            assert observe(scene).failed == {point_id}


def listed(scene: Scene) -> set[str]:
    """As lists show it: nothing but what was written may be in it."""
    points = scene.open().points()
    assert all(encode_manifest(point.manifest) == scene.manifests[point.id] for point in points)
    return {point.id for point in points}


def test_bundles(scene: Scene, foreign: Scene) -> None:
    """Lists are the same, whatever becomes of a bundle; `check` tells, and no point is lost."""
    (key,) = scene.keys("bundles/")
    data = scene.objects[key]
    cases = [
        *(altered for _, altered in flips(data, 8, SAMPLE)),
        *reshaped(data),
        *others(scene, foreign, key),
    ]
    for number, altered in enumerate([*cases, None]):
        with scene.with_objects({key: altered}):
            assert listed(scene) == scene.points.keys()
            if number % 10 == 0 and altered is not None:
                assert not observe(scene).failed
                assert problems(scene) == {key: set()}
    assert len(cases) > 300
    for point in scene.keys("points/"):
        gone = scene.points.keys() - {point.removeprefix("points/")}
        with scene.with_objects({point: None}):
            assert listed(scene) == gone, "a bundle made a deleted point visible"
        there = {point: scene.objects[point], f"points/{NEW_ID}": scene.objects[point]}
        with scene.with_objects(there):
            assert listed(scene) == scene.points.keys()
    foreign_ones = {other: foreign.objects[other] for other in foreign.keys("bundles/")}
    with scene.with_objects(foreign_ones):
        assert listed(scene) == scene.points.keys()


def test_point_replayed_under_another_name(scene: Scene) -> None:
    for key in scene.keys("points/"):
        with scene.with_objects({f"points/{NEW_ID}": scene.objects[key]}):
            with pytest.raises(ObjectDamaged):
                scene.open().point(NEW_ID)
            assert not observe(scene).failed


def test_marks(scene: Scene, foreign: Scene) -> None:
    """Damage to a mark never takes doubt away from a point, and never keeps one from restoring."""
    doubted = observe(scene).suspect
    assert len(doubted) == 2
    for seed, key in enumerate(scene.keys("marks/")):
        data = scene.objects[key]
        cases = [
            *(altered for _, altered in flips(data, seed)),
            *reshaped(data),
            *others(scene, foreign, key),
        ]
        for altered in cases:
            with scene.with_objects({key: altered}):
                outcome = observe(scene)
                assert not outcome.failed
                assert outcome.suspect >= doubted
        assert len(cases) > 100
    replayed = {f"marks/{NEW_ID}": scene.objects[scene.keys("marks/")[0]]}
    with scene.with_objects(replayed):
        assert observe(scene).suspect >= doubted


def test_leases(scene: Scene, foreign: Scene) -> None:
    """A lease nobody can read is neither believed nor in the way of reading."""
    leases = [key for key in scene.keys("leases/") if key.startswith("leases/vm-")]
    assert len(leases) == 2
    for seed, key in enumerate(leases):
        data = scene.objects[key]
        cases = [
            *(altered for _, altered in flips(data, seed)),
            *reshaped(data),
            *others(scene, foreign, key),
        ]
        with_vm = _vm_of_lease(scene, key)
        for altered in cases:
            with scene.with_objects({key: altered}), pytest.raises(ObjectDamaged):
                scene.open().begin_backup(platform="fake:memory", vm_id=with_vm, vm_name="x")
        for altered in cases[::25]:
            with scene.with_objects({key: altered}):
                assert not observe(scene).failed
        resource = key.rpartition("/")[0]
        newer = {f"{resource}/00000000000000ff": data}
        with scene.with_objects(newer), pytest.raises(ObjectDamaged):
            scene.open().begin_backup(platform="fake:memory", vm_id=with_vm, vm_name="x")


def _vm_of_lease(scene: Scene, key: str) -> str:
    """Which of the two VMs the lease is for: the one whose backup creates its next generation."""
    resource = (scene.root / key).parent
    before = {path.name for path in resource.iterdir()}
    for vm_id in ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"):
        with scene.open().begin_backup(platform="fake:memory", vm_id=vm_id, vm_name="x"):
            taken = {path.name for path in resource.iterdir()} != before
        for path in resource.parent.rglob("*"):
            if path.is_file():
                path.unlink()
        for other in scene.keys("leases/"):
            (scene.root / other).write_bytes(scene.objects[other])
        if taken:
            return vm_id
    raise AssertionError(f"{key} belongs to no VM here")


@pytest.mark.parametrize(
    "folder", ["points", "packs", "index", "bundles", "marks", "keys", "datakeys", "leases", ""]
)
def test_stray_files_are_in_nobodys_way(scene: Scene, folder: str) -> None:
    """What an operating system or a person drops into a folder is no object."""
    for name in ("Thumbs.db", "Copy of x", "..tmp", "lost+found/x", ".nfs0001", "é"):
        with scene.with_objects({f"{folder}/{name}".lstrip("/"): b"junk"}):
            assert not observe(scene).failed
