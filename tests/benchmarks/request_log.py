"""Every request that one command makes of S3: when, how long, at whose side.

    python -m tests.benchmarks.request_log compact --repository s3://bucket/prefix ...

Runs the command line in this process, so credentials and passphrase are told as usual, and prints
to stderr a line for each request and for how long none, one or more were on their way: while none
is, the command computes; while one is, it waits for an answer that it could have asked for sooner.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import obstore


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    started_s: float
    """Since the log began."""
    ended_s: float
    thread: str
    operation: str
    path: str
    details: str

    @property
    def folder(self) -> str:
        """The folder of the repository that it is about: the prefix before it has no known name."""
        parts = self.path.split("/")
        return next((part for part in parts if part in _FOLDERS), parts[-1])


_FOLDERS = {
    "datakeys",
    "holds",
    "immutability",
    "index",
    "keys",
    "leases",
    "locks",
    "marks",
    "packs",
    "points",
    "tombstones",
    "verified",
    ".holdfast",
}


class RequestLog:
    """Takes the place of obstore's functions. Thread-safe."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.requests: list[LoggedRequest] = []

    def install(self) -> None:
        """Before anything has taken the functions by name."""
        for name in ("put", "get", "get_range", "head", "delete", "list_with_delimiter"):
            setattr(obstore, name, self._logged(name, getattr(obstore, name)))
        obstore.list = self._logged_pages(obstore.list)

    @property
    def now_s(self) -> float:
        return time.perf_counter() - self._started

    def _logged(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def logged(client: object, path: object = None, *rest: object, **options: object) -> Any:
            started = self.now_s
            outcome = ""
            try:
                return act(client, path, *rest, **options)
            except BaseException as error:
                outcome = type(error).__name__
                raise
            finally:
                details = " ".join(
                    [*(f"{key}={options[key]}" for key in ("start", "length") if key in options)]
                )
                self._add(name, str(path), started, f"{details} {outcome}".strip())

        return logged

    def _logged_pages(self, act: Callable[..., Iterable[Any]]) -> Any:
        def logged(client: object, path: object = None, **options: object) -> Iterator[Any]:
            pages = iter(act(client, path, **options))
            while True:
                started = self.now_s
                page = next(pages, None)
                after = str(options.get("offset") or "").rpartition("/")[2]
                count = "end" if page is None else f"{len(page)} keys"
                self._add("list", str(path), started, f"{count} after={after}")
                if page is None:
                    return
                yield page

        return logged

    def _add(self, operation: str, path: str, started_s: float, details: str) -> None:
        request = LoggedRequest(
            started_s=started_s,
            ended_s=self.now_s,
            thread=threading.current_thread().name,
            operation=operation,
            path=path,
            details=details,
        )
        if request.ended_s - started_s > _LOCAL_S:
            self.requests.append(request)


_LOCAL_S = 0.0005
"""Quicker than any request: the end of a listing whose last page has come."""


def in_flight(requests: Iterable[LoggedRequest], end_s: float) -> Counter[int]:
    """For how many seconds how many requests were on their way, from 0 to `end_s`."""
    steps = sorted(
        [(item.started_s, 1) for item in requests] + [(item.ended_s, -1) for item in requests]
    )
    seconds: Counter[int] = Counter()
    before_s, count = 0.0, 0
    for moment_s, step in [*steps, (end_s, 0)]:
        seconds[count] += moment_s - before_s  # pyright: ignore[reportArgumentType]
        before_s, count = moment_s, count + step
    return seconds


def report(log: RequestLog, end_s: float) -> str:
    lines: list[str] = []
    for item in sorted(log.requests, key=lambda item: item.started_s):
        times = f"{item.started_s * 1e3:7.0f} +{(item.ended_s - item.started_s) * 1e3:5.0f}"
        short = "/".join(item.path.split("/")[-3:])[:60]
        lines.append(f"{times} {item.thread[:20]:20} {item.operation:9} {short} {item.details}")
    kinds = Counter((item.operation, item.folder) for item in log.requests)
    lines += [f"{count:5} {name} {folder}" for (name, folder), count in kinds.most_common()]
    seconds = in_flight(log.requests, end_s)
    lines.append(
        f"{len(log.requests)} requests in {end_s:.2f} s: none under way for {seconds[0]:.2f} s, "
        f"one for {seconds[1]:.2f} s, more for {end_s - seconds[0] - seconds[1]:.2f} s"
    )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    log = RequestLog()
    log.install()
    from holdfast.cli.main import main as command_line  # takes obstore's functions by name

    sys.argv = ["holdfast", *arguments]
    try:
        command_line()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    finally:
        print(report(log, log.now_s), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
