"""Before a commit: what the new point needs is locked as long as the point will be.

Most of it was stored by earlier sessions, whose locks end earlier. Enter at `SessionLocks.renew`.
"""

from __future__ import annotations

from holdfast.core.cancellation import CancelToken
from holdfast.core.failpoints import failpoint
from holdfast.core.progress import SilentProgress
from holdfast.repository.chunks import ChunkReader
from holdfast.repository.format.pack import pack_name
from holdfast.repository.format.point import Manifest
from holdfast.repository.index import ChunkIndex
from holdfast.repository.locking import Locks
from holdfast.repository.marking import Marking
from holdfast.repository.proofs import Proofs


class SessionLocks:
    """The locks that one writing session answers for."""

    def __init__(
        self, locks: Locks, index: ChunkIndex, chunks: ChunkReader, proofs: Proofs
    ) -> None:
        self._locks = locks
        self._index = index
        self._chunks = chunks
        self._proofs = proofs

    def renew(self, manifest: Manifest) -> None:
        """Every pack of the point, inherited ones included, and every object without which it
        cannot be read, is locked on return for longer than the point will be. Does nothing in a
        repository that is not immutable. Raises ObjectMissing, StoreUnavailable, ClockSkew."""
        required = self._locks.required()
        if required is None:
            return
        packs = self._packs(manifest)
        self._locks.renew([*map(pack_name, packs), *self._locks.roots()], required)
        failpoint("locks.after_renewal")

    def _packs(self, manifest: Manifest) -> set[bytes]:
        """In the index that this session relies on. A chunk that was lost before is passed over: it
        must not keep the rest from being backed up, and `check` tells of it."""
        view = self._index.view()
        marking = Marking(
            view,
            {pack_hash for pack_hash, _ in view.packs},
            self._proofs.damaged(),
            self._chunks,
            avoid=(),
            cancel=CancelToken(),
            progress=SilentProgress(),
            pass_over=True,
        )
        return marking.run([manifest]).packs()
