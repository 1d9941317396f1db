"""Measures compact's mark on a repository of ten million chunks: loading the index, going through
every map, and the memory of both. By hand:

    python -m tests.benchmarks.mark_ten_million [CHUNKS]

The index objects and maps are real ones, sealed and stored in memory; of the packs of data only the
names exist, because the mark reads nothing else of them. Needs about 300 bytes of memory a chunk.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import SystemClock
from holdfast.core.ids import uuid7
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import DiskRecord, Manifest, Repository, VmRecord
from holdfast.repository.format.envelope import Kind
from holdfast.repository.format.index import PackTable, encode_index
from holdfast.repository.format.pack import (
    CHUNK_OVERHEAD_BYTES,
    ENTRY,
    FOOTER_BYTES,
    HEADER_BYTES,
    pack_name,
)
from holdfast.repository.mark import mark
from holdfast.repository.store.store import ObjectInfo
from tests.support.engine import CREDENTIAL
from tests.support.memory_store import MemoryStore

_CHUNK_BYTES = 256 * KIB
_CHUNKS_A_PACK = 64
_PACKS_AN_INDEX = 1000
_STORED_BYTES = 200 * KIB
_LISTED_BYTES = _CHUNKS_A_PACK * _STORED_BYTES
_END_BYTES = CHUNK_OVERHEAD_BYTES + FOOTER_BYTES
_MOST_BYTES_A_CHUNK = 48.0
_LEAST_CHUNKS_A_SECOND = 2_000_000.0


class NamesStore(MemoryStore):
    """Lists packs that do not exist beside those that do."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from super().list(prefix)
        if prefix == "packs/":
            modified = datetime.now(UTC)
            for name in self.names:
                yield ObjectInfo(
                    key=name, size_bytes=_CHUNKS_A_PACK * _STORED_BYTES, modified=modified
                )


def main() -> int:
    chunks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    store = NamesStore()
    repository, _ = Repository.create(store, CREDENTIAL, chunk_bytes=_CHUNK_BYTES)
    ids = np.frombuffer(os.urandom(chunks * 32), dtype=np.uint8).reshape(-1, 32)
    _put_index(repository, store, ids)
    _put_point(repository, ids)
    del ids
    repository = Repository.open(store, CREDENTIAL)
    before = _resident()
    started = time.perf_counter()
    index, _ = repository.complete_index()
    view = index.view()
    load_s = time.perf_counter() - started
    most = _resident("VmHWM") - before
    kept = _resident() - before
    arrays = (view.prefixes.nbytes + view.rows.nbytes) / len(view.rows)
    names = sum(map(sys.getsizeof, view.packs)) + sum(sys.getsizeof(name) for name, _ in view.packs)
    before = _resident()
    started, started_cpu = time.perf_counter(), time.process_time()
    marked = mark(repository, avoid=(), cancel=CancelToken(), progress=SilentProgress())
    mark_s = time.perf_counter() - started
    mark_cpu_s = time.process_time() - started_cpu
    marking = _resident("VmHWM") - before
    rate = len(view.rows) / mark_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"chunks               {len(view.rows):>14,} in {len(view.packs):,} packs")
    print(f"load                 {load_s:>14.1f} s")
    print(f"index, rows          {arrays:>14.1f} bytes a chunk (at most {_MOST_BYTES_A_CHUNK:.0f})")
    print(f"names of packs       {names / len(view.rows):>14.1f} bytes a chunk")
    print(f"resident by loading  {kept / len(view.rows):>14.1f} bytes a chunk")
    print(f"most while loading   {most / len(view.rows):>14.1f} bytes a chunk")
    print(f"most while marking   {marking / len(view.rows):>14.1f} bytes a chunk beside the index")
    print(f"mark                 {mark_s:>14.1f} s, {mark_cpu_s:.1f} s of a processor")
    print(f"mark                 {rate:>14,.0f} chunks/s (at least {_LEAST_CHUNKS_A_SECOND:,.0f})")
    print(f"peak of the process  {peak / 1e9:>14.2f} GB, {store_bytes(store) / 1e9:.2f} stored")
    missed = int((~marked.used).sum())
    print(f"not marked           {missed:>14,}")
    is_met = arrays <= _MOST_BYTES_A_CHUNK and rate >= _LEAST_CHUNKS_A_SECOND
    return 0 if is_met and not missed else 1


def _resident(what: str = "VmRSS") -> int:
    """Bytes of memory that the process has, or has had at most (`VmHWM`) since asked for VmRSS."""
    if what == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def store_bytes(store: MemoryStore) -> int:
    return sum(len(data) for data in store.objects.values())


def _put_index(repository: Repository, store: NamesStore, ids: NDArray[np.uint8]) -> None:
    tables: list[PackTable] = []
    for start in range(0, len(ids), _CHUNKS_A_PACK):
        part = ids[start : start + _CHUNKS_A_PACK]
        entries = np.zeros(len(part), dtype=ENTRY)
        entries["id"] = part
        entries["type"] = 1
        entries["stored_bytes"] = _STORED_BYTES
        entries["plain_bytes"] = _CHUNK_BYTES
        entries["offset"] = HEADER_BYTES + np.arange(len(part)) * _STORED_BYTES
        pack_hash = os.urandom(32)
        store.names.append(pack_name(pack_hash))
        pack_bytes = HEADER_BYTES + len(part) * (_STORED_BYTES + ENTRY.itemsize) + _END_BYTES
        tables.append(PackTable(pack_hash=pack_hash, pack_bytes=pack_bytes, entries=entries))
        if len(tables) == _PACKS_AN_INDEX or start + _CHUNKS_A_PACK >= len(ids):
            sealed = repository.sealer.seal(Kind.INDEX, "", encode_index(tables))
            store.put_new(f"index/{blake3(sealed).hexdigest()}", [sealed])
            tables = []


def _put_point(repository: Repository, ids: NDArray[np.uint8]) -> None:
    clock = SystemClock()
    now = clock.now()
    size = len(ids) * _CHUNK_BYTES
    with repository.begin_backup(platform="p", vm_id="vm", vm_name="vm") as session:
        disk_map = session.new_map(size, None)
        for number, chunk_id in enumerate(ids):
            disk_map.set(number, chunk_id.tobytes())
        root, height = disk_map.finish()
        disk = DiskRecord(
            key="vda",
            size_bytes=size,
            format="raw",
            root=root,
            height=height,
            mode="full",
            reason="benchmark",
            read_bytes=0,
            changed_bytes=0,
            stored_bytes=0,
            proven=True,
            token=None,
        )
        manifest = Manifest(
            id=str(uuid7(clock)),
            vm=VmRecord(id="vm", name="vm", platform="p"),
            run_id=str(uuid7(clock)),
            captured_at=now,
            created_at=now,
            captured_as="full",
            parent_id=None,
            consistency="crash",
            chunk_bytes=_CHUNK_BYTES,
            disks=[disk],
            artifacts=[],
        )
        session.commit(manifest)


if __name__ == "__main__":
    sys.exit(main())
