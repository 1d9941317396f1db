"""Where the service listens."""

from __future__ import annotations

import socket

import pytest

from holdfast.api.server import Listen, bind


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_no_answer_waits_for_an_acknowledgement(host: str) -> None:
    with bind(Listen(host=host, port=0)) as bound:
        address = bound.getsockname()
        with socket.create_connection(address[:2]), bound.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
