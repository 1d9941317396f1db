"""A proxy before an S3 service that misbehaves on purpose, in ways chosen by a seed.

Enter at `FaultProxy`. It forwards one request at a time per connection and never alters a signed
part of it except where the fault is just that. Faults are drawn from a seeded generator in the
order in which requests arrive: one client thread sees the same faults under the same seed.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum
from types import TracebackType
from typing import Self


class S3Fault(Enum):
    """What may happen to a request. Those that follow `forward` reach the service first."""

    ERROR_500 = "error_500"
    ERROR_503 = "error_503"
    SLOW_DOWN = "slow_down"
    RESET = "reset"
    """Closed before anything is forwarded."""
    CUT_REQUEST = "cut_request"
    """The service gets half of the body; both connections are closed."""
    FLIP_REQUEST = "flip_request"
    """One bit of the body is changed on the way to the service."""
    LATE_500 = "late_500"
    """Carried out, answered with an error."""
    LOST_ANSWER = "lost_answer"
    """Carried out, closed without an answer."""
    HANG = "hang"
    """Carried out, never answered: the client has to give up."""
    CUT_ANSWER = "cut_answer"
    """The body of the answer ends in the middle."""
    FORBIDDEN = "forbidden"
    SKEWED = "skewed"
    """Refused because the clocks differ by 16 minutes."""
    UNCONDITIONAL = "unconditional"
    """What was not created because it exists is said to have been created."""
    PAGE_200 = "page_200"
    """Somebody else's HTML with status 200."""
    PAGE_404 = "page_404"
    LIST_CUT = "list_cut"
    """The XML ends in the middle, with a matching Content-Length."""
    LIST_SHORT = "list_short"
    """The second half of the keys is left out, and more is promised but no token given."""
    LIST_TWICE = "list_twice"
    """Every key of the page is listed twice."""
    LIST_STALE = "list_stale"
    """The answer that the same listing got first."""


ANY_REQUEST = (
    S3Fault.ERROR_500,
    S3Fault.ERROR_503,
    S3Fault.SLOW_DOWN,
    S3Fault.RESET,
    S3Fault.CUT_REQUEST,
    S3Fault.LATE_500,
    S3Fault.LOST_ANSWER,
    S3Fault.CUT_ANSWER,
    S3Fault.PAGE_404,
)
UPLOADS = (*ANY_REQUEST, S3Fault.FLIP_REQUEST)
LISTINGS = (
    *ANY_REQUEST,
    S3Fault.PAGE_200,
    S3Fault.LIST_CUT,
    S3Fault.LIST_SHORT,
    S3Fault.LIST_TWICE,
)
_ERRORS = {
    S3Fault.ERROR_500: (500, "InternalError"),
    S3Fault.LATE_500: (500, "InternalError"),
    S3Fault.ERROR_503: (503, "ServiceUnavailable"),
    S3Fault.SLOW_DOWN: (503, "SlowDown"),
    S3Fault.FORBIDDEN: (403, "AccessDenied"),
    S3Fault.SKEWED: (403, "RequestTimeTooSkewed"),
}
_UNFORWARDED = {
    S3Fault.ERROR_500,
    S3Fault.ERROR_503,
    S3Fault.SLOW_DOWN,
    S3Fault.FORBIDDEN,
    S3Fault.SKEWED,
    S3Fault.PAGE_200,
    S3Fault.PAGE_404,
}
_CONTENTS = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_TIME = re.compile(rb"(?<=<LastModified>)(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    target: str
    head: bytes
    body: bytes

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and "list-type=" in self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def encode(self, *, announced: int | None = None) -> bytes:
        length = len(self.body) if announced is None else announced
        kept = [
            f"{name}: {value}"
            for name, value in self.headers
            if name.lower() not in {"content-length", "transfer-encoding"}
        ]
        lines = [f"HTTP/1.1 {self.status} Answer", *kept, f"Content-Length: {length}", "", ""]
        return "\r\n".join(lines).encode() + self.body


Plan = Callable[[Request], S3Fault | None]


class FaultProxy:
    """A running proxy; a context manager. All of its settings may be changed while it runs."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self.plan: Plan = lambda _request: None
        """Called for each request, in the proxy's thread."""
        self.latency_s = 0.0
        """Added to each answer."""
        self.server_ahead = timedelta()
        """How far the service's clock seems to be ahead."""
        self.requests: Counter[str] = Counter()
        """By method, listings as LIST; and by fault."""
        self._first_listings: dict[str, Answer] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="s3 proxy", daemon=True)
        self._started = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.endpoint = ""

    def randomly(self, seed: int, rate: float, *, faults: Sequence[S3Fault] = ()) -> None:
        """Faults at `rate`, of `faults` or else of all kinds that suit the request."""
        generator = random.Random(seed)

        def plan(request: Request) -> S3Fault | None:
            if generator.random() >= rate:
                return None
            suited = LISTINGS if request.is_listing else ANY_REQUEST
            return generator.choice(faults or (UPLOADS if request.body else suited))

        self.plan = plan

    def once(self, fault: S3Fault, *, method: str, contains: str = "") -> None:
        """That fault for the next such request; listings go by `LIST`."""
        pending = [fault]

        def plan(request: Request) -> S3Fault | None:
            if pending and _name(request) == method and contains in request.target:
                return pending.pop()
            return None

        self.plan = plan

    def calm(self) -> None:
        self.plan = lambda _request: None

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        )
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        try:
            while await self._serve(reader, writer, upstream):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client or the service has gone
        finally:
            self._tasks.discard(task)
            for _, other in upstream:
                other.close()
            writer.transport.abort()

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    ) -> bool:
        """One request. False when the connection is to be closed without a word."""
        request = await _read_request(reader)
        fault = self.plan(request)
        self.requests[_name(request)] += 1
        if fault is not None:
            self.requests[fault.value] += 1
        if fault is S3Fault.RESET:
            return False
        if fault in _UNFORWARDED:
            answer = _made_up(fault, request)
        else:
            if not upstream:
                upstream.append(await asyncio.open_connection("127.0.0.1", self._upstream_port))
            forwarded = await self._forward(request, fault, *upstream[0])
            if forwarded is None:
                return False
            answer = self._alter(request, fault, forwarded)
        await asyncio.sleep(self.latency_s)
        return await _respond(reader, writer, request, fault, answer)

    async def _forward(
        self,
        request: Request,
        fault: S3Fault | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Answer | None:
        body = request.body
        if fault is S3Fault.FLIP_REQUEST:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault is S3Fault.CUT_REQUEST:
            writer.write(request.head + body[: len(body) // 2])
            with suppress(OSError):
                await writer.drain()
            return None
        writer.write(request.head + body)
        await writer.drain()
        return await _read_answer(reader, is_head=request.method == "HEAD")

    def _alter(self, request: Request, fault: S3Fault | None, answer: Answer) -> Answer:
        if fault is S3Fault.LATE_500:
            return _made_up(fault, request)
        if self.server_ahead:
            answer = _ahead(answer, self.server_ahead)
        if fault is S3Fault.UNCONDITIONAL and answer.status == 412:
            return replace(answer, status=200, headers=(("ETag", '"0"'),), body=b"")
        if request.is_listing and answer.status == 200:
            return self._alter_listing(request, fault, answer)
        return answer

    def _alter_listing(self, request: Request, fault: S3Fault | None, answer: Answer) -> Answer:
        first = self._first_listings.setdefault(request.target, answer)
        if fault is S3Fault.LIST_STALE:
            return first
        if fault is S3Fault.LIST_CUT:
            return replace(answer, body=answer.body[: len(answer.body) * 3 // 4])
        keys = _CONTENTS.findall(answer.body)
        if fault is S3Fault.LIST_TWICE:
            return replace(answer, body=_with_keys(answer.body, [*keys, *keys]))
        if fault is S3Fault.LIST_SHORT:
            body = _with_keys(answer.body, keys[: len(keys) // 2])
            body = re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", b"", body)
            return replace(answer, body=body.replace(b"<IsTruncated>false", b"<IsTruncated>true"))
        return answer


async def _respond(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: Request,
    fault: S3Fault | None,
    answer: Answer,
) -> bool:
    """False when the connection is to be closed."""
    is_head = request.method == "HEAD"
    if fault is S3Fault.HANG:
        await reader.read()  # until the client closes
    if fault in {S3Fault.HANG, S3Fault.LOST_ANSWER}:
        return False
    if fault is S3Fault.CUT_ANSWER:
        if not is_head:  # an answer to HEAD has no body to cut
            half = replace(answer, body=answer.body[: len(answer.body) // 2])
            writer.write(half.encode(announced=len(answer.body) + 1))
            await writer.drain()
        return False
    writer.write(answer.encode(announced=_content_length(answer.headers) if is_head else None))
    await writer.drain()
    return True


def _name(request: Request) -> str:
    return "LIST" if request.is_listing else request.method


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    start, headers = _parse(head)
    method, target, _ = start.split(" ", 2)
    body = await reader.readexactly(_content_length(headers))
    return Request(method=method, target=target, head=head, body=body)


async def _read_answer(reader: asyncio.StreamReader, *, is_head: bool) -> Answer:
    start, headers = _parse(await reader.readuntil(b"\r\n\r\n"))
    status = int(start.split(" ", 2)[1])
    body = b""
    if not is_head and status not in {204, 304}:
        body = await _read_body(reader, headers)
    return Answer(status=status, headers=headers, body=body)


async def _read_body(reader: asyncio.StreamReader, headers: tuple[tuple[str, str], ...]) -> bytes:
    if {name.lower(): value for name, value in headers}.get("transfer-encoding") != "chunked":
        return await reader.readexactly(_content_length(headers))
    body = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return bytes(body)


def _parse(head: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    start, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return start, tuple((name.strip(), value.strip()) for name, _, value in pairs)


def _content_length(headers: tuple[tuple[str, str], ...]) -> int:
    return next((int(value) for name, value in headers if name.lower() == "content-length"), 0)


def _made_up(fault: S3Fault, request: Request) -> Answer:
    if fault in _ERRORS:
        status, code = _ERRORS[fault]
        body = f"<Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
    else:
        status = 200 if fault is S3Fault.PAGE_200 else 404
        body = b"<html><body><h1>Not what you asked for</h1></body></html>"
    if request.method == "HEAD":
        body = b""
    return Answer(status=status, headers=(("Content-Type", "text/html"),), body=body)


def _with_keys(body: bytes, keys: Sequence[bytes]) -> bytes:
    found = list(_CONTENTS.finditer(body))
    if not found:
        return body
    return body[: found[0].start()] + b"".join(keys) + body[found[-1].end() :]


def _ahead(answer: Answer, by: timedelta) -> Answer:
    def moved(match: re.Match[bytes]) -> bytes:
        moment = datetime.fromisoformat(match[1].decode())
        return (moment + by).isoformat().encode()

    headers = tuple(
        (name, format_datetime(parsedate_to_datetime(value) + by, usegmt=True))
        if name.lower() in {"date", "last-modified"}
        else (name, value)
        for name, value in answer.headers
    )
    return replace(answer, headers=headers, body=_TIME.sub(moved, answer.body))
