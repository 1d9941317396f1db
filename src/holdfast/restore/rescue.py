"""Get out of a repository whatever is left of a point: every disk as an image, and what the VM
needs besides, into one folder, with a note on how to bring it up again.

Goes on over damage: what cannot be read becomes zeroes or is left out, and is named in the report.
Writes nothing to the repository, which may be on read-only media. Enter at `rescue_point`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.core.cancellation import CancelToken
from holdfast.core.clock import format_time
from holdfast.core.errors import InvalidInput, OutOfSpace, TargetExists
from holdfast.core.progress import ProgressSink
from holdfast.core.units import format_bytes
from holdfast.repository import DiskRecord, Repository, RestorePoint
from holdfast.restore.disk import DiskRestore, restore_disk
from holdfast.restore.holes import DAMAGE

README = "README.txt"
_SUFFIX = {"raw": "img", "qcow2": "qcow2", "vmdk": "vmdk"}
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuedDisk:
    key: str
    path: Path
    size_bytes: int
    written_bytes: int
    lost_bytes: int
    """Bytes that could not be read and hold zeroes."""


@dataclass(slots=True, kw_only=True)
class RescueReport:
    """What came out. `problems` are sentences for a person."""

    disks: list[RescuedDisk] = field(default_factory=list[RescuedDisk])
    files: list[Path] = field(default_factory=list[Path])
    """Definition, UEFI variables, TPM state."""
    problems: list[str] = field(default_factory=list[str])

    @property
    def is_whole(self) -> bool:
        return not self.problems


def rescue_point(
    repository: Repository,
    point: RestorePoint,
    folder: Path,
    *,
    format: str,
    cancel: CancelToken,
    progress: ProgressSink,
) -> RescueReport:
    """Fill a new or empty folder. `Repository.load_index` need not have been called.

    Raises TargetExists, OutOfSpace, StoreUnavailable, Cancelled. Damage is reported, not raised.
    """
    _prepare(folder)
    # Not only the index: any of its objects may be among what is lost.
    repository.complete_index()
    report = RescueReport()
    if point.suspect:
        report.problems.append(f"the point is in doubt: {point.suspect}")
    for artifact in point.manifest.artifacts:
        try:
            data = repository.read_artifact(artifact)
        except DAMAGE as error:
            report.problems.append(f"{artifact.name} is lost: {error.message}")
            continue
        report.files.append(_write(folder / _file_name(artifact.name), data))
    for disk in point.manifest.disks:
        cancel.check()
        path = folder / f"{_file_name(disk.key)}.{_SUFFIX[format]}"
        done = _restore(repository, disk, path, format, cancel, progress)
        lost = sum(hole.length for hole in done.holes)
        report.disks.append(
            RescuedDisk(
                key=disk.key,
                path=path,
                size_bytes=done.size_bytes,
                written_bytes=done.written_bytes,
                lost_bytes=lost,
            )
        )
        for hole in done.holes:
            report.problems.append(
                f"{disk.key}: {hole.length} bytes from byte {hole.offset} on are zeroes, for "
                f"what was there is lost: {hole.problem}"
            )
    _write(folder / README, _readme(point, report, format).encode())
    return report


def _restore(
    repository: Repository,
    disk: DiskRecord,
    path: Path,
    format: str,
    cancel: CancelToken,
    progress: ProgressSink,
) -> DiskRestore:
    """The fast way, and chunk by chunk only where that meets damage."""
    try:
        return restore_disk(
            repository=repository,
            disk=disk,
            output=path,
            format=format,
            cancel=cancel,
            progress=progress,
        )
    except DAMAGE as error:
        progress.message(f"{disk.key}: damaged, trying again around the damage: {error.message}")
    return restore_disk(
        repository=repository,
        disk=disk,
        output=path,
        format=format,
        cancel=cancel,
        progress=progress,
        fill_holes=True,
    )


def _prepare(folder: Path) -> None:
    """Raises TargetExists, InvalidInput."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise TargetExists(path=f"something in {folder}")
    except OSError as error:
        problem = error.strerror or str(error)
        raise InvalidInput(what=str(folder), problem=problem) from error


def _write(path: Path, data: bytes) -> Path:
    """Durable on return."""
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutOfSpace(location=str(path.parent)) from error
    return path


def _file_name(name: str) -> str:
    """Names come from the repository: nothing of them leads out of the folder."""
    safe = "".join(letter if letter in _SAFE else "_" for letter in name)
    return safe if safe.strip(".") else f"_{safe}"


def _readme(point: RestorePoint, report: RescueReport, format: str) -> str:
    vm = point.manifest.vm
    lines = [
        f"{vm.name} as of {format_time(point.manifest.captured_at)}",
        "",
        f"Restore point {point.id}, {point.manifest.consistency}-consistent,",
        f"of the VM {vm.id} on {vm.platform}.",
        "",
        "Disks",
        *(_disk_line(disk) for disk in report.disks),
    ]
    if report.problems:
        lines += ["", "NOT WHOLE. Check the file systems before use:"]
        lines += [f"  - {problem}" for problem in report.problems]
    lines += ["", *_how_to_boot(report, format)]
    return "\n".join(lines) + "\n"


def _disk_line(disk: RescuedDisk) -> str:
    lost = f", {format_bytes(disk.lost_bytes)} LOST" if disk.lost_bytes else ""
    return f"  {disk.path.name}  {disk.key}, {format_bytes(disk.size_bytes)}{lost}"


def _how_to_boot(report: RescueReport, format: str) -> Sequence[str]:
    names = {path.name for path in report.files}
    if "domain.xml" not in names:
        disks = " ".join(f"-drive file={disk.path.name},format={format}" for disk in report.disks)
        return ("To boot it without libvirt:", "", f"  qemu-system-x86_64 -m 2048 {disks}")
    steps = [
        "To bring it up with libvirt:",
        "",
        "  1. Copy the images to where libvirt keeps them (/var/lib/libvirt/images).",
        "  2. In a copy of domain.xml, change each <source file=...> to the new place and the type",
        f"     of its <driver> to {format}. If the old VM may still run somewhere, remove <uuid>",
        "     and the <mac> elements, so that the two do not clash.",
    ]
    if "nvram" in names:
        steps.append("  3. Copy nvram to the path in <nvram>: without it UEFI boots by default.")
    if "tpm.tar" in names:
        steps.append("  4. Unpack tpm.tar in /var/lib/libvirt/swtpm/<uuid> before the first start.")
    return (*steps, "", "  virsh define domain.xml && virsh start NAME")
