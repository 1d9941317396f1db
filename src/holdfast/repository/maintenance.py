"""A maintenance session: the only holder of the right to delete packs and index objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar

from blake3 import blake3

from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError, OutOfSpace
from holdfast.core.failpoints import failpoint
from holdfast.repository.errors import (
    ClockSkew,
    LeaseLost,
    ObjectDamaged,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
)
from holdfast.repository.format.envelope import Kind, Sealer
from holdfast.repository.format.index import PackTable, decode_index, encode_index
from holdfast.repository.index import ChunkIndex
from holdfast.repository.index_objects import take_back_stale
from holdfast.repository.leases import Lease
from holdfast.repository.packs import PackWriter
from holdfast.repository.reading import each, is_distant
from holdfast.repository.store.local import LocalStore
from holdfast.repository.store.store import ObjectStore

Result = TypeVar("Result")
_CLOCK_SKEW = timedelta(minutes=5)
_INDEX_WRITERS = 4
"""Index objects replaced at once in a distant storage: some ten megabytes each."""


def require_clocks_agree(
    store: ObjectStore, clock: Clock, stored_at: datetime | None = None
) -> datetime:
    """Before anything is judged by its age: the storage's time, now or when it stored something a
    moment ago. Raises ClockSkew."""
    then = stored_at or store.now()
    _require_small(then - clock.now(), store)
    return then


def _require_small(skew: timedelta, store: ObjectStore) -> None:
    if abs(skew) > _CLOCK_SKEW:
        raise ClockSkew(location=store.location, skew_s=skew.total_seconds())


def with_room(store: ObjectStore, act: Callable[[], Result]) -> Result:
    """What `act` returns; when it runs out of space, it is done again with the reserve freed.

    Raises OutOfSpace when that is not enough, or there is no reserve.
    """
    try:
        return act()
    except OutOfSpace:
        if not isinstance(store, LocalStore) or not store.free_reserve():
            raise
    return act()


class Maintenance:
    """Made by `Repository.begin_maintenance`. A context manager: leaving gives up the lease."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        sealer: Sealer,
        index: ChunkIndex,
        lease: Lease,
        clock_skew: timedelta,
        new_writer: Callable[[], PackWriter],
        read_index: Callable[[str], bytes],
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._index = index
        self._lease = lease
        self._clock_skew = clock_skew
        self._new_writer = new_writer
        self._read_index = read_index

    def confirm(self) -> None:
        """Raises LeaseLost unless this session is still the only one."""
        self._lease.confirm()

    def require_clocks_agreed(self) -> None:
        """When the session began. Raises ClockSkew."""
        _require_small(self._clock_skew, self._store)

    def writer(self, leaving: Iterable[bytes]) -> PackWriter:
        """A writer that stores chunks again although they are in the packs `leaving`."""
        self._index.doubt(leaving)
        return self._new_writer()

    def put_index(self) -> None:
        """Make what the writer put findable: an index object for every pack that has none."""
        tables = self._index.unnamed
        if tables:
            put = {self._put(tables): tables}
            self._index.now_named(tables)
            self._prove(put)

    def replace_index(self, *, without: Collection[bytes]) -> None:
        """New index objects in place of those that name packs in `without` (or are damaged), and
        no new one names them.

        The new ones are durable before the old ones go; a crash in between leaves both, which is
        harmless. Proven at the end to be the doing of the only session, as what another one has
        deleted since must not be named again. Raises LeaseLost.
        """
        self._index.forget(without)
        self.put_index()
        fresh: dict[str, list[PackTable]] = {}
        try:
            self._replace_each(without, fresh)
        except ObjectMissing:
            self._prove(fresh)  # no damage when another session has replaced it
            raise
        self._prove(fresh)

    def _replace_each(self, without: Collection[bytes], fresh: dict[str, list[PackTable]]) -> None:
        """Adds the new objects to `fresh` as it goes."""
        keys = [info.key for info in self._store.list("index/")]
        is_slow = is_distant(self._store) and len(keys) > 1
        for _ in each(
            lambda key: self._replace(key, without, fresh),
            keys,
            workers=_INDEX_WRITERS,
            is_slow=is_slow,
        ):
            pass

    def _replace(
        self, key: str, without: Collection[bytes], fresh: dict[str, list[PackTable]]
    ) -> None:
        """One object after the other on a folder: there it may be the last space that is left."""
        tables = self._tables(key)
        kept = [table for table in tables if table.pack_hash not in without]
        if tables and len(kept) == len(tables):
            return
        if kept:
            fresh[self._put(kept)] = kept
        failpoint("maintenance.between_indexes")
        with suppress(ObjectMissing):
            self._store.delete(key)

    def _prove(self, put: Mapping[str, Sequence[PackTable]]) -> None:
        """That this was the only session while it put these index objects; else those go again that
        name what another one has deleted."""
        try:
            self._lease.confirm()
        except LeaseLost:
            take_back_stale(self._store, put)
            raise

    def _tables(self, key: str) -> list[PackTable]:
        try:
            return decode_index(self._read_index(key), key=key)
        except ObjectDamaged:
            return []  # what it named was unnamed, and has just been put

    def delete_pack(self, key: str) -> bool:
        """Whether it is gone on return; a pack that an interrupted run deleted already is no error.
        One that was locked a moment ago stays, in no index, for the next run to find."""
        try:
            with suppress(ObjectMissing):
                self._store.delete(key)
        except ObjectLocked:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(self._store, LocalStore):
            with suppress(HoldfastError):  # the work is done; the next run tries again
                self._store.keep_reserve()
        self._lease.release()

    def _put(self, tables: list[PackTable]) -> str:
        sealed = self._sealer.seal(Kind.INDEX, "", encode_index(tables))
        key = f"index/{blake3(sealed).hexdigest()}"
        with suppress(ObjectExists):  # named by the hash of its bytes: it is this one
            self._store.put_new(key, [sealed])
        return key
