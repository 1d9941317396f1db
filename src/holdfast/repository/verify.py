"""Read every stored byte again and prove it: a pack's bytes hash to its name, its table describes
it, and each chunk in it opens, decompresses and hashes to its id.

Damaged and missing packs are recorded, so that nothing new relies on them and the next backup
stores their chunks again. What was proven is recorded as it goes: a run that was broken off, or a
later one, may skip what was proven lately. Which points damage has reached is in `losses`.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blake3 import blake3

from holdfast.core.cancellation import CancelToken
from holdfast.core.failpoints import failpoint
from holdfast.core.progress import Progress, ProgressSink
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.index import decode_index
from holdfast.repository.format.pack import pack_name
from holdfast.repository.index import locations_of
from holdfast.repository.losses import PointLoss, find_losses
from holdfast.repository.repository import Repository

_RECORD_PACKS = 256
"""Packs proven between two records: what a killed run has to read again, 4 GiB."""
_MOST_WORKERS = 12
"""Each holds one pack, of a bucket for a moment twice: 20 or 40 MiB of memory in all."""
_Pack = tuple[bytes, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    share: float = 1.0
    """Read this share of the packs, picked at random."""
    not_since: timedelta | None = None
    """Skip packs that were proven more recently than this, by the storage's clock."""
    workers: int | None = None
    """Threads, each with one pack in memory; None for as many as cores and storage keep busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadPack:
    """`problem` is what was found in this run, or that an earlier one found it damaged."""

    key: str
    problem: str


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    packs: int = 0
    """Packs read in this run."""
    skipped_packs: int = 0
    read_bytes: int = 0
    bad_packs: list[BadPack] = field(default_factory=list[BadPack])
    losses: list[PointLoss] = field(default_factory=list[PointLoss])
    """Points that need a chunk which no sound pack holds."""

    @property
    def is_sound(self) -> bool:
        return not self.bad_packs and not self.losses


def verify_repository(
    repository: Repository,
    options: VerifyOptions,
    *,
    cancel: CancelToken,
    progress: ProgressSink,
) -> VerifyReport:
    """Damage is reported and recorded, not raised. Writes nothing but records. Safe beside
    backups and compact. Raises StoreUnavailable, OutOfSpace, Cancelled: what was proven until
    then stays recorded."""
    return _Verify(repository, options, cancel, progress).run()


def workers_for(cores: int, *, is_distant: bool) -> int:
    """Threads that keep these cores busy. On a folder two more than there are, which read while the
    others compute. Of a bucket one connection brings a fifth of what a core proves (0.5 GB/s), so
    each core has two, and two more."""
    return min(_MOST_WORKERS, cores * (2 if is_distant else 1) + 2)


class _Verify:
    def __init__(
        self,
        repository: Repository,
        options: VerifyOptions,
        cancel: CancelToken,
        progress: ProgressSink,
    ) -> None:
        self._repository = repository
        self._store = repository.store
        self._options = options
        self._cancel = cancel
        self._progress = progress
        self._report = VerifyReport()
        self._lock = threading.Lock()
        self._sound: list[bytes] = []
        self._bad: dict[bytes, str] = {}
        self._unrecorded_bad: list[bytes] = []
        self._errors: list[BaseException] = []
        self._total_bytes = 0

    def run(self) -> VerifyReport:
        _, present = self._repository.complete_index()
        chosen = self._choose(present)
        self._total_bytes = sum(size for _, size in chosen)
        try:
            self._read_all(iter(chosen))
            for pack_hash in self._missing(present):
                self._note(pack_hash, "it is missing")
        finally:
            self._record(at_least=1)
        self._report_damage(present)
        self._repository.proofs.drop_superseded({*present, *self._bad})
        return self._report

    # -- what to read ---------------------------------------------------------------------------

    def _choose(self, present: dict[bytes, int]) -> list[_Pack]:
        """Longest unproven first, so that runs that are broken off get through all in the end."""
        proven = self._repository.proofs.proven()
        chosen = [pack for pack in present.items() if not self._is_recent(proven.sound_at, pack)]
        if self._options.share < 1 and chosen:
            count = max(1, round(len(chosen) * self._options.share))
            chosen = random.SystemRandom().sample(chosen, count)
        self._report.skipped_packs = len(present) - len(chosen)
        known = [pack for pack in chosen if pack[0] in proven.sound_at]
        known.sort(key=lambda pack: proven.sound_at[pack[0]])
        return [pack for pack in chosen if pack[0] not in proven.sound_at] + known

    def _is_recent(self, sound_at: dict[bytes, datetime], pack: _Pack) -> bool:
        proven = sound_at.get(pack[0])
        if proven is None or self._options.not_since is None:
            return False
        return self._store.now() - proven < self._options.not_since

    def _missing(self, present: dict[bytes, int]) -> list[bytes]:
        """Packs that an index object names and the store does not have.

        The index is read anew: a compact run takes a pack out of it before it deletes the pack, so
        one that is named still and was not listed before is lost.
        """
        named: set[bytes] = set()
        for info in list(self._store.list("index/")):
            try:
                plain = self._repository.index_objects.read(info.key)
                named.update(table.pack_hash for table in decode_index(plain, key=info.key))
            except (ObjectDamaged, ObjectMissing):
                continue  # a cache, or just replaced
        return [pack for pack in sorted(named - present.keys()) if not self._exists(pack)]

    def _exists(self, pack_hash: bytes) -> bool:
        try:
            self._store.stat(pack_name(pack_hash))
        except ObjectMissing:
            return False
        return True  # put since the packs were listed

    # -- reading --------------------------------------------------------------------------------

    def _read_all(self, packs: Iterator[_Pack]) -> None:
        cores = len(os.sched_getaffinity(0))
        count = self._options.workers or workers_for(cores, is_distant=self._repository.is_distant)
        threads = [
            threading.Thread(target=self._work, args=(packs,), name=f"verify-{number}")
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _work(self, packs: Iterator[_Pack]) -> None:
        try:
            while not self._errors:
                self._cancel.check()
                with self._lock:
                    pack = next(packs, None)
                if pack is None:
                    return
                self._verify(*pack)
                self._record(at_least=_RECORD_PACKS)
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            self._errors.append(error)

    def _verify(self, pack_hash: bytes, size_bytes: int) -> None:
        try:
            # Once more: a transfer may have failed where the storage has not.
            problem = self._problem(pack_hash) and self._problem(pack_hash)
        except ObjectMissing:
            return  # deleted by a compact run, or found missing below
        self._note(pack_hash, problem)
        with self._lock:
            self._report.packs += 1
            self._report.read_bytes += size_bytes
            done = self._report.read_bytes
        self._progress.update(
            Progress(phase="verifying", done_bytes=done, total_bytes=self._total_bytes)
        )

    def _problem(self, pack_hash: bytes) -> str:
        """Why the pack is not sound; empty when it is. Raises ObjectMissing."""
        try:
            stored = memoryview(self._store.get(pack_name(pack_hash)))
            if blake3(stored).digest() != pack_hash:
                return "its bytes do not hash to its name"
            table, cipher = self._repository.pack_tables.parse(pack_hash, stored)
            for location in locations_of(table):
                end = location.offset + location.stored_bytes
                self._repository.chunks.open_with(cipher, location, stored[location.offset : end])
        except ObjectDamaged as error:
            return error.problem
        return ""

    # -- what was found -------------------------------------------------------------------------

    def _note(self, pack_hash: bytes, problem: str) -> None:
        with self._lock:
            if problem:
                self._bad[pack_hash] = problem
                self._unrecorded_bad.append(pack_hash)
            else:
                self._sound.append(pack_hash)

    def _record(self, *, at_least: int) -> None:
        with self._lock:
            if len(self._sound) + len(self._unrecorded_bad) < at_least:
                return
            sound, self._sound = self._sound, []
            bad, self._unrecorded_bad = self._unrecorded_bad, []
        self._repository.proofs.put(sound=sound, damaged=bad)
        failpoint("verify.after_record")

    def _report_damage(self, present: dict[bytes, int]) -> None:
        """Damage found now, and what earlier runs found and this one has not read again."""
        before = self._repository.proofs.damaged() - self._bad.keys()
        old = dict.fromkeys((pack for pack in before if pack in present), "found damaged earlier")
        known = {**old, **self._bad}
        self._report.bad_packs = [
            BadPack(key=pack_name(pack), problem=problem)
            for pack, problem in sorted(known.items(), key=lambda item: pack_name(item[0]))
        ]
        self._report.losses = find_losses(
            self._repository, known, cancel=self._cancel, progress=self._progress
        )


def lost_points(losses: Sequence[PointLoss]) -> list[str]:
    """Ids of the points that cannot be restored in full."""
    return [loss.point_id for loss in losses if not loss.is_readable]
