"""QEMU's own programs: `qemu-nbd` as a supervised server of one image, and `qemu-img`.

Owns every start of these two programs. Must not know repositories or hypervisors. Enter at
`QemuNbd.serve`, `create_image`, `image_size`, `image_check`, `image_data_end`.

The format is always given, never probed; a backing file named by an image is never opened; paths
are passed inside a JSON description, so that no character of a file name means anything.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import TargetExists, ToolFailed, ToolStalled
from holdfast.nbd.errors import SourceUnavailable, TargetUnavailable
from holdfast.nbd.processes import (
    ToolResult,
    await_file,
    end_process,
    run_tool,
    shorten,
    start_server,
)
from holdfast.nbd.socket_folder import new_socket_folder

PACKAGE = "qemu-utils"
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 60.0
"""A writable server writes back its metadata and syncs before it ends."""
_INFO_TIMEOUT_S = 60.0
_CHECK_TIMEOUT_S = 3600.0
"""For one that goes on reading the tables of a large image."""
_STALLED_AFTER_S = 60.0
"""For one that stands still: as long as a server that answers nothing is waited for."""
_IMAGE_NOISE = re.compile(r"^qemu-nbd: (Failed to \w+ 'json:\{.*\}': )?")

_CHECK_CLEAN, _CHECK_STOPPED, _CHECK_CORRUPT, _CHECK_LEAKS = range(4)


class QemuNbd:
    """A running `qemu-nbd`. A context manager; leaving it ends the server and removes its socket.

    It also ends when this process does, however that ends.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], *, folder: Path, image: Path, read_only: bool
    ) -> None:
        self._process = process
        self._folder = folder
        self._image = image
        self._read_only = read_only
        self.socket_path = folder / "socket"
        self.export = ""
        """Name of the export, for `NbdReader.connect`."""

    @classmethod
    def serve(
        cls,
        *,
        image: Path,
        format: str,
        read_only: bool,
        socket_dir: Path,
        bitmap: str | None = None,
        force_share: bool = False,
        shared: int = 0,
    ) -> QemuNbd:
        """Serve `image` on a unix socket in a fresh 0700 folder below `socket_dir`.

        `shared` is the number of connections at a time, 0 for any; one more would wait.
        `force_share` opens an image that a running VM has open: what is read is then no instant
        unless the VM is paused. `bitmap` is a persistent dirty bitmap of a qcow2 image. Returns
        when connecting works.

        Raises SourceUnavailable (TargetUnavailable if not `read_only`), ToolMissing, InvalidInput
        for a `socket_dir` whose path is too long.
        """
        folder = new_socket_folder(socket_dir)
        try:
            process = start_server(
                _nbd_arguments(
                    folder=folder,
                    image=image,
                    format=format,
                    read_only=read_only,
                    bitmap=bitmap,
                    force_share=force_share,
                    shared=shared,
                ),
                package=PACKAGE,
                stderr_path=folder / "stderr",
            )
            server = cls(process, folder=folder, image=image, read_only=read_only)
            try:
                server._require_listening()
            except BaseException:
                end_process(process, grace_s=0)
                raise
        except BaseException:
            shutil.rmtree(folder)
            raise
        return server

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End the server and remove its folder. Connections should be closed before.

        Raises ToolFailed when a writable server did not end cleanly: the image may be incomplete
        in spite of every flush. May be called twice.
        """
        if not self._folder.exists():
            return
        status = end_process(self._process, grace_s=_STOP_TIMEOUT_S)
        output = self._stderr()
        shutil.rmtree(self._folder)
        if status != 0 and not self._read_only:
            raise ToolFailed(tool="qemu-nbd", status=status, output=output)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_listening(self) -> None:
        if await_file(self._folder / "pid", self._process, timeout_s=_START_TIMEOUT_S):
            return
        problem = self._stderr() or f"qemu-nbd was not ready within {_START_TIMEOUT_S:.0f} s"
        problem = _IMAGE_NOISE.sub("", problem)
        if self._read_only:
            raise SourceUnavailable(source=str(self._image), problem=problem)
        raise TargetUnavailable(target=str(self._image), problem=problem)

    def _stderr(self) -> str:
        return shorten((self._folder / "stderr").read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCheck:
    """What `qemu-img check` found. Leaked clusters are lost space, not damage."""

    damage: str
    """What is wrong with the data, in words; empty when nothing is."""


def create_image(
    path: Path, format: str, size_bytes: int, *, options: tuple[str, ...] = ()
) -> None:
    """Create an image that reads as zeroes. `options` are `-o` settings
    such as `lazy_refcounts=on`.

    Raises TargetExists (nothing is ever overwritten), ToolFailed, ToolMissing.
    """
    try:
        # qemu-img truncates what is there; creating the file first makes the name ours.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise TargetExists(path=str(path)) from error
    settings = [argument for option in options for argument in ("-o", option)]
    absolute = str(path.absolute())
    arguments = ["qemu-img", "create", "-q", "-f", format, *settings, absolute, str(size_bytes)]
    try:
        run_tool(arguments, package=PACKAGE, timeout_s=_INFO_TIMEOUT_S)
    except BaseException:
        path.unlink()
        raise


def image_size(path: Path, format: str) -> int:
    """The guest's size of the disk in bytes, as QEMU sees it. Also of an image in use."""
    arguments = ["qemu-img", "info", "-U", "--output=json", _description(path, format)]
    result = run_tool(arguments, package=PACKAGE, timeout_s=_INFO_TIMEOUT_S)
    return int(_parse_json(result.output)["virtual-size"])


def image_check(path: Path, format: str, *, cancel: CancelToken | None = None) -> ImageCheck:
    """Check an image's own tables (qcow2, vmdk; raw has none). Reads metadata only; never repairs.

    Raises ToolFailed when QEMU cannot open it or cannot finish, SourceUnavailable when its storage
    does not answer.
    """
    if format == "raw":
        return ImageCheck(damage="")
    result = _read_tables(
        path,
        ["qemu-img", "check", "-U", "--output=json", _description(path, format)],
        accept=frozenset({_CHECK_CLEAN, _CHECK_STOPPED, _CHECK_CORRUPT, _CHECK_LEAKS}),
        cancel=cancel,
    )
    if result.status == _CHECK_STOPPED:
        if "Could not open" in result.errors:
            raise ToolFailed(tool="qemu-img", status=result.status, output=result.errors)
        return ImageCheck(damage=result.errors.removeprefix("qemu-img: "))
    found = _parse_json(result.output)
    errors = int(found.get("check-errors", 0)) + int(found.get("corruptions", 0))
    if result.status == _CHECK_CORRUPT or errors:
        example = result.errors.split("; ")[-1].removeprefix("ERROR: ")
        return ImageCheck(damage=f"{errors} errors in its tables, such as: {example}")
    return ImageCheck(damage="")


def image_data_end(path: Path, format: str, *, cancel: CancelToken | None = None) -> int:
    """The highest byte of the file, plus one, that holds uncompressed data of the disk.

    QEMU reads zeroes beyond the end of a file that was cut inside its last cluster, so this is
    how such an image is told from a whole one. Reads the tables only. Raises as `image_check`.
    """
    end = 0
    rest = b""

    def take(piece: bytes) -> None:
        # One extent a line; a fragmented disk has millions of them.
        nonlocal end, rest
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            extent = cast("dict[str, Any]", json.loads(line.strip(b"[], ") or b"{}"))
            if extent.get("data") and "offset" in extent:
                end = max(end, int(extent["offset"]) + int(extent["length"]))

    arguments = ["qemu-img", "map", "-U", "--output=json", _description(path, format)]
    _read_tables(path, arguments, output=take, cancel=cancel)
    take(b"\n")
    return end


def _read_tables(
    path: Path,
    arguments: list[str],
    *,
    accept: frozenset[int] = frozenset({0}),
    output: Callable[[bytes], object] | None = None,
    cancel: CancelToken | None,
) -> ToolResult:
    """Run what reads all tables of an image: long for a large one, without end on storage that
    does not answer."""
    try:
        return run_tool(
            arguments,
            package=PACKAGE,
            timeout_s=_CHECK_TIMEOUT_S,
            stalled_after_s=_STALLED_AFTER_S,
            accept=accept,
            output=output,
            cancel=cancel,
        )
    except ToolStalled as error:
        problem = f"its storage did not answer qemu-img for {_STALLED_AFTER_S:.0f} s"
        raise SourceUnavailable(source=str(path), problem=problem) from error


def _nbd_arguments(
    *,
    folder: Path,
    image: Path,
    format: str,
    read_only: bool,
    bitmap: str | None,
    force_share: bool,
    shared: int,
) -> list[str]:
    socket_path = folder / "socket"
    arguments = ["qemu-nbd", "--persistent", f"--shared={shared}", f"--socket={socket_path}"]
    arguments.append(f"--pid-file={folder / 'pid'}")
    if read_only:
        arguments.append("--read-only")
    else:
        # Zeroes written as such become holes; data reaches the disk with each flush.
        arguments += ["--discard=unmap", "--cache=writeback"]
    if bitmap is not None:
        arguments.append(f"--bitmap={bitmap}")
    return [*arguments, _description(image, format, force_share=force_share)]


def _description(path: Path, format: str, *, force_share: bool = False) -> str:
    """QEMU's JSON pseudo-protocol: driver, file and nothing else."""
    absolute = path.absolute()
    driver = "host_device" if stat.S_ISBLK(_mode(absolute)) else "file"
    node: dict[str, Any] = {
        "driver": format,
        "file": {"driver": driver, "filename": str(absolute)},
    }
    if format != "raw":
        node["backing"] = None
    if force_share:
        node["force-share"] = True
    return f"json:{json.dumps(node)}"


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise SourceUnavailable(source=str(path), problem=error.strerror or str(error)) from error


def _parse_json(output: bytes) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", json.loads(output))
    except ValueError as error:
        raise ToolFailed(tool="qemu-img", status=0, output=shorten(output)) from error
