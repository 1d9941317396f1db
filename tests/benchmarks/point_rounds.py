"""Opening a store and listing its backups: 10,000 restore points of 500 VMs.

Ours are manifests as 500 VMs leave them. To make 10,000 archives or snapshots by the peers' own
commands takes hours, so one real one is repeated: restic's is a small sealed file, which is sealed
again under its key; borg lists from its manifest alone, into which the archive is entered again.
Each tool then lists them by its own command, and must list all. Enter at `run_point_round`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Sequence
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
        phases = (Phase.S3_POINTS, Phase.S3_POINTS_AGAIN) if bucket else (Phase.POINTS,)
        for phase in phases:
            for tool in tools:
                measurement = measure(tool.list_points(), cold=conditions.cold)
                _require_all(tool)
                sample = Sample(phase=phase, tool=tool.name, measurement=measurement)
                tell(conditions, results, number, sample)


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
    sealer = Repository.open(store, Credential.passphrase(secret)).sealer
    for number in range(POINTS):
        manifest = _manifest(number)
        key = f"points/{manifest.id}"
        yield key, sealer.seal(Kind.POINT, key, encode_manifest(manifest))


def _manifest(number: int) -> Manifest:
    clock = SystemClock()
    day, vm = divmod(number, VMS)
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=vm)
    disk = DiskRecord(
        key="vda",
        size_bytes=100 * GIB,
        format="qcow2",
        root=os.urandom(32),
        height=3,
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
        disks=[disk, replace(disk, key="vdb", root=os.urandom(32))],
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
