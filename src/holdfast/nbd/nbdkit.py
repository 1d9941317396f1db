"""`nbdkit` as a supervised server of one plugin.

Owns every start of nbdkit. Must not know what a plugin serves. Enter at `Nbdkit.serve`.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import ToolFailed, ToolMissing
from holdfast.core.units import MIB
from holdfast.nbd.processes import await_file, end_process, shorten, start_server
from holdfast.nbd.socket_folder import SOCKET_NAME, new_socket_folder

_START_TIMEOUT_S = 60.0
_POLL_S = 0.25
_LOG_BYTES = 1 * MIB
"""nbdkit writes lines for every failed request, as often as a client cares to repeat it."""


class Nbdkit:
    """A running nbdkit. A context manager; leaving it ends the server and removes its socket.

    It also ends when this process does, however that ends: by the parent-death signal alone.
    nbdkit's `--exit-with-parent` would replace SIGKILL by SIGTERM, which waits for requests.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, folder: Path, package: str) -> None:
        self._process = process
        self._folder = folder
        self._package = package
        self._log_position = 0
        self._rest = b""
        self._last_output = b""
        self.socket_path = folder / SOCKET_NAME
        self.export = ""
        """Name of the export: the plugin serves one disk under any name."""

    @classmethod
    def serve(
        cls,
        *,
        plugin: str,
        parameters: Sequence[str],
        package: str,
        socket_dir: Path,
        read_only: bool,
        filters: Sequence[str] = (),
        handover: bytes | None = None,
    ) -> Nbdkit:
        """Serve on a unix socket in a fresh 0700 folder below `socket_dir`. Returns when connecting
        works.

        `handover`, which may be secret, goes through a pipe whose descriptor the plugin gets as
        `handover_fd`; at most 4 KiB, which a pipe always takes at once. `package` names the Debian
        packages of nbdkit and the plugin. Raises ToolMissing, ToolFailed, InvalidInput.
        """
        folder = new_socket_folder(socket_dir)
        try:
            arguments = [
                "nbdkit",
                "--foreground",
                f"--unix={folder / SOCKET_NAME}",
                f"--pidfile={folder / 'pid'}",
                *(["--readonly"] if read_only else []),
                *(f"--filter={name}" for name in filters),
                plugin,
                *parameters,
            ]
            process = _start(arguments, package, folder / "stderr", handover)
            server = cls(process, folder=folder, package=package)
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
    def uri(self) -> str:
        return f"nbd+unix:///{quote(self.export)}?socket={quote(str(self.socket_path))}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, cancel: CancelToken, on_line: Callable[[str], None]) -> None:
        """Return when cancelled. Until then every line of nbdkit's standard error is handed on.

        Raises ToolFailed when the server ends by itself.
        """
        ended = os.pidfd_open(self._process.pid)
        try:
            while not cancel.is_cancelled:
                has_ended, _, _ = select.select([ended], [], [], _POLL_S)
                self.drain(on_line)
                if has_ended:
                    status = self._process.wait()
                    raise ToolFailed(
                        tool="nbdkit", status=status, output=shorten(self._last_output)
                    )
        finally:
            os.close(ended)

    def drain(self, on_line: Callable[[str], None]) -> None:
        """Hand on the lines written since the last time; a log grown large is emptied."""
        path = self._folder / "stderr"
        with path.open("rb") as log:
            log.seek(self._log_position)
            piece = log.read()
        self._log_position += len(piece)
        if self._log_position > _LOG_BYTES:
            # nbdkit writes on at its old offset: what we cut off becomes a hole.
            os.truncate(path, 0)
        *lines, self._rest = (self._rest + piece.lstrip(b"\0")).split(b"\n")
        self._last_output = (self._last_output + piece)[-_LOG_BYTES:]
        for line in lines:
            on_line(line.decode("utf-8", "replace"))

    def close(self) -> None:
        """End the server and remove its folder. May be called twice.

        Without a grace: plugin and overlay keep nothing that would outlive it, and asked by
        SIGTERM nbdkit waits for every client to hang up.
        """
        if not self._folder.exists():
            return
        end_process(self._process, grace_s=0)
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_listening(self) -> None:
        if await_file(self._folder / "pid", self._process, timeout_s=_START_TIMEOUT_S):
            return
        output = (self._folder / "stderr").read_bytes()
        if b"cannot open plugin" in output or b"cannot open filter" in output:
            raise ToolMissing(tool="nbdkit (or a part of it)", package=self._package)
        status = self._process.poll()
        problem = shorten(output) or f"it was not ready within {_START_TIMEOUT_S:.0f} s"
        raise ToolFailed(tool="nbdkit", status=-1 if status is None else status, output=problem)


def _start(
    arguments: list[str],
    package: str,
    stderr_path: Path,
    handover: bytes | None,
) -> subprocess.Popen[bytes]:
    if handover is None:
        return start_server(arguments, package=package, stderr_path=stderr_path)
    reading, writing = os.pipe()
    try:
        try:
            process = start_server(
                [*arguments, f"handover_fd={reading}"],
                package=package,
                stderr_path=stderr_path,
                pass_fds=(reading,),
            )
        finally:
            os.close(reading)
        # Written after the start: were we killed before, the plugin would find the pipe empty.
        with suppress(BrokenPipeError):  # it has ended already, and said why
            os.write(writing, handover)
    finally:
        os.close(writing)
    return process
