"""The contract of `ObjectStore`, for every implementation. A new store adds itself to `_STORES`."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from holdfast.core.errors import HoldfastError, OutOfSpace
from holdfast.repository import LocalStore
from holdfast.repository.errors import (
    LocksUnsupported,
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
    StoreUnavailable,
)
from holdfast.repository.store.store import ObjectLock, ObjectStore, keys_below
from tests.support.locks import lockable_folder
from tests.support.memory_store import FaultyStore, MemoryStore
from tests.support.oracle import TEMPORARY_PREFIX
from tests.support.seaweedfs import locking_bucket, new_location, shared_server

KEY = "packs/ab/abcdef"


def _local(root: Path) -> ObjectStore:
    store = LocalStore(root / "store")
    store.prepare()
    return store


def _memory(_root: Path) -> ObjectStore:
    return MemoryStore()


def _wrapped(_root: Path) -> ObjectStore:
    return FaultyStore(MemoryStore())


def _s3(_root: Path) -> ObjectStore:
    return shared_server().store()


_STORES: dict[str, Callable[[Path], ObjectStore]] = {
    "local": _local,
    "memory": _memory,
    "faulty": _wrapped,
    "s3": _s3,
}


@pytest.fixture(params=sorted(_STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return _STORES[request.param](tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    """A local store, for what only a file system can do."""
    store = LocalStore(tmp_path / "store")
    store.prepare()
    return store


def _keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(info.key for info in store.list(prefix))


def _visible_files(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX)
    )


# -- every store ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 511, 4096, 3 * 1024 * 1024 + 7])
def test_what_was_put_is_got(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    store.put_new(KEY, [data[:100], bytearray(data[100:200]), memoryview(data)[200:]])
    assert store.get(KEY) == data
    info = store.stat(KEY)
    assert (info.key, info.size_bytes) == (KEY, size)


def test_buffers_are_the_callers_again(store: ObjectStore) -> None:
    buffer = bytearray(b"before")
    store.put_new(KEY, [buffer])
    buffer[:] = b"after!"
    assert store.get(KEY) == b"before"


def test_no_part_is_an_empty_object(store: ObjectStore) -> None:
    store.put_new(KEY, [])
    assert store.get(KEY) == b""


def test_nothing_is_replaced(store: ObjectStore) -> None:
    store.put_new(KEY, [b"first"])
    with pytest.raises(ObjectExists) as raised:
        store.put_new(KEY, [b"second"])
    assert raised.value.key == KEY
    assert store.get(KEY) == b"first"
    assert _keys(store) == [KEY]


@pytest.mark.parametrize("fresh", [b"", b"whole", b"x" * 70_000])
def test_only_what_is_damaged_is_replaced(store: ObjectStore, fresh: bytes) -> None:
    with pytest.raises(ObjectMissing):
        store.replace_damaged(KEY, b"", [fresh])
    assert _keys(store) == []
    store.put_new(KEY, [b"damaged"])
    for other in (b"", b"damage", b"something else"):
        with pytest.raises(ObjectExists) as raised:
            store.replace_damaged(KEY, other, [fresh])
        assert raised.value.key == KEY
        assert store.get(KEY) == b"damaged"
    store.replace_damaged(KEY, b"damaged", [fresh[:2], fresh[2:]])
    assert store.get(KEY) == fresh
    assert store.stat(KEY).size_bytes == len(fresh)
    assert _keys(store) == [KEY]


@pytest.mark.parametrize("round_number", range(5))
def test_of_many_writers_one_wins(store: ObjectStore, round_number: int) -> None:
    barrier = threading.Barrier(8)
    key = f"leases/vm/{round_number:016x}"

    def put(number: int) -> int | None:
        barrier.wait()
        try:
            store.put_new(key, [b"%d" % number * 5000])
        except ObjectExists:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(put, range(8)) if number is not None]
    assert len(winners) == 1
    assert store.get(key) == b"%d" % winners[0] * 5000


def test_ranges_are_exact(store: ObjectStore) -> None:
    store.put_new(KEY, [bytes(range(200))])
    assert store.get_range(KEY, 0, 200) == bytes(range(200))
    assert store.get_range(KEY, 17, 3) == bytes([17, 18, 19])
    assert store.get_range(KEY, 200, 0) == b""
    for offset, length in [(0, 201), (199, 2), (200, 1), (10_000, 1)]:
        with pytest.raises(ObjectDamaged) as raised:
            store.get_range(KEY, offset, length)
        assert raised.value.key == KEY


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    store.put_new(KEY, [b"x"])
    calls: list[Callable[[], object]] = [
        lambda: store.get("packs/ab/other"),
        lambda: store.get("index/other"),
        lambda: store.get(f"{KEY}/below"),
        lambda: store.get_range("packs/ab/other", 0, 1),
        lambda: store.stat("packs/ab/other"),
        lambda: store.delete("packs/ab/other"),
    ]
    for call in calls:
        with pytest.raises(ObjectMissing):
            call()
    assert _keys(store) == [KEY]


def test_delete_removes_exactly_one(store: ObjectStore) -> None:
    for name in ("points/a", "points/ab", "index/a"):
        store.put_new(name, [b"x"])
    store.delete("points/a")
    assert _keys(store) == ["index/a", "points/ab"]
    with pytest.raises(ObjectMissing):
        store.delete("points/a")
    store.put_new("points/a", [b"again"])
    assert store.get("points/a") == b"again"


def test_list_is_by_prefix_and_complete(store: ObjectStore) -> None:
    names = [f"packs/{n % 256:02x}/{n:04x}" for n in range(0, 1500, 7)]
    for name in [*names, "config", "points/one", "points-old/two"]:
        store.put_new(name, [b"x" * (len(name) % 5)])
    assert _keys(store, "packs/") == sorted(names)
    assert _keys(store, "points/") == ["points/one"]
    assert _keys(store, "marks/") == []
    assert len(_keys(store)) == len(names) + 3
    for prefix in ("packs/", "points/", "marks/", ""):
        assert sorted(keys_below(store, prefix)) == _keys(store, prefix)
    for info in store.list("packs/"):
        assert info == store.stat(info.key)


def test_times_are_the_storages(store: ObjectStore) -> None:
    before = store.now()
    store.put_new(KEY, [b"x"])
    after = store.now()
    # File times come from the kernel's coarse clock, up to one tick (10 ms) behind.
    slack_s = 0.02
    modified = store.stat(KEY).modified
    assert (modified - before).total_seconds() >= -slack_s
    assert (after - modified).total_seconds() >= -slack_s
    assert before.tzinfo is not None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/config",
        "config/",
        "packs//a",
        "../config",
        "packs/../config",
        "./config",
        ".tmp-1",
        "packs/.hidden",
        "Config",
        "a b",
        "a\0b",
        "a\nb",
        "config\n",
        "ä",
    ],
)
def test_a_wrong_key_is_a_programming_error(store: ObjectStore, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put_new(key, [b"x"]),
        lambda: store.get(key),
        lambda: store.get_range(key, 0, 1),
        lambda: store.stat(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not an object key"):
            call()


# -- locks: every store ---------------------------------------------------------------------------


def _s3_with_locks(_root: Path) -> ObjectStore:
    return shared_server().store(new_location(locking_bucket()))


@pytest.fixture(params=["faulty", "local", "memory", "s3"])
def locking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "local":
        with lockable_folder(tmp_path / "locks") as root:
            yield LocalStore(root)
        return
    yield (_s3_with_locks if request.param == "s3" else _STORES[request.param])(tmp_path)


def _lock(store: ObjectStore, seconds: float) -> ObjectLock:
    until = store.now().replace(microsecond=0) + timedelta(seconds=seconds)
    return ObjectLock(until=until)


def test_a_locked_object_is_there_until_its_time(locking: ObjectStore) -> None:
    lock = _lock(locking, 3)
    locking.put_locked(KEY, [b"a", b"b"], lock)
    assert locking.locked_until(KEY) == lock.until
    with pytest.raises(ObjectLocked) as raised:
        locking.delete(KEY)
    assert raised.value.key == KEY
    assert datetime.fromisoformat(raised.value.until) == lock.until
    assert locking.get(KEY) == b"ab"
    assert _keys(locking) == [KEY]
    with pytest.raises(ObjectExists):
        locking.put_locked(KEY, [b"other"], lock)
    while locking.now() <= lock.until:
        time.sleep(0.05)
    locking.delete(KEY)
    assert _keys(locking) == []
    with pytest.raises(ObjectMissing):
        locking.get(KEY)


def test_a_lock_is_extended_and_never_shortened(locking: ObjectStore) -> None:
    locking.put_new(KEY, [b"x"])
    assert locking.locked_until(KEY) is None
    late, early = _lock(locking, 90), _lock(locking, 45)
    for lock, kept in ((early, early), (late, late), (early, late)):
        locking.lock(KEY, lock)
        assert locking.locked_until(KEY) == kept.until
    assert locking.locked_until(KEY) == late.until
    with pytest.raises(ObjectLocked):
        locking.delete(KEY)
    assert locking.get(KEY) == b"x"
    for missing in (lambda: locking.lock("packs/none", late), lambda: locking.locked_until("nope")):
        with pytest.raises(ObjectMissing):
            missing()


def test_a_locked_object_is_replaced_after_its_time_only(locking: ObjectStore) -> None:
    lock = _lock(locking, 3)
    locking.put_locked(KEY, [b"damaged"], lock)
    with pytest.raises(ObjectLocked) as raised:
        locking.replace_damaged(KEY, b"damaged", [b"whole"])
    assert raised.value.key == KEY
    assert locking.get(KEY) == b"damaged"
    assert _keys(locking) == [KEY]
    while locking.now() <= lock.until:
        time.sleep(0.05)
    locking.replace_damaged(KEY, b"damaged", [b"whole"])
    assert locking.get(KEY) == b"whole"
    locking.delete(KEY)
    with pytest.raises(ObjectMissing):
        locking.get(KEY)


def test_only_root_gets_rid_of_a_locked_object(locking: ObjectStore) -> None:
    locking.put_locked(KEY, [b"x"], _lock(locking, 60))
    breaches = locking.breaches(KEY)
    is_folder = isinstance(locking, LocalStore)
    assert len(breaches) == (1 if is_folder else 0), breaches
    assert not is_folder or "root" in breaches[0]
    assert locking.get(KEY) == b"x"
    assert _keys(locking) == [KEY]


def test_a_store_that_cannot_lock_says_so_and_stores_nothing(tmp_path: Path) -> None:
    store = shared_server().store()
    with pytest.raises(LocksUnsupported, match="without Object Lock"):
        store.put_locked(KEY, [b"x"], _lock(store, 60))
    with pytest.raises(LocksUnsupported, match="default retention"):
        other = shared_server().store(new_location(locking_bucket(default_days=1)))
        other.put_locked(KEY, [b"x"], _lock(store, 60))
    assert _keys(store) == []


# -- a folder -------------------------------------------------------------------------------------


def test_of_many_processes_one_wins(folder: LocalStore) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from holdfast.repository import LocalStore\n"
        "from holdfast.repository.errors import ObjectExists\n"
        "store = LocalStore(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.readline()\n"
        "wins = 0\n"
        "for n in range(40):\n"
        "    try: store.put_new(f'leases/vm/{n}', [sys.argv[2].encode() * 3000]); wins += 1\n"
        "    except ObjectExists: pass\n"
        "print(wins)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, folder.location, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    wins = 0
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate(timeout=60)
        wins += int(output)
    assert wins == 40
    for info in folder.list("leases/"):
        data = folder.get(info.key)
        assert data == data[:1] * 3000, "a mixture of two writers"


def test_a_folder_that_is_gone_is_not_empty(folder: LocalStore) -> None:
    Path(folder.location).rmdir()
    for call in (lambda: _keys(folder, "points/"), lambda: _keys(folder), folder.now):
        with pytest.raises(StoreUnavailable):
            call()


def test_a_linked_folder_is_refused_rather_than_passed_over(
    folder: LocalStore, tmp_path: Path
) -> None:
    folder.put_new(KEY, [b"x"])
    packs = Path(folder.location, "packs")
    (packs / "ab").rename(tmp_path / "elsewhere")
    (packs / "ab").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable, match="symbolic link"):
        _keys(folder, "packs/")


@pytest.mark.parametrize("prefix", ["points/", ""])
def test_a_folder_linked_to_nowhere_is_not_empty(
    folder: LocalStore, tmp_path: Path, prefix: str
) -> None:
    Path(folder.location, "points").symlink_to(tmp_path / "unmounted")
    with pytest.raises(StoreUnavailable):
        _keys(folder, prefix)


def test_a_file_in_place_of_a_folder_is_an_error(folder: LocalStore) -> None:
    Path(folder.location, "points").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        _keys(folder, "points/")
    with pytest.raises(StoreUnavailable):
        folder.put_new("points/a", [b"x"])


def test_an_unreadable_folder_is_an_error(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the refusal is made."""
    folder.put_new(KEY, [b"x"])
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("/ab"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for prefix in ("", "packs/"):
        with pytest.raises(StoreUnavailable, match="Permission denied"):
            _keys(folder, prefix)


def test_files_of_others_are_not_objects(folder: LocalStore) -> None:
    root = Path(folder.location)
    folder.put_new(KEY, [b"x"])
    (root / ".snapshot").mkdir()
    (root / ".snapshot" / "old").write_bytes(b"x")
    (root / "packs" / ".nfs0001").write_bytes(b"x")
    assert _keys(folder) == [KEY]


def test_leftovers_are_removed_and_nothing_else(folder: LocalStore) -> None:
    root = Path(folder.location)
    folder.put_new(KEY, [b"x"])
    young = root / "packs" / "ab" / f"{TEMPORARY_PREFIX}young"
    old = root / "packs" / f"{TEMPORARY_PREFIX}old"
    for path in (young, old):
        path.write_bytes(b"half")
    two_hours_ago = folder.now().timestamp() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    os.utime(root / KEY, (two_hours_ago, two_hours_ago))
    assert folder.remove_leftovers(older_than_s=3600) == 1
    assert young.exists()
    assert not old.exists()
    assert folder.get(KEY) == b"x"


def test_leftovers_are_not_sought_in_folders_of_others(folder: LocalStore) -> None:
    """A snapshot cannot be written to, and `lost+found` not be read."""
    folder.put_new(KEY, [b"x"])
    for name in (".snapshot", "lost+found"):
        foreign = Path(folder.location) / name / "packs"
        foreign.mkdir(parents=True)
        (foreign / f"{TEMPORARY_PREFIX}old").write_bytes(b"half")
    assert folder.remove_leftovers(older_than_s=-1) == 0
    assert len(list(Path(folder.location).rglob(f"{TEMPORARY_PREFIX}*"))) == 2


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO])
def test_a_link_whose_answer_was_lost_is_made_all_the_same(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """NFS repeats a request that it got no answer to; the server then finds the name taken."""
    link = os.link

    def answer_lost(*args: object, **kwargs: object) -> None:
        link(*args, **kwargs)  # pyright: ignore[reportArgumentType, reportCallIssue]
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", answer_lost)
    folder.put_new(KEY, [b"data"])
    assert folder.get(KEY) == b"data"
    assert not list(Path(folder.location).rglob(f"{TEMPORARY_PREFIX}*"))
    with pytest.raises(ObjectExists):
        folder.put_new(KEY, [b"data"])


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_is_named_so(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "link", _FailingCall(os.link, 1, code))
    with pytest.raises(StoreUnavailable, match="hard links"):
        folder.put_new(KEY, [b"data"])


def test_a_put_leaves_no_temporary_file(folder: LocalStore) -> None:
    folder.put_new(KEY, [b"x"])
    with pytest.raises(ObjectExists):
        folder.put_new(KEY, [b"y"])
    assert not list(Path(folder.location).rglob(f"{TEMPORARY_PREFIX}*"))


class _FailingCall:
    """Raises EIO at the n-th call, once, and counts."""

    def __init__(self, real: Callable[..., object], fail_at: int, code: int = errno.EIO) -> None:
        self._real = real
        self._fail_at = fail_at
        self._code = code
        self.calls = 0
        self.targets: list[str] = []

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        if isinstance(args[0], int):
            self.targets.append(str(Path(f"/proc/self/fd/{args[0]}").readlink()))
        if self.calls == self._fail_at:
            raise OSError(self._code, os.strerror(self._code))
        return self._real(*args, **kwargs)


@pytest.mark.parametrize("fail_at", [1, 2])
def test_a_failed_sync_is_final(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    """The first sync is the file's, the second its folder's. After a failed one the kernel may
    have dropped the data and call it clean: the object must be gone, and not synced again."""
    folder.put_new("packs/ab/first", [b"x"])
    fsync = _FailingCall(os.fsync, fail_at)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreUnavailable):
        folder.put_new(KEY, [b"data"])
    files = [target for target in fsync.targets if TEMPORARY_PREFIX in target]
    assert len(files) == 1, "the file was synced again after a failure"
    assert _visible_files(Path(folder.location)) == ["packs/ab/first"]
    assert not list(Path(folder.location).rglob(f"{TEMPORARY_PREFIX}*"))
    monkeypatch.undo()
    folder.put_new(KEY, [b"data"])
    assert folder.get(KEY) == b"data"


@pytest.mark.parametrize(
    ("name", "fail_at"), [("open", 2), ("write", 1), ("fsync", 1), ("replace", 1)]
)
def test_a_replacing_that_fails_leaves_what_was_there(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch, name: str, fail_at: int
) -> None:
    folder.put_new(KEY, [b"damaged"])
    monkeypatch.setattr(os, name, _FailingCall(getattr(os, name), fail_at))
    with pytest.raises(StoreUnavailable):
        folder.replace_damaged(KEY, b"damaged", [b"whole"])
    monkeypatch.undo()
    assert folder.get(KEY) == b"damaged"
    assert not list(Path(folder.location).rglob(f"{TEMPORARY_PREFIX}*"))


@pytest.mark.parametrize("fail_at", [1, 2])
def test_a_new_folder_that_cannot_be_synced_takes_no_object(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    fsync = _FailingCall(os.fsync, fail_at)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreUnavailable):
        folder.put_new(KEY, [b"data"])
    assert _visible_files(Path(folder.location)) == []
    # The folder exists now; that its name is durable must still be made sure of.
    before = fsync.calls
    folder.put_new(KEY, [b"data"])
    assert fsync.calls - before >= 3


@pytest.mark.parametrize("name", ["open", "write", "link", "close"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_failing_call_leaves_nothing_visible(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    folder.put_new("packs/ab/first", [b"x"])
    monkeypatch.setattr(os, name, _FailingCall(getattr(os, name), 1, code))
    expected = OutOfSpace if code in (errno.ENOSPC, errno.EDQUOT) else StoreUnavailable
    with pytest.raises(expected):
        folder.put_new(KEY, [b"data"])
    monkeypatch.undo()
    assert _visible_files(Path(folder.location)) == ["packs/ab/first"]
    folder.put_new(KEY, [b"data"])
    assert folder.get(KEY) == b"data"


def test_a_temporary_name_that_stays_harms_nobody(
    folder: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "unlink", _FailingCall(os.unlink, 1))
    folder.put_new(KEY, [b"data"])
    assert _keys(folder) == [KEY]
    assert folder.remove_leftovers(older_than_s=-1) == 1
    assert folder.get(KEY) == b"data"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    target = tmp_path / "small"
    target.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "tmpfs", str(target)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not permitted: {mounted.stderr.strip()}")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def test_a_full_disk_shows_nothing_half(small_disk: Path) -> None:
    store = LocalStore(small_disk)
    store.prepare()
    store.put_new("packs/00/filler", [bytes(700 * 1024)])
    refused = 0
    for size in range(0, 600 * 1024, 24 * 1024 + 1):
        try:
            store.put_new(KEY, [bytes(size // 2), bytes(size - size // 2)])
        except OutOfSpace:
            refused += 1
            assert _visible_files(small_disk) == ["packs/00/filler"]
            assert not list(small_disk.rglob(f"{TEMPORARY_PREFIX}*"))
        else:
            assert store.stat(KEY).size_bytes == size
            store.delete(KEY)
    assert refused >= 5
    store.delete("packs/00/filler")
    store.put_new(KEY, [bytes(600 * 1024)])


def test_a_disk_without_inodes_shows_nothing_half(small_disk: Path) -> None:
    store = LocalStore(small_disk)
    store.prepare()
    with pytest.raises(HoldfastError) as raised:
        for number in range(100):
            store.put_new(f"points/{number}", [b"x"])
    assert isinstance(raised.value, OutOfSpace)
    listed = _keys(store, "points/")
    assert len(listed) > 20
    store.delete(listed[0])
    assert len(_keys(store, "points/")) == len(listed) - 1
