"""A restore point as callers see it: the manifest, and what became known since its commit."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.repository.errors import DiskNotFound
from holdfast.repository.format.point import DiskRecord, Manifest
from holdfast.repository.marks import Holds, Suspects


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoint:
    """A committed point and what is known about it since."""

    manifest: Manifest
    suspect: str = ""
    """Why its content is in doubt; empty when it is not."""
    held: str = ""
    """Why it must not be deleted; empty when it may."""

    @property
    def id(self) -> str:
        return self.manifest.id

    def disk(self, key: str) -> DiskRecord:
        """Raises DiskNotFound."""
        for disk in self.manifest.disks:
            if disk.key == key:
                return disk
        known = ", ".join(disk.key for disk in self.manifest.disks)
        raise DiskNotFound(point=self.id, disk=key, known=known or "no disk")


def known_point(manifest: Manifest, suspects: Suspects, holds: Holds) -> RestorePoint:
    """The point with what all marks and holds say of it."""
    name = manifest.id
    return RestorePoint(manifest=manifest, suspect=suspects.doubt(name), held=holds.reason(name))
