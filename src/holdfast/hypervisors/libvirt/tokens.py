"""What a change token of a parent point is worth now. Pure apart from looking at image files.

A token names a checkpoint and the epoch of the disk: which file it was, how large, over which
backing files, and which QEMU ran it. libvirt and QEMU are believed about a bitmap only while the
epoch still holds; any doubt is a reason to read the disk. Enter at `judge` and `make_token`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.hypervisors.driver import ChangeToken, Disk
from holdfast.hypervisors.libvirt.bitmaps import Bitmap

TOKEN_KIND = "libvirt-checkpoint"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Which image a disk is. Two equal epochs are the same image with the same layers below."""

    path: str
    device: str
    inode: str
    size_bytes: str
    layers: str
    """Digest over path, inode, size and modification time of each backing file: a change
    there changes the disk without touching its bitmap."""
    qemu_start: str
    """Which QEMU process; tells a person what happened, decides nothing: a bitmap that QEMU
    saved when it ended and loaded when it started is as good as before."""
    node: str = ""
    """QEMU's name for the open image, which no two have in the life of one QEMU. Another one from
    the same QEMU: the disk was away meanwhile, and who wrote the file then is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    """What is known of a disk now."""

    disk: Disk
    epoch: Epoch
    bitmaps: Mapping[str, Bitmap] | None
    """Of the disk's own image; None when QEMU does not report that image."""


def image_epoch(disk: Disk, *, layers: tuple[str, ...], qemu_start: str, node: str = "") -> Epoch:
    """Look at the image file. `layers` are the paths of its backing files, top first.

    Raises OSError when one of them cannot be looked at.
    """
    status = Path(disk.path).stat()
    digest = hashlib.sha256()
    for layer in layers:
        below = Path(layer).stat()
        line = f"{layer}\0{below.st_dev}\0{below.st_ino}\0{below.st_size}\0{below.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return Epoch(
        path=disk.path,
        device=str(status.st_rdev or status.st_dev),
        inode=str(status.st_ino),
        size_bytes=str(disk.size_bytes),
        layers=digest.hexdigest() if layers else "",
        qemu_start=qemu_start,
        node=node,
    )


def make_token(*, checkpoint: str, repository_id: str, vm_id: str, facts: DiskFacts) -> ChangeToken:
    """The token of an instant that `checkpoint` marks."""
    epoch = facts.epoch
    return ChangeToken(
        kind=TOKEN_KIND,
        values={
            "checkpoint": checkpoint,
            "repository": repository_id,
            "vm": vm_id,
            "disk": facts.disk.key,
            "path": epoch.path,
            "device": epoch.device,
            "inode": epoch.inode,
            "size_bytes": epoch.size_bytes,
            "layers": epoch.layers,
            "qemu_start": epoch.qemu_start,
            "node": epoch.node,
        },
    )


def checkpoint_of(token: ChangeToken | None) -> str:
    """The checkpoint a token names, or ""."""
    if token is None or token.kind != TOKEN_KIND:
        return ""
    return token.values.get("checkpoint", "")


def judge(
    token: ChangeToken | None,
    facts: DiskFacts,
    *,
    vm_id: str,
    repository_id: str | None,
    checkpoints: frozenset[str] | None,
) -> str:
    """Why the token cannot be trusted, as a clause for a person; "" when it can.

    `checkpoints` are the names of ours that libvirt knows; None skips that question (a shut-off
    VM's bitmap is read without libvirt). `repository_id` None: any repository's.
    """
    if not facts.disk.tracks_changes:
        return f"a {facts.disk.format} disk cannot record what changes"
    if token is None:
        return "no earlier point has a checkpoint of this disk"
    if token.kind != TOKEN_KIND:
        return f"the earlier point's token is of another kind ({token.kind})"
    name = token.values.get("checkpoint", "")
    return (
        _owner_problem(token.values, facts, vm_id, repository_id)
        or _epoch_problem(token.values, facts.epoch)
        or _bitmap_problem(name, token.values, facts, checkpoints)
    )


def _owner_problem(
    values: Mapping[str, str], facts: DiskFacts, vm_id: str, repository_id: str | None
) -> str:
    if repository_id is not None and values.get("repository") != repository_id:
        return "the earlier point's checkpoint belongs to another repository"
    if values.get("vm") != vm_id or values.get("disk") != facts.disk.key:
        return "the earlier point's checkpoint is of another disk"
    return ""


def _epoch_problem(values: Mapping[str, str], now: Epoch) -> str:
    if values.get("size_bytes") != now.size_bytes:
        return (
            f"the disk was resized from {values.get('size_bytes')} to {now.size_bytes} bytes "
            "since the earlier point"
        )
    if values.get("path") != now.path:
        return f"the disk was at {values.get('path')} and is now at {now.path}"
    if (values.get("device"), values.get("inode")) != (now.device, now.inode):
        return f"the file {now.path} was replaced since the earlier point"
    if values.get("layers") != now.layers:
        return "a backing file below the image was changed or exchanged"
    same_qemu = now.qemu_start and values.get("qemu_start") == now.qemu_start
    # Tokens of earlier versions name no node.
    if same_qemu and values.get("node") and values.get("node") != now.node:
        return "the disk was detached and attached again since the earlier point"
    return ""


def _bitmap_problem(
    name: str, values: Mapping[str, str], facts: DiskFacts, checkpoints: frozenset[str] | None
) -> str:
    if checkpoints is not None and name not in checkpoints:
        return "libvirt no longer has the earlier point's checkpoint"
    if facts.bitmaps is None:
        return "QEMU does not report the disk's image"
    bitmap = facts.bitmaps.get(name)
    if bitmap is not None:
        return f"the checkpoint is of no use: {bitmap.problem}" if bitmap.problem else ""
    if values.get("qemu_start") != facts.epoch.qemu_start:
        return "the checkpoint's bitmap was lost when QEMU ended without saving it"
    return "the checkpoint's bitmap is no longer in the image"
