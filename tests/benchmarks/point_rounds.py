"""Opening a store and listing its backups: 10,000 restore points of 500 VMs.

Ours are manifests as 500 VMs leave them, each with disks of its own, after one run of `compact`, as
a schedule has it: that bundles them for lists. The list before that run is measured too. To make
10,000 archives or snapshots by the peers' own commands takes hours, so one real one is repeated:
restic's is a small sealed file, which is sealed again under its key; borg lists from its manifest
alone, into which the archive is entered again. Each tool then lists them by its own command, and
must list all. Enter at `run_point_round`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from holdfast.core.clock import SystemClock
from holdfast.core.ids import uuid7
from holdfast.core.units import GIB, KIB
from holdfast.repository import Credential, DiskRecord, LocalStore, Manifest, Repository, VmRecord
from holdfast.repository.format.envelope import Kind
from holdfast.repository.format.point import encode_manifest
from tests.benchmarks.image_rounds import Conditions, WrongResult, emptied, tell, turned
from tests.benchmarks.measuring import measure, run
from tests.benchmarks.results import Phase, Results, Sample
from tests.benchmarks.tools import Borg, Bucket, Holdfast, Keeper, Restic, bucket_of, keeper

POINTS = 10_000
VMS = 500
_WRITERS = 8
_DISK_BYTES = 10 * GIB
"""Of more chunks than there are disks, so that no two need be the same."""
_SYSTEM_PYTHON = "/usr/bin/python3"
_Objects = Iterable[tuple[str, bytes]]


def run_point_round(
    number: int,
    names: Sequence[str],
    conditions: Conditions,
    results: Results,
    bucket: Bucket | None = None,
) -> None:
    """One round. Leaves nothing behind on the local disk. Raises CommandFailed, WrongResult."""
    with emptied(conditions.work / "point-round") as folder:
        tools = turned([keeper(name, folder, bucket) for name in names], number)
        for tool in tools:
            _fill(tool, folder)
        conditions.say(f"round {number + 1}: {POINTS} points made with {len(tools)} tools")

        def listed(phase: Phase, tool: Keeper) -> None:
            measurement = measure(tool.list_points(), cold=conditions.cold)
            _require_all(tool)
            sample = Sample(phase=phase, tool=tool.name, measurement=measurement)
            tell(conditions, results, number, sample)

        for tool in tools:
            if isinstance(tool, Holdfast):
                listed(Phase.S3_POINTS_LOOSE if bucket else Phase.POINTS_LOOSE, tool)
                run(tool.compact())
                shutil.rmtree(tool.cache, ignore_errors=True)
        for phase in (Phase.S3_POINTS, Phase.S3_POINTS_AGAIN) if bucket else (Phase.POINTS,):
            for tool in tools:
                listed(phase, tool)


def _require_all(tool: Keeper) -> None:
    document: object = json.loads(tool.output.read_text())
    listed = document
    if isinstance(document, dict):
        members = cast("dict[str, Any]", document)
        listed = members["points" if "points" in members else "archives"]
    if len(cast("list[object]", listed)) != POINTS:
        raise WrongResult(f"{tool.name} lists {len(listed)} of {POINTS} points")


def _fill(tool: Keeper, folder: Path) -> None:
    tool.prepare()
    if isinstance(tool, Holdfast):
        _write(_our_points(tool), tool)
        return
    small = folder / "small"
    small.write_bytes(bytes(1000))
    run(tool.backup(small))
    if isinstance(tool, Restic):
        _write(_snapshots(tool), tool)
    elif isinstance(tool, Borg):
        script = Path(__file__).with_name("borg_archives.py")
        command = tool.list_points()
        arguments = [_SYSTEM_PYTHON, str(script), str(tool.stored), str(POINTS - 1), str(VMS)]
        run(replace(command, arguments=arguments))


def _write(objects: _Objects, tool: Holdfast | Restic) -> None:
    bucket = bucket_of(tool)
    if bucket is None:
        for name, data in objects:
            path = tool.stored / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return
    store = bucket.direct(bucket.path)
    with ThreadPoolExecutor(_WRITERS) as pool:
        for done in [pool.submit(store.put_new, name, [data]) for name, data in objects]:
            done.result()


def _our_points(tool: Holdfast) -> _Objects:
    store = tool.bucket.direct(tool.bucket.path) if tool.bucket else LocalStore(tool.stored)
    secret = (tool.folder / "secret").read_text().strip()
    repository = Repository.open(store, Credential.passphrase(secret))
    roots = _roots(repository)
    for number in range(POINTS):
        manifest = _manifest(number, next(roots), next(roots))
        key = f"points/{manifest.id}"
        yield key, repository.sealer.seal(Kind.POINT, key, encode_manifest(manifest))


def _roots(repository: Repository) -> Iterator[bytes]:
    """Of stored maps, each of another disk: one chunk in another place of each."""
    with repository.begin_backup(platform="bench", vm_id="bench", vm_name="bench") as session:
        chunk = bytes(range(256)) * (repository.chunk_bytes // 256)
        chunk_id = session.chunk_id(chunk)
        session.store_chunk(chunk_id, chunk)
        roots: list[bytes] = []
        for place in range(2 * POINTS):
            disk_map = session.new_map(_DISK_BYTES, None)
            disk_map.set(place, chunk_id)
            roots.append(disk_map.finish()[0])
        session.flush()
    yield from roots


def _manifest(number: int, first: bytes, second: bytes) -> Manifest:
    clock = SystemClock()
    day, vm = divmod(number, VMS)
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=vm)
    disk = DiskRecord(
        key="vda",
        size_bytes=_DISK_BYTES,
        format="qcow2",
        root=first,
        height=2,
        mode="changed",
        reason="the driver says what changed",
        read_bytes=GIB,
        changed_bytes=GIB,
        stored_bytes=GIB // 2,
        proven=False,
        token={"checkpoint": f"holdfast-{uuid7(clock)}", "bitmap": f"holdfast-{uuid7(clock)}"},
    )
    details = {"firmware": "uefi", "vcpus": 4, "memory_bytes": 8 * GIB, "power": "running"}
    return Manifest(
        id=str(uuid7(clock)),
        vm=VmRecord(id=f"vm-{vm}", name=f"web{vm:03}", platform="qemu:///system", details=details),
        run_id=str(uuid7(clock)),
        captured_at=moment,
        created_at=moment,
        captured_as="incremental",
        parent_id=None,
        consistency="crash",
        chunk_bytes=256 * KIB,
        disks=[disk, replace(disk, key="vdb", root=second)],
        artifacts=[],
        stored_bytes=GIB,
        tags=("nightly",),
    )


def _snapshots(tool: Restic) -> _Objects:
    """The one snapshot under other hosts' names and times."""
    run(tool.list_points())
    (snapshot,) = json.loads(tool.output.read_text())
    run(tool.cat("snapshot", snapshot["id"]))
    original = json.loads(tool.output.read_text())
    run(tool.cat("masterkey"))
    key = json.loads(tool.output.read_text())
    for number in range(POINTS - 1):
        day, vm = divmod(number, VMS)
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=vm)
        document = {**original, "hostname": f"web{vm:03}", "time": moment.isoformat()}
        sealed = _seal_for_restic(json.dumps(document).encode(), key)
        yield f"snapshots/{hashlib.sha256(sealed).hexdigest()}", sealed


def _seal_for_restic(plain: bytes, key: dict[str, Any]) -> bytes:
    """AES-256 in counter mode and Poly1305-AES, as restic's design says; a file that begins with a
    brace is not compressed."""
    nonce = secrets.token_bytes(16)
    encryptor = Cipher(
        algorithms.AES256(base64.b64decode(key["encrypt"])), modes.CTR(nonce)
    ).encryptor()
    body = encryptor.update(plain) + encryptor.finalize()
    block = Cipher(algorithms.AES128(base64.b64decode(key["mac"]["k"])), modes.ECB()).encryptor()  # noqa: S305
    one_time = base64.b64decode(key["mac"]["r"]) + block.update(nonce)
    return nonce + body + Poly1305.generate_tag(one_time, body)
