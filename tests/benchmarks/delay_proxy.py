"""A line that is long and wide: a TCP proxy that hands every byte on half a round trip later.

    python -m tests.benchmarks.delay_proxy UPSTREAM_PORT ROUND_TRIP_S

Prints its port, then serves until it is killed. A process of its own, so that it takes no time from
whoever measures; it looks at no byte, so that it is quick. Enter at `distant`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

_AHEAD_BYTES = 16 << 20
"""On the way at once in one direction of one connection: 800 MB/s over 20 ms."""


@contextmanager
def distant(upstream_port: int, round_trip_s: float) -> Generator[tuple[int, int]]:
    """Port and process id of a proxy before a local port."""
    module = ["-m", "tests.benchmarks.delay_proxy", str(upstream_port), str(round_trip_s)]
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, *module]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


class _End(asyncio.Protocol):
    """One end of a connection: what arrives here leaves at the other end, later."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._on_the_way = 0
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        for data in self._early:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._on_the_way += len(data)
        if self._on_the_way > _AHEAD_BYTES and self.transport:
            self.transport.pause_reading()
        self._loop.call_later(self._delay_s, self._hand_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.call_later(self._delay_s, self._close_other)

    def _hand_on(self, data: bytes) -> None:
        before, self._on_the_way = self._on_the_way, self._on_the_way - len(data)
        if before > _AHEAD_BYTES >= self._on_the_way and self.transport:
            self.transport.resume_reading()
        if self.other:
            self.other.write(data)

    def _close_other(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()

    def write(self, data: bytes) -> None:
        if self.transport is None:
            self._early.append(data)
        else:
            self.transport.write(data)


async def _serve(upstream_port: int, round_trip_s: float) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[object]] = set()

    def accept() -> _End:
        near, far = _End(round_trip_s / 2), _End(round_trip_s / 2)
        near.other, far.other = far, near
        task = loop.create_task(loop.create_connection(lambda: far, "127.0.0.1", upstream_port))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
