"""Frames survive the trip; what is no legal frame is refused before it is read."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.restore.guest_files import protocol
from holdfast.restore.guest_files.protocol import Channel, Kind, PeerGone, ProtocolViolation


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Channel]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    theirs.settimeout(5)
    with ours, theirs:
        yield theirs, Channel(ours)


def test_frames_arrive_as_they_were_sent(pair: tuple[socket.socket, Channel]) -> None:
    other, channel = pair
    Channel(other).send(Kind.RESULT, protocol.encode({"a": 1}))
    kind, payload = channel.receive()
    assert (kind, protocol.decode(payload)) == (Kind.RESULT, {"a": 1})


@pytest.mark.parametrize(
    "header",
    [
        protocol.HEADER.pack(0, 99),
        protocol.HEADER.pack(protocol.MAX_DATA_BYTES + 1, Kind.DATA),
        protocol.HEADER.pack(0xFFFFFFFF, Kind.RESULT),
        protocol.HEADER.pack(1, Kind.FETCH_FAILED),
    ],
)
def test_a_bad_header_is_refused_before_its_payload(
    pair: tuple[socket.socket, Channel], header: bytes
) -> None:
    other, channel = pair
    other.sendall(header)
    with pytest.raises(ProtocolViolation):
        channel.receive()


def test_a_closed_connection_is_told(pair: tuple[socket.socket, Channel]) -> None:
    other, channel = pair
    other.sendall(protocol.HEADER.pack(10, Kind.DATA) + b"half")
    other.close()
    with pytest.raises(PeerGone):
        channel.receive()


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"],
)
def test_what_is_no_document_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        protocol.decode(payload)


@given(st.binary())
def test_every_byte_string_survives_as_text(name: bytes) -> None:
    text = json.loads(json.dumps(protocol.text_of(name)))
    assert protocol.bytes_of(text) == name


def test_text_that_is_no_bytes_is_refused() -> None:
    with pytest.raises(ProtocolViolation):
        protocol.bytes_of("€")
