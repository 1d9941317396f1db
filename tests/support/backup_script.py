"""A whole life of a small repository in one process, for tests that kill it.

    python -m tests.support.backup_script FOLDER [--arm NAME:KIND[:N] --at PHASE]

Phases: `create`, `first` (a full backup of the fake hypervisor's VM), `second` (an incremental
one), `restore` (one disk to FOLDER/restored.raw), `prune` (to the newest point), `compact` (of
what the first point alone needed, without grace), `verify` (with a pack damaged in a place that
costs no data), `mend` (config and sentinel, a bit of each being flipped), `repair` (also of a
manifest that a bundle repeats), `copy` (to FOLDER/copy), `keys` (the key is changed, and changed
back), `rotate` (the data key; packs under the old one are rewritten).
The failpoint is armed when its phase begins.
Each point is acknowledged on standard output as a line of JSON right after its backup returned,
and taken back before it is deleted.
Exit status 3 and the error's code on standard error when a typed error ended it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.failpoints import arm
from holdfast.core.progress import SilentProgress
from holdfast.policy import RetentionRules
from holdfast.repository import Credential, LocalStore, Repository, bundling
from holdfast.repository.compact import CompactOptions, run_compact
from holdfast.repository.copy import copy_points
from holdfast.repository.errors import NotARepository
from holdfast.repository.mending import mend_header
from holdfast.repository.prune import PruneScope, plan_prune, run_prune
from holdfast.repository.repair import repair_repository
from holdfast.repository.verify import VerifyOptions, verify_repository
from holdfast.restore.disk import restore_disk
from tests.support.damage import flip_bit, pack_files
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine
from tests.support.oracle import Digest
from tests.support.sparse_bytes import SparseBytes

COPY_CREDENTIAL = Credential(kind="recovery", secret=bytes(range(1, 33)))
PHASES = (
    "create",
    "first",
    "second",
    "restore",
    "prune",
    "compact",
    "verify",
    "mend",
    "repair",
    "copy",
    "keys",
    "rotate",
)
TYPED_ERROR_STATUS = 3


def parse_acknowledgements(output: str) -> dict[str, dict[str, Digest]]:
    """What the script promised on its standard output, for the oracle."""
    acknowledged: dict[str, dict[str, Digest]] = {}
    for line in output.splitlines():
        document = json.loads(line)
        if document["disks"] is None:
            del acknowledged[document["point"]]
            continue
        acknowledged[document["point"]] = {
            key: Digest(size_bytes=size, blake3_hex=digest)
            for key, (size, digest) in document["disks"].items()
        }
    return acknowledged


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arm", default="")
    parser.add_argument("--at", choices=PHASES, default=PHASES[0])
    arguments = parser.parse_args(argv)
    try:
        _live(arguments.folder, arguments.arm, arguments.at)
    except HoldfastError as error:
        print(error.code, file=sys.stderr)
        return TYPED_ERROR_STATUS
    return 0


def _live(folder: Path, specification: str, armed_phase: str) -> None:
    def begin(phase: str) -> None:
        if phase == armed_phase:
            arm(specification)

    chance = random.Random(11)
    store = LocalStore(folder / "repository")
    store.prepare()
    begin("create")
    engine = Engine.create(store, disks={"vda": 60 * CHUNK_BYTES, "vdb": 7 * CHUNK_BYTES + 512})
    for phase in ("first", "second"):
        begin(phase)
        for disk in engine.vm.disks.values():
            disk.write(chance.randrange(CHUNK_BYTES), chance.randbytes(disk.size_bytes // 2))
        manifest = engine.back_up().manifest
        _acknowledge(manifest.id, engine.acknowledged[manifest.id])
    begin("restore")
    point = engine.repository.point("latest")
    restore_disk(
        repository=engine.repository,
        disk=point.disk("vda"),
        output=folder / "restored.raw",
        format="raw",
        cancel=CancelToken(),
    )
    begin("prune")
    first = min(engine.acknowledged)
    print(json.dumps({"point": first, "disks": None}), flush=True)
    scope = PruneScope(rules=RetentionRules(keep_last=1), time_zone=UTC)
    plan = plan_prune(engine.repository, scope, cancel=CancelToken(), progress=SilentProgress())
    run_prune(engine.repository, plan, cancel=CancelToken(), progress=SilentProgress())
    begin("compact")
    bundling.FEW = 0  # a bundle also of one point
    options = CompactOptions(grace=timedelta(), maximum_delete_share=1.0)
    run_compact(engine.repository, options, cancel=CancelToken(), progress=SilentProgress())
    begin("verify")
    _damage_a_footer(folder / "repository")
    verify_repository(
        engine.repository, VerifyOptions(), cancel=CancelToken(), progress=SilentProgress()
    )
    begin("mend")
    for name in ("config", "sentinel"):
        flip_bit(folder / "repository" / name, 300)
    mend_header(store, CREDENTIAL)
    begin("repair")
    flip_bit(folder / "repository" / "points" / engine.repository.point("latest").id, 700)
    repair_repository(engine.repository, None, cancel=CancelToken(), progress=SilentProgress())
    begin("copy")
    copy_to(folder / "copy", engine.repository)
    begin("keys")
    for old, new in ((CREDENTIAL, COPY_CREDENTIAL), (COPY_CREDENTIAL, CREDENTIAL)):
        with engine.repository.begin_maintenance():
            engine.repository.key_slots.change(old, new)
    begin("rotate")
    with engine.repository.begin_maintenance():
        engine.repository.data_keys.rotate()
    options = replace(options, old_data_keys=True)
    run_compact(engine.repository, options, cancel=CancelToken(), progress=SilentProgress())


def copy_to(path: Path, source: Repository) -> Repository:
    """Every point, to a repository that is created when there is none."""
    store = LocalStore(path)
    store.prepare()
    try:
        target = Repository.open(store, COPY_CREDENTIAL)
    except NotARepository:
        target, _ = Repository.create(store, COPY_CREDENTIAL, chunk_bytes=CHUNK_BYTES)
    copy_points(source, target, source.points(), cancel=CancelToken(), progress=SilentProgress())
    return target


def _damage_a_footer(root: Path) -> None:
    """Its chunks are still found through the index."""
    path = pack_files(root)[0]
    flip_bit(path, path.stat().st_size * 8 - 1)


def _acknowledge(point_id: str, disks: Mapping[str, object]) -> None:
    digests: dict[str, tuple[int, str]] = {}
    for key, content in disks.items():
        assert isinstance(content, SparseBytes)
        digest = Digest.of(content.read())
        digests[key] = (digest.size_bytes, digest.blake3_hex)
    print(json.dumps({"point": point_id, "disks": digests}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
