"""Entry of the sandboxed reader: answers requests on an inherited socket until it is closed.

Arguments: socket descriptor, address-space limit in bytes, processor time for one request in
seconds. Nothing else is read from outside: no files, no environment.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from .. import protocol
from ..protocol import Channel, Kind
from . import faults
from .device import BlockCache, DiskDevice
from .tree import Entry, Path, Tree
from .volumes import Volume, find_volumes
from .walk import Walk, name_filter

_OPEN_FILES = 16
_PROCESSOR_HARD_S = 24 * 3600
_PAGE_BYTES = 4 * 1024 * 1024
_MAX_WALKS = 16


class Reader:
    """State of one connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._tree = Tree([])
        self._walks: dict[int, Walk] = {}
        self._walk_count = 0
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any] | bytes]] = {
            "open": self._open,
            "list": self._list,
            "stat": self._stat,
            "read": self._read,
            "walk": self._walk,
            "next": self._next,
            "close": self._close,
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | bytes:
        return self._operations[request["operation"]](request)

    def fetch(self, disk: int, offset: int, length: int) -> bytes:
        """Disk bytes from the parent. See `Fetcher`."""
        try:
            self._channel.send(Kind.FETCH, protocol.FETCH.pack(disk, offset, length))
            kind, payload = self._channel.receive()
        except protocol.PeerGone:
            os._exit(0)
        if kind is Kind.FETCH_FAILED:
            raise faults.FetchFailed
        if kind is not Kind.BLOCKS or len(payload) != length:
            raise protocol.ProtocolViolation("no blocks came for a fetch")
        return payload

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        cache = BlockCache(self.fetch)
        disks = [
            (str(key), DiskDevice(cache, index, int(size), protocol.MAX_DATA_BYTES))
            for index, (key, size) in enumerate(request["disks"])
        ]
        volumes = find_volumes(disks)
        self._tree = Tree(volumes)
        return {"volumes": [_volume(volume) for volume in volumes]}

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        entries, total, problems = self._tree.list(
            _path(request), request["offset"], request["limit"]
        )
        page: list[list[Any]] = []
        size = 0
        for entry in entries:
            page.append(_entry(entry))
            size += 6 * (len(entry.name) + len(entry.target or b"")) + 128
            if size > _PAGE_BYTES:
                break
        return {"entries": page, "total": total, "problems": problems}

    def _stat(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"entry": _entry(self._tree.stat(_path(request)))}

    def _read(self, request: dict[str, Any]) -> bytes:
        return self._tree.read(_path(request), request["offset"], request["length"])

    def _walk(self, request: dict[str, Any]) -> dict[str, Any]:
        pattern = request["pattern"]
        matches = None
        if pattern is not None:
            matches = name_filter(protocol.bytes_of(pattern), ignore_case=request["ignore_case"])
        if len(self._walks) >= _MAX_WALKS:
            self._walks.pop(min(self._walks))
        self._walk_count += 1
        self._walks[self._walk_count] = Walk(self._tree, _path(request), matches)
        return {"walk": self._walk_count}

    def _next(self, request: dict[str, Any]) -> dict[str, Any]:
        walk = self._walks.get(request["walk"])
        if walk is None:
            raise faults.NotFound("the walk was ended because too many are open")
        batch = walk.next(request["limit"])
        return {
            "entries": [[_join(path), _entry(entry)] for path, entry in batch.entries],
            "problems": [[_join(path), text] for path, text in batch.problems],
            "scanned": batch.scanned,
            "done": batch.done,
        }

    def _close(self, request: dict[str, Any]) -> dict[str, Any]:
        self._walks.pop(request["walk"], None)
        return {}


def _path(request: dict[str, Any]) -> Path:
    return tuple(protocol.bytes_of(name) for name in request["path"])


def _join(path: Path) -> str:
    return protocol.text_of(b"/" + b"/".join(path))


def _entry(entry: Entry) -> list[Any]:
    return [
        protocol.text_of(entry.name),
        entry.kind,
        entry.size,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.modified_ns,
        None if entry.target is None else protocol.text_of(entry.target),
        entry.error,
    ]


def _volume(volume: Volume) -> dict[str, Any]:
    signature = volume.signature
    return {
        "id": volume.id,
        "size": volume.size,
        "filesystem": signature.filesystem,
        "label": protocol.text_of(signature.label),
        "uuid": signature.uuid,
        "problem": signature.problem,
        "notes": list(signature.notes),
    }


def _limit_process(address_space_bytes: int) -> None:
    """Runs before any guest byte is read; an unprivileged process cannot raise these again."""
    limits = {
        resource.RLIMIT_AS: address_space_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


def _limit_request(processor_s: int) -> None:
    """The kernel ends the process when one request burns more than this."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + processor_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (min(soft, _PROCESSOR_HARD_S), _PROCESSOR_HARD_S))


def _serve(channel: Channel, processor_s: int) -> NoReturn:
    reader = Reader(channel)
    while True:
        kind, payload = channel.receive()
        if kind is not Kind.REQUEST:
            raise protocol.ProtocolViolation("expected a request")
        _limit_request(processor_s)
        try:
            answer = reader.answer(protocol.decode(payload))
        except faults.FetchFailed:
            _fail(channel, "fetch_failed", "")
        except (MemoryError, RecursionError) as error:
            # Half-built caches may be left behind; the parent starts a new process.
            _fail(channel, "exhausted", type(error).__name__)
            os._exit(protocol.EXIT_EXHAUSTED)
        except faults.parse_errors() as error:
            _fail(channel, getattr(error, "code", "damaged"), faults.describe(error))
        else:
            if isinstance(answer, bytes):
                channel.send(Kind.DATA, answer)
            else:
                channel.send(Kind.RESULT, protocol.encode(answer))


def _fail(channel: Channel, code: str, text: str) -> None:
    channel.send(Kind.FAILURE, protocol.encode({"code": code, "text": text}))


def main() -> None:
    descriptor, address_space_bytes, processor_s = (int(argument) for argument in sys.argv[1:4])
    _limit_process(address_space_bytes)
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        _serve(channel, processor_s)
    except protocol.PeerGone:
        os._exit(0)


if __name__ == "__main__":
    main()
