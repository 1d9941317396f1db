"""A reader that was taken over by its guest: a real process that breaks the protocol."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.restore.guest_files import sandbox
from holdfast.restore.guest_files.errors import (
    GuestReaderExhausted,
    GuestReaderFailed,
    GuestReaderTimedOut,
    SandboxUnavailable,
)
from holdfast.restore.guest_files.protocol import (
    EXIT_EXHAUSTED,
    FETCH,
    HEADER,
    MAX_DATA_BYTES,
    Kind,
)
from holdfast.restore.guest_files.reader_process import ReaderLimits
from holdfast.restore.guest_files.session import open_guest_files
from tests.support.file_block_source import FileBlockSource

# Answers the first request properly, then does as it is told with the second.
HOSTILE = """
import json, socket, struct, sys
connection = socket.socket(fileno=int(sys.argv[1]))
def receive():
    length, kind = struct.unpack("!IB", connection.recv(5, socket.MSG_WAITALL))
    return connection.recv(length, socket.MSG_WAITALL)
def send(kind, payload):
    connection.sendall(struct.pack("!IB", len(payload), kind) + payload)
receive()
send(2, json.dumps({"volumes": []}).encode())
receive()
exec(sys.argv[2])
"""


def _raw(kind: int, payload: bytes, length: int | None = None) -> str:
    header = HEADER.pack(len(payload) if length is None else length, kind)
    return f"connection.sendall({header + payload!r})\nreceive()"


ACTIONS = {
    "a disk that is not there": _raw(Kind.FETCH, FETCH.pack(1, 0, 512)),
    "behind the end of the disk": _raw(Kind.FETCH, FETCH.pack(0, 4096 - 512, 1024)),
    "far behind the end": _raw(Kind.FETCH, FETCH.pack(0, (1 << 64) - 1, 512)),
    "nothing": _raw(Kind.FETCH, FETCH.pack(0, 0, 0)),
    "too much at once": _raw(Kind.FETCH, FETCH.pack(0, 0, MAX_DATA_BYTES + 1)),
    "half a fetch": _raw(Kind.FETCH, b"half"),
    "an unknown kind": _raw(77, b""),
    "a frame without end": _raw(Kind.RESULT, b"", 0xFFFFFFFF),
    "a request": _raw(Kind.REQUEST, b"{}"),
    "no document": _raw(Kind.RESULT, b"[[[["),
    "no fields": _raw(Kind.RESULT, b"{}"),
    "an end": "sys.exit(7)",
}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    image = tmp_path / "image"
    image.write_bytes(bytes(4096))
    return image


def _replace_reader(monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    def start(*, address_space_bytes: int, processor_s: int) -> sandbox.Sandboxed:
        del address_space_bytes, processor_s
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", HOSTILE, str(theirs.fileno()), action],
                pass_fds=(theirs.fileno(),),
                stderr=subprocess.PIPE,
            )
        return sandbox.Sandboxed(process=process, connection=ours)

    monkeypatch.setattr(sandbox, "start", start)


@pytest.mark.parametrize("name", ACTIONS)
def test_breaking_the_protocol_ends_the_reader(
    name: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_reader(monkeypatch, ACTIONS[name])
    source = FileBlockSource(disk)
    with (
        open_guest_files({"vda": source}, limits=ReaderLimits(request_s=20)) as guest,
        pytest.raises(GuestReaderFailed),
    ):
        guest.list(b"/vda")
    assert source.reads == 0
    source.close()


@pytest.mark.parametrize(
    "action",
    [
        "import time\nwhile True: time.sleep(1)",
        # Fetching for ever is no way around the limit, nor is an answer in small drops.
        "while True:\n send(5, struct.pack('!HQI', 0, 0, 512)); receive()",
        (
            "import time\nconnection.sendall(struct.pack('!IB', 1000, 2))\n"
            "while True: time.sleep(0.05); connection.sendall(b'x')"
        ),
        # A full standard error must not matter either.
        "while True: sys.stderr.write('x' * 100000)",
    ],
)
def test_a_reader_without_an_end_is_ended(
    action: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_reader(monkeypatch, action)
    with (
        open_guest_files(
            {"vda": FileBlockSource(disk)}, limits=ReaderLimits(request_s=1.0)
        ) as guest,
        pytest.raises(GuestReaderTimedOut),
    ):
        guest.list(b"/vda")


def test_running_out_of_memory_while_blocks_are_under_way_is_told_as_such(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It leaves in the middle of the blocks it asked for, as a failed allocation does.
    fetch = "send(5, struct.pack('!HQI', 0, 0, 4096))\nconnection.recv(5)\n"
    _replace_reader(monkeypatch, f"{fetch}connection.close()\nsys.exit({EXIT_EXHAUSTED})")
    with (
        open_guest_files({"vda": FileBlockSource(disk)}) as guest,
        pytest.raises(GuestReaderExhausted),
    ):
        guest.list(b"/vda")


def test_a_sandbox_that_does_not_start_is_told(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_setpriv", lambda: ["/bin/false"])
    with open_guest_files({"vda": FileBlockSource(disk)}) as guest:
        for _ in range(2):
            with pytest.raises(SandboxUnavailable):
                guest.volumes()
