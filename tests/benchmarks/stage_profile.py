"""Where our full backup spends its CPU time: the command line run in this process with the stages
of the write path wrapped in clocks of the thread that runs them.

Run as `python -m tests.benchmarks.stage_profile REPORT holdfast-arguments...` by `profile_backup`.
The clocks cost about a microsecond a call and there are a few calls a chunk. A stage's time leaves
out the stages inside it. What a stage waited (for the disk, for a core, for the interpreter lock)
is its elapsed time less its CPU time, summed over the threads.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Command, run
from tests.benchmarks.tools import Holdfast

Stages = dict[str, tuple[float, float]]
_NANO = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    stages: Stages
    """CPU and elapsed seconds by stage, summed over the threads."""
    cpu_s: float
    wall_s: float


def profile_backup(disk: Path, folder: Path) -> Profile:
    """Profile a full backup of `disk` into a new repository in `folder`, which must not exist."""
    tool = Holdfast(folder=folder)
    tool.prepare()
    report = folder / "profile.json"
    command = tool.backup(disk)
    module = [sys.executable, "-m", __name__, str(report)]
    run(
        Command(
            arguments=[*module, *command.arguments[1:]],
            environment=command.environment,
            folder=Path(__file__).parents[2],
            stdout=command.stdout,
        )
    )
    return Profile(**json.loads(report.read_text()))


@dataclass(slots=True)
class _ThreadClock:
    """Stages of one thread: time by name, and the stages that run now, innermost last."""

    cpu: defaultdict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    elapsed: defaultdict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    running: list[str] = field(default_factory=list[str])
    since: tuple[int, int] = (0, 0)

    def enter(self, name: str) -> None:
        self._charge()
        # What the check calls is the same code as elsewhere: keep it apart.
        inside = next((outer for outer in self.running if outer.startswith("check")), None)
        self.running.append(f"check: {name}" if inside else name)

    def leave(self) -> None:
        self._charge()
        self.running.pop()

    def _charge(self) -> None:
        now = time.thread_time_ns(), time.perf_counter_ns()
        if self.running:
            self.cpu[self.running[-1]] += now[0] - self.since[0]
            self.elapsed[self.running[-1]] += now[1] - self.since[1]
        self.since = now


class _Clocks:
    def __init__(self) -> None:
        self._local = threading.local()
        self._all: list[_ThreadClock] = []

    def wrap(self, owner: object, attribute: str, stage: str) -> None:
        """Replace a function or method by one that is timed."""
        setattr(owner, attribute, self.timed(getattr(owner, attribute), stage))

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            clock = self._of_thread()
            clock.enter(stage)
            try:
                return function(*arguments, **named)
            finally:
                clock.leave()

        return call

    def totals(self) -> Stages:
        names = {name for clock in self._all for name in clock.cpu}
        return {
            name: (
                sum(clock.cpu[name] for clock in self._all) * _NANO,
                sum(clock.elapsed[name] for clock in self._all) * _NANO,
            )
            for name in names
        }

    def _of_thread(self) -> _ThreadClock:
        clock = getattr(self._local, "clock", None)
        if clock is None:
            clock = self._local.clock = _ThreadClock()
            self._all.append(clock)
        return clock


class _TimedCodec:
    """A compressor or decompressor whose one method in use is timed."""

    def __init__(self, clocks: _Clocks, inner: Any, method: str, stage: str) -> None:
        self._inner = inner
        setattr(self, method, clocks.timed(getattr(inner, method), stage))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _install(clocks: _Clocks) -> None:
    from holdfast.capture import reading
    from holdfast.hypervisors.images.raw_reader import RawReader
    from holdfast.repository import packs
    from holdfast.repository.format.pack import ChunkCipher, ChunkIds
    from holdfast.repository.store.local import LocalStore

    clocks.wrap(RawReader, "pread_into", "read")
    clocks.wrap(reading, "is_all_zero", "zero test")
    clocks.wrap(ChunkIds, "of", "hash")
    clocks.wrap(ChunkCipher, "seal", "seal")
    clocks.wrap(ChunkCipher, "open", "open")
    clocks.wrap(packs.PackWriter, "_check", "check: rest")
    clocks.wrap(packs, "_digest", "pack name")
    clocks.wrap(LocalStore, "put_new", "pack write")
    clocks.wrap(os, "fsync", "fsync")
    _install_codecs(clocks, packs.Codecs)


def _install_codecs(clocks: _Clocks, codecs: type) -> None:
    """The codecs are made once a thread; wrap them as they are made."""
    make = codecs.__init__

    def make_timed(self: Any) -> None:
        make(self)
        self.compressor = _TimedCodec(clocks, self.compressor, "compress", "compress")
        self.decompressor = _TimedCodec(clocks, self.decompressor, "decompress", "decompress")

    setattr(codecs, "__init__", make_timed)  # noqa: B010 - no type allows this assignment


def _main(report: Path, arguments: list[str]) -> None:
    from holdfast.cli.main import main

    clocks = _Clocks()
    _install(clocks)
    sys.argv = ["holdfast", *arguments]
    started = time.perf_counter()
    try:
        main()
    finally:
        profile = {
            "stages": clocks.totals(),
            "cpu_s": time.process_time(),
            "wall_s": time.perf_counter() - started,
        }
        report.write_text(json.dumps(profile))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
