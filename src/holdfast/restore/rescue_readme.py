"""The page that lies beside rescued files: what they are, what is lost, and how to make a VM of
them. Enter at `readme`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from holdfast.core.clock import format_time
from holdfast.core.units import format_bytes
from holdfast.repository import RestorePoint
from holdfast.restore.rescued import (
    DEFINITION,
    DOMAIN,
    TPM,
    PointRescue,
    RescueOptions,
    SavedFile,
)


def readme(point: RestorePoint, result: PointRescue, options: RescueOptions) -> str:
    manifest = point.manifest
    lines = [
        f"{manifest.vm.name} as it was on {format_time(manifest.captured_at)}",
        "",
        f"Restore point  {point.id}",
        f"VM             {manifest.vm.id} on {manifest.vm.platform}",
        f"Consistency    {manifest.consistency}",
        "",
        "Files:",
        *(_file_line(file) for file in result.files),
    ]
    if not result.is_whole:
        lines += ["", "NOT EVERYTHING COULD BE SAVED: see above."]
        if any(file.is_disk and not file.is_there for file in result.files):
            lines.append(
                "A disk that is missing may be readable in part: run the same command again with\n"
                "--fill-holes-with-zeroes. What is here already stays."
            )
        lines.append("Run fsck or chkdsk on the file systems of a disk with holes before use.")
    lines += [f"Note: {note}" for note in result.notes]
    lines += ["", *_how_to(point, result, options)]
    return "\n".join(lines) + "\n"


def _file_line(file: SavedFile) -> str:
    state = "verified" if not file.problem else file.problem
    lines = [f"  {file.name:<24} {format_bytes(file.size_bytes):>12}  {state}"]
    lines += [f"      {length} bytes from byte {offset}" for offset, length in file.holes]
    return "\n".join(lines)


def _how_to(point: RestorePoint, result: PointRescue, options: RescueOptions) -> Sequence[str]:
    folder = shlex.quote(str(result.folder))
    if not (result.folder / DEFINITION).exists():
        return [
            "There is no ready definition. Make a VM with the same firmware (UEFI or BIOS) and",
            f"disk bus, and attach the images ({options.format}) in the order above.",
        ]
    name = shlex.quote(point.manifest.vm.name)
    lines = [
        "To make a VM of it on a libvirt host:",
        "",
        f"    virsh define {folder}/{DEFINITION}",
    ]
    tpm = next((file for file in result.files if file.what == TPM and file.is_there), None)
    if tpm is not None:
        uuid = f'"$(virsh domuuid {name})"'
        state = f"/var/lib/libvirt/swtpm/{uuid}"
        lines += [
            f"    mkdir -p {state}",
            f"    tar -xf {folder}/{shlex.quote(tpm.name)} -C {state}",
        ]
    lines += [
        f"    virsh start {name}",
        "",
        "It has the name, UUID and MAC addresses of the original, which must be gone, and its",
        "network cards are disconnected. Look at it first, then connect them:",
        "",
        f"    virsh domif-setlink {name} INTERFACE up",
        "",
        "The images are used where they are. To have them elsewhere, move this folder before and",
        f"change the paths in {DEFINITION}. {DOMAIN} is the definition as the old host had it.",
    ]
    return lines
