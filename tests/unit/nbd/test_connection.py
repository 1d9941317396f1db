"""What a client does with servers that misbehave, played by a socket in this process."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.core.units import MIB
from holdfast.nbd.client import NbdReader, NbdWriter
from holdfast.nbd.errors import (
    SourceReadFailed,
    SourceUnavailable,
    TargetUnavailable,
    TargetWriteFailed,
)

_READ, _BLOCK_STATUS = 0, 7
_HAS_FLAGS, _READ_ONLY, _SEND_FLUSH = 1, 2, 4
_STRUCTURED, _GO, _SET_META = 8, 7, 10

Script = Callable[[socket.socket], None]


@contextmanager
def serving(folder: Path, script: Script) -> Generator[Path]:
    """Run `script` for the first connection to the socket."""
    path = folder / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                script(connection)
            except (BrokenPipeError, ConnectionResetError, struct.error):
                return  # the client left, which is what most of these tests are about

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


def receive(connection: socket.socket, length: int) -> bytes:
    return connection.recv(length, socket.MSG_WAITALL)


def negotiate(
    connection: socket.socket, *, size: int, flags: int = 0, contexts: tuple[bytes, ...] = ()
) -> None:
    """The server's side of the handshake (NBD protocol, fixed newstyle)."""
    connection.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
    receive(connection, 4)
    while True:
        _, option, length = struct.unpack(">8sII", receive(connection, 16))
        data = receive(connection, length) if length else b""

        def reply(kind: int, body: bytes = b"", option: int = option) -> None:
            connection.sendall(struct.pack(">QIII", 0x3E889045565A9, option, kind, len(body)))
            connection.sendall(body)

        if option == _STRUCTURED:
            reply(1)
        elif option == _SET_META:
            for number, context in enumerate(contexts, 1):
                if context in data:
                    reply(4, struct.pack(">I", number) + context)
            reply(1)
        elif option == _GO:
            reply(3, struct.pack(">HQH", 0, size, _HAS_FLAGS | _SEND_FLUSH | flags))
            reply(1)
            return
        else:
            reply(1 << 31 | 1)


def request(connection: socket.socket) -> tuple[int, bytes, int, int]:
    """(command, handle, offset, length)."""
    _, _, command, handle, offset, length = struct.unpack(">IHH8sQI", receive(connection, 28))
    return command, handle, offset, length


def status_reply(handle: bytes, context: int, *extents: tuple[int, int]) -> bytes:
    body = struct.pack(">I", context) + b"".join(struct.pack(">II", *e) for e in extents)
    return struct.pack(">IHH8sI", 0x668E33EF, 1, 5, handle, len(body)) + body


def not_last(reply: bytes) -> bytes:
    """The same reply chunk without the flag that ends the answer."""
    return reply[:4] + struct.pack(">H", 0) + reply[6:]


def until_closed(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def connect(path: Path, *, timeout_s: float = 10, bitmap: str | None = None) -> NbdReader:
    return NbdReader.connect(
        socket_path=path, export="", source="vda", timeout_s=timeout_s, bitmap=bitmap
    )


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path, until_closed) as path:
        started = time.monotonic()
        with pytest.raises(SourceUnavailable, match="did not answer"):
            connect(path, timeout_s=0.5)
        assert time.monotonic() - started < 30


def test_a_server_that_hangs_up_is_an_error(tmp_path: Path) -> None:
    with serving(tmp_path, lambda connection: None) as path, pytest.raises(SourceUnavailable):
        connect(path)


def test_no_server_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="No such file"):
        connect(tmp_path / "nothing")
    with pytest.raises(TargetUnavailable, match="No such file"):
        NbdWriter.connect(socket_path=tmp_path / "nothing", export="", target="x")


def test_a_read_without_an_answer_is_given_up(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        negotiate(connection, size=MIB)
        until_closed(connection)

    with serving(tmp_path, script) as path:
        reader = connect(path, timeout_s=0.5)
        with pytest.raises(SourceReadFailed, match="did not answer"):
            reader.pread_into(0, memoryview(bytearray(512)))
        with pytest.raises(SourceReadFailed, match="closed"):
            reader.pread_into(0, memoryview(bytearray(512)))
        reader.close()


def test_the_offset_that_failed_is_named(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        negotiate(connection, size=8 * MIB)
        for _ in range(3):
            _, handle, offset, length = request(connection)
            error = 5 if offset >= 2 * MIB else 0
            if error:
                connection.sendall(
                    struct.pack(">IHH8sIIH", 0x668E33EF, 1, 1 << 15 | 1, handle, 6, error, 0)
                )
            else:
                head = struct.pack(">IHH8sIQ", 0x668E33EF, 1, 1, handle, 8 + length, offset)
                connection.sendall(head + b"d" * length)
        until_closed(connection)

    with serving(tmp_path, script) as path:
        reader = connect(path)
        with pytest.raises(SourceReadFailed, match="Input/output error") as caught:
            reader.pread_into(0, memoryview(bytearray(3 * MIB)))
        assert caught.value.offset == 2 * MIB


def test_a_bitmap_that_is_not_exported_is_no_clean_disk(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        negotiate(connection, size=MIB, contexts=(b"base:allocation",))
        until_closed(connection)

    with (
        serving(tmp_path, script) as path,
        pytest.raises(SourceUnavailable, match="does not export the bitmap b0"),
    ):
        connect(path, bitmap="b0")


def test_without_block_status_everything_is_read(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        negotiate(connection, size=MIB)
        until_closed(connection)

    with serving(tmp_path, script) as path, connect(path) as reader:
        [extent] = reader.allocated(5, 1000)
        assert (extent.offset, extent.length, extent.zero) == (5, 1000, False)
        assert list(reader.allocated(5, 0)) == []


def test_short_and_long_answers_are_put_together(tmp_path: Path) -> None:
    # A hole (1) need not read as zeroes (2).
    answers = [[(4096, 1)], [(4096, 3), (8192, 2)], [(1 << 30, 0)]]

    def script(connection: socket.socket) -> None:
        negotiate(connection, size=MIB, contexts=(b"base:allocation", b"qemu:dirty-bitmap:b0"))
        for answer in answers:
            command, handle, _, _ = request(connection)
            assert command == _BLOCK_STATUS
            # Another context's answer must not be mistaken for the one asked for.
            connection.sendall(not_last(status_reply(handle, 2, (MIB, 1))))
            connection.sendall(status_reply(handle, 1, *answer))
        until_closed(connection)

    with serving(tmp_path, script) as path, connect(path, bitmap="b0") as reader:
        extents = [(e.offset, e.length, e.zero) for e in reader.allocated(0, MIB)]
    assert extents == [
        (0, 4096, False),
        (4096, 12288, True),
        (16384, MIB - 16384, False),
    ]


@pytest.mark.parametrize("answer", [[], [(0, 0)], [(4096, 0), (0, 3)]])
def test_an_answer_without_progress_is_an_error(
    tmp_path: Path, answer: list[tuple[int, int]]
) -> None:
    def script(connection: socket.socket) -> None:
        negotiate(connection, size=MIB, contexts=(b"base:allocation",))
        _, handle, _, _ = request(connection)
        if answer:
            connection.sendall(status_reply(handle, 1, *answer))
        else:
            connection.sendall(struct.pack(">IHH8sI", 0x668E33EF, 1, 0, handle, 0))
        until_closed(connection)

    with serving(tmp_path, script) as path, connect(path) as reader:
        with pytest.raises(SourceReadFailed, match="no usable block status"):
            list(reader.allocated(0, MIB))
        with pytest.raises(SourceReadFailed, match="closed"):
            list(reader.allocated(0, MIB))


def test_a_range_outside_the_disk_is_refused(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        negotiate(connection, size=1000, contexts=(b"base:allocation",))
        until_closed(connection)

    with serving(tmp_path, script) as path, connect(path) as reader:
        assert reader.size_bytes == 1000
        for offset, length in ((999, 2), (-1, 1), (1001, 0)):
            with pytest.raises(SourceReadFailed):
                reader.pread_into(offset, memoryview(bytearray(length)))
            with pytest.raises(SourceReadFailed):
                list(reader.allocated(offset, length))


def test_a_read_only_export_is_no_target(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        negotiate(connection, size=1000, flags=_READ_ONLY)
        until_closed(connection)

    with serving(tmp_path, script) as path, pytest.raises(TargetUnavailable, match="read-only"):
        NbdWriter.connect(socket_path=path, export="", target="x")


def test_a_write_without_an_answer_is_given_up(tmp_path: Path) -> None:
    def script(connection: socket.socket) -> None:
        negotiate(connection, size=MIB)
        until_closed(connection)

    with serving(tmp_path, script) as path:
        writer = NbdWriter.connect(socket_path=path, export="", target="x", timeout_s=0.5)
        with pytest.raises(TargetWriteFailed, match="did not answer"):
            writer.write(0, b"x" * 512)
        with pytest.raises(TargetWriteFailed):
            writer.flush()
        with pytest.raises(TargetWriteFailed):
            writer.zero(0, 512)
