"""Reclaim the space of chunks that no restore point needs, while backups go on.

Two phases, so that no moment exists at which a pack disappears that somebody may rely on:

1. Mark what is needed. Packs without a needed chunk, and packs so empty that their needed chunks
   were copied to new ones, are named in a tombstone. Nothing is deleted.
2. In a later run (or later in this one, with no grace): a tombstone that is older than the grace
   period, and than every living lease, is acted on after a second mark. Packs that are still not
   needed are deleted; the others simply stay.

Anything unexpected ends the run before it deletes: an error of a listing, a missing chunk, clocks
that disagree, or more to delete than a fifth of the packs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import format_time
from holdfast.core.errors import OutOfSpace
from holdfast.core.failpoints import failpoint
from holdfast.core.progress import Progress, ProgressSink
from holdfast.core.units import format_bytes
from holdfast.repository.bundling import bundle_points
from holdfast.repository.errors import (
    ChunkCorruptedInMemory,
    ChunkMissing,
    ClockSkew,
    CompactTooLarge,
    ObjectMissing,
)
from holdfast.repository.format.pack import pack_name
from holdfast.repository.hidden import remove_hidden, require_nothing_hidden
from holdfast.repository.index import ChunkLocation
from holdfast.repository.leases import CLOCK_STEP, oldest_lease
from holdfast.repository.locking import still_locked
from holdfast.repository.maintenance import Maintenance, require_clocks_agree, with_room
from holdfast.repository.mark import Marked, mark
from holdfast.repository.packs import PackWriter
from holdfast.repository.reading import at_once, each, side_by_side
from holdfast.repository.repository import Repository
from holdfast.repository.tombstones import Tombstone

DEFAULT_GRACE = timedelta(hours=24)
_MOVERS, _PACKS_PER_MOVER = 4, 4
"""Threads that rewrite packs, each with a pack of its own being filled and what it has fetched: 20
MiB, of a distant storage 40. Fewer for few packs, for the last pack of each thread is not full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactOptions:
    grace: timedelta = DEFAULT_GRACE
    """How long a pack stays after it was found unneeded."""
    minimum_fill: float = 0.5
    """Packs with a smaller share of needed bytes are rewritten."""
    maximum_delete_share: float = 0.2
    """Refuse to delete more than this share of all packs."""
    old_data_keys: bool = False
    """Rewrite packs under another data key than the newest, too."""
    dry_run: bool = False


@dataclass(slots=True, kw_only=True)
class CompactReport:
    packs: int = 0
    pack_bytes: int = 0
    needed_bytes: int = 0
    rewritten_packs: int = 0
    tombstoned_packs: int = 0
    tombstoned_bytes: int = 0
    deleted_packs: int = 0
    deleted_bytes: int = 0
    locked_packs: int = 0
    """Not needed, or mostly, and immutable yet."""
    bundled_points: int = 0
    """Whose manifests were put into new bundles."""
    waiting: list[str] = field(default_factory=list[str])
    """Why tombstones were not acted on yet."""


def run_compact(
    repository: Repository,
    options: CompactOptions,
    *,
    cancel: CancelToken,
    progress: ProgressSink,
) -> CompactReport:
    """Raises LeaseHeld (another maintenance runs), ClockSkew, CompactTooLarge, and whatever the
    mark raises; ObjectsHidden when somebody else deleted what is immutable. Then nothing was
    deleted."""
    with repository.begin_maintenance() as maintenance:
        maintenance.require_clocks_agreed()

        def run() -> CompactReport:
            try:
                return _Compact(repository, maintenance, options, cancel, progress).run()
            except (ObjectMissing, ChunkMissing):
                # No damage when it went because another run took over from this one, which slept.
                maintenance.confirm()
                raise

        return with_room(repository.store, run)


class _Compact:
    def __init__(
        self,
        repository: Repository,
        maintenance: Maintenance,
        options: CompactOptions,
        cancel: CancelToken,
        progress: ProgressSink,
    ) -> None:
        self._repository = repository
        self._maintenance = maintenance
        self._options = options
        self._cancel = cancel
        self._progress = progress
        self._report = CompactReport()

    def run(self) -> CompactReport:
        store = self._repository.store
        has_locks, stones = side_by_side(
            store,
            lambda: require_nothing_hidden(self._repository),
            self._repository.tombstones.all,
        )
        if has_locks and not self._options.dry_run:
            remove_hidden(store)
        if stones:
            self._delete_expired(stones, self._agreed_time())
            stones = self._repository.tombstones.all()
        if self._find_garbage(stones) and not self._options.grace and not self._options.dry_run:
            stones, now = side_by_side(store, self._repository.tombstones.all, self._agreed_time)
            self._delete_expired(stones, now)
        if not self._options.dry_run:
            self._report.bundled_points = self._bundle()
        return self._report

    def _bundle(self) -> int:
        """Last, when there is most room. A cache is worth no reserve."""
        with suppress(OutOfSpace):
            return bundle_points(self._repository.manifests, confirm=self._maintenance.confirm)
        return 0

    # -- phase 1 --------------------------------------------------------------------------------

    def _find_garbage(self, stones: Sequence[Tombstone]) -> bool:
        """Write a tombstone for what is not needed and in none of `stones`. True when there was
        anything."""
        dead = {pack for stone in stones for pack in stone.packs}
        marked, can_be_locked = side_by_side(
            self._repository.store,
            lambda: self._mark(dead),
            lambda: self._repository.locks.has_ever_been,
        )
        used = marked.used_bytes()
        sizes = np.array([size for _, size in marked.view.packs], dtype=np.int64)
        sizes[~marked.exists] = 0
        self._report.packs = int(marked.exists.sum())
        self._report.pack_bytes = int(sizes.sum())
        self._report.needed_bytes = int(used.sum())
        hashes = [pack_hash for pack_hash, _ in marked.view.packs]
        alive = marked.exists & np.array([name not in dead for name in hashes], dtype=np.bool_)
        damaged = marked.damaged
        # What a damaged pack still gives is for `repair` to save.
        movable = alive & np.array([name not in damaged for name in hashes], dtype=np.bool_)
        sparse_ones = used < sizes * self._options.minimum_fill
        if self._options.old_data_keys:
            sparse_ones |= self._under_old_keys(hashes, (used > 0) & movable)
        worth = (used > 0) & movable & sparse_ones
        unneeded = (used == 0) & alive
        # A pack that cannot be deleted yet is left as it is: a copy of it would only take space.
        nearly = [hashes[at] for at in np.flatnonzero(unneeded | worth).tolist()]
        locked = self._locked(nearly) if can_be_locked else ()
        free = np.array([name not in locked for name in hashes], dtype=np.bool_)
        sparse = np.flatnonzero(worth & free)
        going = [*np.flatnonzero(unneeded & free).tolist(), *sparse.tolist()]
        self._report.rewritten_packs = len(sparse)
        self._report.tombstoned_packs = len(going)
        self._report.tombstoned_bytes = int(sizes[going].sum()) if going else 0
        if not going or self._options.dry_run:
            return bool(going)
        staying = alive.copy()
        staying[going] = False
        leaving = [name for name, stays in zip(hashes, staying, strict=True) if not stays]
        self._rewrite(marked, sparse.tolist(), leaving)
        failpoint("compact.before_tombstone")
        # A crash before this line leaves copies that the next run finds unneeded.
        self._put_tombstone([hashes[number] for number in going])
        failpoint("compact.after_tombstone")
        return True

    def _under_old_keys(
        self, hashes: Sequence[bytes], among: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """By pack number. Raises ObjectDamaged, ObjectMissing."""
        newest = self._repository.data_keys.newest().generation
        tables = self._repository.pack_tables
        asked = np.flatnonzero(among).tolist()
        wanted = [hashes[number] for number in asked]
        generations = each(tables.generation, wanted, is_slow=self._repository.is_distant)
        old = np.zeros(len(hashes), dtype=np.bool_)
        for number, generation in zip(asked, generations, strict=True):
            old[number] = generation < newest
        return old

    def _put_tombstone(self, packs: Sequence[bytes]) -> None:
        """Its time decides whom it waits for, so it must not be wrong for good."""
        tombstones = self._repository.tombstones
        stone = tombstones.put(packs)
        try:
            require_clocks_agree(
                self._repository.store, self._repository.clock, stored_at=stone.written_at
            )
        except ClockSkew:
            tombstones.remove(stone)
            raise

    def _rewrite(self, marked: Marked, packs: Sequence[int], leaving: Sequence[bytes]) -> None:
        """Copy the needed chunks of sparse packs into new ones, durable and indexed on return. That
        one lies in another pack that is `leaving`, or gone, saves no chunk from being copied."""
        first = self._maintenance.writer(leaving)
        count = min(_MOVERS, len(packs) // _PACKS_PER_MOVER)
        writers = [first, *(first.another() for _ in range(1, count))]
        idle: SimpleQueue[PackWriter] = SimpleQueue()
        for writer in writers:
            idle.put(writer)

        def move(chunks: Sequence[ChunkLocation]) -> None:
            writer = idle.get()
            try:
                self._move(writer, chunks)
            finally:
                idle.put(writer)

        try:
            moved = at_once(move, marked.chunks_of(packs), workers=len(writers))
            for number, _ in enumerate(moved):
                self._progress.update(
                    Progress(phase="rewriting packs", done_bytes=number, total_bytes=len(packs))
                )
            for _ in at_once(PackWriter.flush, writers, workers=len(writers)):
                pass
        except ChunkCorruptedInMemory:
            self._require_sound(marked, packs)
            raise
        self._maintenance.put_index()

    def _move(self, writer: PackWriter, chunks: Sequence[ChunkLocation]) -> None:
        """As they are, without decompressing: the writer proves each from its id."""
        reader = self._repository.chunks
        for location, payload in reader.payloads(chunks):
            self._cancel.check()
            meta = location.meta
            if payload is None:  # another pack may have it
                writer.store_known(meta.type, meta.chunk_id, reader.read(meta.chunk_id, meta.type))
            else:
                writer.store_payload(meta, payload)

    def _require_sound(self, marked: Marked, packs: Sequence[int]) -> None:
        """What was moved was not what its id says. Raises ObjectDamaged when it lies so in the
        storage already, sealed by a writer at fault; else it is this machine's fault."""
        for chunks in marked.chunks_of(packs):
            for location in chunks:
                self._cancel.check()
                self._repository.chunks.fetch(location)

    # -- phase 2 --------------------------------------------------------------------------------

    def _agreed_time(self) -> datetime:
        """By the storage's clock. Again: it may have been set since the run began."""
        return require_clocks_agree(self._repository.store, self._repository.clock)

    def _delete_expired(self, stones: Sequence[Tombstone], now: datetime) -> None:
        expired = self._expired(stones, now)
        if not expired:
            return
        everything = {pack for stone in stones for pack in stone.packs}
        marked, can_be_locked = side_by_side(
            self._repository.store,
            lambda: self._mark(everything),
            lambda: self._repository.locks.has_ever_been,
        )
        used = marked.used_bytes()
        unneeded = {
            pack_hash: size
            for number, (pack_hash, size) in enumerate(marked.view.packs)
            if used[number] == 0 and marked.exists[number]
        }
        going = {
            pack: unneeded[pack] for stone in expired for pack in stone.packs if pack in unneeded
        }
        # Since the tombstone: a later run finds them again.
        for pack in self._locked(going) if can_be_locked else ():
            going.pop(pack)
        self._brake(len(going), int(marked.exists.sum()), sum(going.values()))
        if self._options.dry_run:
            self._report.deleted_packs = len(going)
            self._report.deleted_bytes = sum(going.values())
            return
        gone = {marked.view.packs[number][0] for number in np.flatnonzero(~marked.exists).tolist()}
        self._delete(going, gone)
        for stone in expired:
            self._repository.tombstones.remove(stone)

    def _expired(self, stones: Sequence[Tombstone], now: datetime) -> list[Tombstone]:
        """Old enough, and older than every lease. The leases are looked at before the mark: who
        gave one up by then has its point in the mark; and after `now`, so that none looks older
        than it is."""
        oldest = oldest_lease(self._repository.store, self._repository.sealer, now)
        expired: list[Tombstone] = []
        for stone in stones:
            age = now - stone.written_at
            if age < self._options.grace:
                self._report.waiting.append(f"{len(stone.packs)} packs wait for the grace period")
            elif oldest is not None and oldest <= stone.written_at + CLOCK_STEP:
                self._report.waiting.append(f"{len(stone.packs)} packs wait for a running backup")
            else:
                expired.append(stone)
        return expired

    def _locked(self, packs: Iterable[bytes]) -> Collection[bytes]:
        """Those that are immutable yet, by the storage itself; noted in the report. To ask only
        where there can be any: where there was a rule. One that was made since the mark began lets
        a copy be made too many, and no locked pack go."""
        by_key = {pack_name(pack): pack for pack in packs}
        untils = still_locked(self._repository.store, by_key, self._repository.store.now())
        if untils:
            first, last = min(untils.values()), max(untils.values())
            self._report.locked_packs += len(untils)
            self._report.waiting.append(
                f"{len(untils)} packs are immutable: the first until {format_time(first)}, the "
                f"last until {format_time(last)}"
            )
        return {by_key[key] for key in untils}

    def _brake(self, going: int, packs: int, size_bytes: int) -> None:
        if going > max(1, packs * self._options.maximum_delete_share):
            raise CompactTooLarge(packs=going, all_packs=packs, size=format_bytes(size_bytes))

    def _delete(self, going: dict[bytes, int], gone: Collection[bytes]) -> None:
        """The index forgets the packs before they go: a crash in between leaves packs that no
        index names and a tombstone that names them, for the next run. What it still names of the
        `gone` ones goes with them."""
        self._maintenance.confirm()
        self._maintenance.replace_index(without={*going, *gone})
        failpoint("compact.before_delete")
        deleted = each(
            lambda pack: self._maintenance.delete_pack(pack_name(pack)),
            going,
            is_slow=self._repository.is_distant,
        )
        for number, (size, is_gone) in enumerate(zip(going.values(), deleted, strict=True)):
            self._report.deleted_packs += int(is_gone)
            self._report.deleted_bytes += size if is_gone else 0
            self._cancel.check()
            self._progress.update(
                Progress(phase="deleting packs", done_bytes=number, total_bytes=len(going))
            )
        failpoint("compact.after_delete")

    def _mark(self, avoid: Iterable[bytes]) -> Marked:
        return mark(self._repository, avoid=avoid, cancel=self._cancel, progress=self._progress)
