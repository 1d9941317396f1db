"""The seam between a restore point's disk and whoever reads it (NBD export, guest files)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from holdfast.core.extents import Extent


class BlockSource(Protocol):
    """Random access to one disk of a restore point. Every byte returned was verified."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def chunk_bytes(self) -> int:
        """The unit that is fetched and verified as a whole; a good size for read-ahead."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; the range must lie inside the disk (ValueError otherwise).

        Thread-safe. Raises the repository's integrity errors when stored data is damaged.
        """
        ...

    def allocated(self, offset: int, length: int) -> Iterator[Extent]:
        """The range split into zero and data extents; sorted, gapless, covering exactly it."""
        ...
