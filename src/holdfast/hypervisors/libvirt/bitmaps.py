"""The dirty bitmaps of a VM's images, as QEMU itself reports them.

libvirt lists checkpoints whose bitmap is long gone, and a bitmap that QEMU calls inconsistent has a
count of 0, which read naively means "nothing changed". So state is taken from QEMU's
`recording` and `inconsistent`, never judged by a count. Enter at `live_bitmaps` for a
running VM and `stored_bitmaps` for the image of a shut-off one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import libvirt
import libvirt_qemu

from holdfast.core.errors import ToolFailed
from holdfast.core.ids import CHECKPOINT_PREFIX
from holdfast.hypervisors.libvirt.errors import LibvirtFault, libvirt_errors
from holdfast.nbd.processes import run_tool

_QEMU_IMG_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitmap:
    """One named bitmap of one image."""

    name: str
    recording: bool
    inconsistent: bool
    estimate_bytes: int = 0
    """How much it marks, where QEMU says; for showing to people only."""

    @property
    def problem(self) -> str:
        """Why it says nothing about what changed, or ""."""
        if self.inconsistent:
            return "its record of changes was not closed properly when QEMU ended"
        if not self.recording:
            return "its record of changes was switched off"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNode:
    """An image as QEMU has it open."""

    node_name: str
    bitmaps: Mapping[str, Bitmap]


def live_bitmaps(domain: libvirt.virDomain, platform: str) -> Mapping[str, ImageNode]:
    """The image nodes of a running VM by image path, qcow2 layers only.

    Asked through the monitor, which marks the domain as tainted (`custom-monitor`) in libvirt's
    log and has no other effect.
    """
    nodes: dict[str, ImageNode] = {}
    answer = monitor_command(domain, platform, "query-named-block-nodes", {"flat": True})
    for node in cast("list[dict[str, Any]]", answer):
        if node.get("drv") != "qcow2":
            continue
        found = [
            Bitmap(
                name=entry["name"],
                recording=entry.get("recording") is True,
                inconsistent=entry.get("inconsistent") is True,
                estimate_bytes=int(entry.get("count", 0)),
            )
            for entry in cast("list[dict[str, Any]]", node.get("dirty-bitmaps") or [])
            if entry.get("name")
        ]
        nodes[str(node["file"])] = ImageNode(
            node_name=str(node["node-name"]), bitmaps={bitmap.name: bitmap for bitmap in found}
        )
    return nodes


def remove_live_bitmap(domain: libvirt.virDomain, platform: str, node: str, name: str) -> None:
    """Remove one bitmap of ours from a running VM's image. Raises LibvirtFault."""
    _require_ours(name)
    monitor_command(domain, platform, "block-dirty-bitmap-remove", {"node": node, "name": name})


def stored_bitmaps(path: Path) -> Mapping[str, Bitmap]:
    """The bitmaps stored in a qcow2 image that no QEMU has open. Raises ToolFailed.

    The image is opened with force-share, so a VM that starts meanwhile is not disturbed; the
    answer is then worthless, and the caller finds out by looking at the VM's state afterwards.
    """
    text = _qemu_img(["info", "--output", "json", "-U", "-f", "qcow2", str(path)])
    specific = json.loads(text).get("format-specific", {}).get("data", {})
    found: list[Bitmap] = []
    for entry in cast("Sequence[dict[str, Any]]", specific.get("bitmaps") or ()):
        flags = cast("Sequence[str]", entry.get("flags") or ())
        found.append(
            Bitmap(
                name=str(entry["name"]), recording="auto" in flags, inconsistent="in-use" in flags
            )
        )
    return {bitmap.name: bitmap for bitmap in found}


def remove_stored_bitmap(path: Path, name: str) -> None:
    """Remove one bitmap of ours from an image nobody has open. Takes QEMU's image lock, so it
    fails (ToolFailed) and changes nothing when a VM has started with the image."""
    _require_ours(name)
    _qemu_img(["bitmap", "--remove", "-f", "qcow2", str(path), name])


def monitor_command(
    domain: libvirt.virDomain, platform: str, command: str, arguments: Mapping[str, object]
) -> object:
    """The `return` value of a QMP command. Raises LibvirtFault with QEMU's words."""
    request = json.dumps({"execute": command, "arguments": dict(arguments)})
    with libvirt_errors(platform, f"ask QEMU to {command}"):
        text = libvirt_qemu.qemuMonitorCommand(domain, request, 0)
    answer = json.loads(text)
    if "return" not in answer:
        problem = str(answer.get("error", {}).get("desc", text))
        raise LibvirtFault(
            platform=platform, action=f"ask QEMU to {command}", problem=problem, number=0
        )
    return answer["return"]


def _require_ours(name: str) -> None:
    if not name.startswith(CHECKPOINT_PREFIX):
        raise ValueError(f"not a bitmap of ours: {name!r}")


def _qemu_img(arguments: Sequence[str]) -> bytes:
    done = run_tool(["qemu-img", *arguments], package="qemu-utils", timeout_s=_QEMU_IMG_TIMEOUT_S)
    # It ends with status 0 after some failures of bitmaps: what it says decides too.
    if done.errors.strip():
        raise ToolFailed(tool="qemu-img", status=done.status, output=done.errors.strip())
    return done.output
