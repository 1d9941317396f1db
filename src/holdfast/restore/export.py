"""A disk of a restore point served over NBD by nbdkit.

Owns the export as the user sees it. What runs inside nbdkit is in `nbdkit_plugin/`. Enter at
`export_disk`.

The point never changes: a read-only export refuses writes, a writable one keeps them in a
temporary overlay (nbdkit's cow filter: an unlinked file in /var/tmp) that is gone with the server.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import Category, HoldfastError, ToolFailed
from holdfast.nbd.nbdkit import Nbdkit
from holdfast.repository import DiskRecord, Repository
from holdfast.restore.nbdkit_plugin.handover import encode_handover
from holdfast.restore.nbdkit_plugin.served_disk import PROBLEM_PREFIX

PACKAGE = "nbdkit nbdkit-plugin-python"
_PLUGIN = Path(__file__).parent / "nbdkit_plugin" / "plugin.py"
_OVERLAY_FILTERS = ("blocksize", "cow")
# nbdkit 1.32.5 aborts when a client asks cow for the map of nearly 4 GiB of hole at once, as
# nbdinfo does: the filter above it asks for less at a time.
_OVERLAY_PARAMETERS = ("maxlen=1G",)


@dataclass(kw_only=True, eq=False)
class ExportFailed(HoldfastError):
    """The disk could not be served, or could not be served on."""

    code = "export_failed"
    template = "disk {disk} cannot be served: {problem}"
    hint = "Run `holdfast check`; without a finding there, start the export again"
    disk: str
    problem: str


@dataclass(kw_only=True, eq=False)
class ExportedDamage(HoldfastError):
    """A client asked for data that is damaged or missing, and got an error instead of it."""

    code = "exported_damage"
    category = Category.INTEGRITY
    template = "disk {disk} has damaged data; reading it gave errors: {problem}"
    hint = "Run `holdfast verify` to see which points are affected; another point may be sound"
    disk: str
    problem: str


class ServedDisk:
    """A disk being served. Clients connect to `uri`."""

    def __init__(self, server: Nbdkit, disk: DiskRecord) -> None:
        self._server = server
        self._disk = disk
        self._problems: list[str] = []

    @property
    def uri(self) -> str:
        return self._server.uri

    @property
    def socket_path(self) -> Path:
        return self._server.socket_path

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._server.pid

    def problems(self) -> list[str]:
        """What clients ran into so far, each naming the damaged object, each once."""
        self._server.drain(self._take)
        return list(self._problems)

    def wait(self, cancel: CancelToken, *, on_problem: Callable[[str], None] | None = None) -> None:
        """Return when cancelled. `on_problem` hears at once what a client ran into.

        Raises ExportFailed when the server ends by itself.
        """

        def take(line: str) -> None:
            self._take(line)
            if on_problem is not None and line.startswith(PROBLEM_PREFIX):
                on_problem(line.removeprefix(PROBLEM_PREFIX))

        try:
            self._server.wait(cancel, take)
        except ToolFailed as error:
            raise _failure(self._disk, error) from error
        self._server.drain(take)

    def require_sound(self) -> None:
        """Raise ExportedDamage if a client was refused data."""
        problems = self.problems()
        if problems:
            raise ExportedDamage(disk=self._disk.key, problem="; ".join(problems[:5]))

    def _take(self, line: str) -> None:
        if line.startswith(PROBLEM_PREFIX):
            self._problems.append(line.removeprefix(PROBLEM_PREFIX))


@contextmanager
def export_disk(
    *,
    repository: Repository,
    disk: DiskRecord,
    writable: bool,
    socket_dir: Path | None = None,
) -> Generator[ServedDisk]:
    """Serve the disk on a unix socket in a fresh 0700 folder (below `socket_dir`, or /tmp) until
    the context ends. Only this user's processes reach it.

    Raises ToolMissing, ExportFailed, InvalidInput for a `socket_dir` whose path is too long.
    """
    try:
        server = Nbdkit.serve(
            plugin="python",
            parameters=[str(_PLUGIN), *(_OVERLAY_PARAMETERS if writable else [])],
            package=PACKAGE,
            socket_dir=socket_dir or Path("/tmp"),  # noqa: S108 - a fresh 0700 folder in it
            read_only=not writable,
            filters=_OVERLAY_FILTERS if writable else [],
            handover=encode_handover(repository, disk),
        )
    except ToolFailed as error:
        raise _failure(disk, error) from error
    with server:
        yield ServedDisk(server, disk)


def _failure(disk: DiskRecord, error: ToolFailed) -> ExportFailed:
    """In our own words where the plugin said why."""
    said = [
        part.removeprefix(PROBLEM_PREFIX)
        for part in error.output.split("; ")
        if part.startswith(PROBLEM_PREFIX)
    ]
    return ExportFailed(disk=disk.key, problem="; ".join(said) or error.message)
