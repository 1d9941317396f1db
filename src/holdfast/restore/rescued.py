"""What a rescue is asked for and what becomes of it: values that its writer and its page share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

README, DEFINITION = "README.txt", "define.xml"
DOMAIN, NVRAM, TPM = "domain.xml", "nvram", "tpm.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueOptions:
    format: str = "qcow2"
    """Of the images: raw, qcow2 or vmdk."""
    fill_holes: bool = False
    """Write zeroes where data cannot be read, and say where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFile:
    """One disk or artifact, and what became of it."""

    name: str
    """Of the file in the folder; also of one that could not be saved."""
    what: str
    """Key of the disk, or name of the artifact."""
    is_disk: bool
    size_bytes: int
    written_bytes: int = 0
    problem: str = ""
    """Why it is not there, or not whole; empty when it is."""
    holes: Sequence[tuple[int, int]] = ()
    """`(offset, length)` of what holds zeroes because it could not be read."""

    @property
    def is_there(self) -> bool:
        return not self.problem or bool(self.holes)

    @property
    def lost_bytes(self) -> int:
        """What holds zeroes instead."""
        return sum(length for _, length in self.holes)


@dataclass(slots=True, kw_only=True)
class PointRescue:
    folder: Path
    files: list[SavedFile] = field(default_factory=list[SavedFile])
    notes: list[str] = field(default_factory=list[str])

    @property
    def is_whole(self) -> bool:
        return not any(file.problem for file in self.files)
