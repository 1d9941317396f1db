"""Makes tests/compat/golden/v1 and v1-rotated: small repositories of format version 1 with
everything a reader may meet; in the second the data key was rotated twice between the points.

It was run once for each and its output committed. **Never run it again over a committed
repository**: the value of the golden one is that yesterday's bytes are read by tomorrow's code. It
refuses a target that exists. A change of the format gets a new folder (v2, …) beside the old ones.

    unshare --uts sh -c 'hostname golden && python -m tests.compat.make_golden TARGET [rotated]'

The inputs are the same in every run; keys, ids, nonces and times are not. The name of the host
stands in the leases, hence a name for this purpose alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.backup.run import back_up_vm
from holdfast.core import failpoints
from holdfast.core.cancellation import CancelToken
from holdfast.core.units import KIB
from holdfast.hypervisors.driver import Artifact
from holdfast.repository import Credential, LocalStore, Manifest, Repository
from tests.support.fake_driver import FakeDriver, FakeVm

PASSPHRASE = "golden passphrase ✓"  # noqa: S105
CHUNK_BYTES = 4 * KIB
SEED = 20260101


def main() -> int:
    target = Path(sys.argv[1])
    if target.exists():
        print(f"{target} exists; a golden repository is never made again", file=sys.stderr)
        return 1
    target.mkdir(parents=True)
    expected = make(target / "repository", rotated=sys.argv[2:] == ["rotated"])
    text = json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False)
    (target / "expected.json").write_text(text + "\n", encoding="utf-8")
    return 0


def make(root: Path, *, rotated: bool) -> dict[str, Any]:
    """The repository at `root`; what its readers must find in it."""
    store = LocalStore(root)
    store.prepare()
    credential = Credential.passphrase(PASSPHRASE)
    repository, kit = Repository.create(store, credential, chunk_bytes=CHUNK_BYTES)
    rng = random.Random(SEED)
    driver = FakeDriver()
    points: dict[str, Any] = {}

    web = _web_server(driver, rng)
    first = _back_up(repository, driver, web, points)
    _change_web_server(web, rng)
    _rotate(repository, rotated)
    second = _back_up(repository, driver, web, points)
    doomed = _back_up(repository, driver, web, {})
    repository.delete_point(doomed.id)
    _rotate(repository, rotated)

    sizes = driver.add_vm("odd sizes")
    for size in (0, 1, 511, CHUNK_BYTES, CHUNK_BYTES + 1):
        sizes.add_disk(f"{size} bytes", size).write(0, rng.randbytes(size))
    sizes.add_disk("zeroes", 512 * CHUNK_BYTES * 600 + 7)
    tall = sizes.add_disk("three levels", 512 * 512 * CHUNK_BYTES + 600 * CHUNK_BYTES + 99)
    tall.write(512 * CHUNK_BYTES - 100, rng.randbytes(200))
    tall.write(tall.size_bytes - 50, rng.randbytes(50))
    odd = _back_up(repository, driver, sizes, points)

    _break_off(root, "a temporary file", "local_store.after_temp_fsync:kill:2", rng)
    _break_off(root, "a pack without index", "index.before_put:kill", rng)
    _break_off(root, "pack and index without point", "point.before_commit:kill", rng)
    repository.mark_suspect([second.id], "made in doubt on purpose ✓")
    return {
        "about": "What readers must find in the repository beside this file",
        "passphrase": PASSPHRASE,
        "recovery_key": next(line.strip() for line in kit.splitlines() if "HFK1-" in line),
        "repository_id": repository.id,
        "points": {point.id: points[point.id] for point in (first, second, odd)},
        "deleted": doomed.id,
        "suspect": {second.id: "made in doubt on purpose ✓"},
    }


def _rotate(repository: Repository, rotated: bool) -> None:
    if rotated:
        with repository.begin_maintenance():
            repository.data_keys.rotate()


def _web_server(driver: FakeDriver, rng: random.Random) -> FakeVm:
    """Two disks with raw-stored, compressible, repeated and absent chunks, and firmware state."""
    vm = driver.add_vm("wëb-服务器 \N{PILE OF POO}")
    system = vm.add_disk("vda", 600 * CHUNK_BYTES + 1234)
    system.write(0, rng.randbytes(12 * CHUNK_BYTES))
    system.write(20 * CHUNK_BYTES + 5, b"log line 17 of a compressible file\n" * 3000)
    for number in range(5):
        system.write((100 + 2 * number) * CHUNK_BYTES, bytes(range(256)) * 16)
    system.write(system.size_bytes - 300, rng.randbytes(300))
    vm.add_disk("vdb", 64 * KIB).write(10, b"second disk")
    vm.artifacts = [
        Artifact(name="domain.xml", data=b"<domain type='kvm'><name>web</name></domain>\n"),
        Artifact(name="nvram", data=rng.randbytes(3 * CHUNK_BYTES + 11)),
        Artifact(name="empty", data=b""),
    ]
    return vm


def _change_web_server(vm: FakeVm, rng: random.Random) -> None:
    system = vm.disks["vda"]
    system.write(3 * CHUNK_BYTES, rng.randbytes(CHUNK_BYTES))
    system.trim(100 * CHUNK_BYTES, 2 * CHUNK_BYTES)
    vm.disks["vdb"].resize(70_001)
    vm.disks["vdb"].write(70_000, b"!")


def _back_up(
    repository: Repository, driver: FakeDriver, vm: FakeVm, points: dict[str, Any]
) -> Manifest:
    found = driver.find_vm(vm.id)
    cancel = CancelToken()
    result = back_up_vm(driver=driver, vm=found, repository=repository, cancel=cancel)
    points[result.manifest.id] = {
        "vm": vm.name,
        "captured_as": result.manifest.captured_as,
        "disks": {
            key: {
                "size_bytes": disk.size_bytes,
                "sha256": _sha256(disk.content.read, disk.size_bytes),
            }
            for key, disk in vm.disks.items()
        },
        "artifacts": {item.name: hashlib.sha256(item.data).hexdigest() for item in vm.artifacts},
    }
    return result.manifest


def _sha256(read: Callable[[int, int], bytes], size_bytes: int) -> str:
    hasher = hashlib.sha256()
    step = 1024 * KIB
    for offset in range(0, size_bytes, step):
        hasher.update(read(offset, min(step, size_bytes - offset)))
    return hasher.hexdigest()


def _break_off(root: Path, name: str, failpoint: str, rng: random.Random) -> None:
    """A backup in a process of its own that is killed at a failpoint: what it leaves is real."""
    content = rng.randbytes(2 * CHUNK_BYTES)
    pid = os.fork()
    if pid == 0:
        driver = FakeDriver()
        for _ in range(10):
            driver.add_vm("other")
        vm = driver.add_vm(name)
        vm.add_disk("vda", 10 * CHUNK_BYTES).write(0, content)
        repository = Repository.open(LocalStore(root), Credential.passphrase(PASSPHRASE))
        failpoints.arm(failpoint)
        _back_up(repository, driver, vm, {})
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError(f"the backup was not killed at {failpoint}")


if __name__ == "__main__":
    sys.exit(main())
