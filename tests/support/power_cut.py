"""What a power cut may leave of files that were being written, by model instead of by luck.

Enter at `FileTrace`, which a store or `record_file_calls` fills with what was done to files, and
`crash_states`, which walks every moment of a trace and yields the contents a disk may show after
losing power there. Knows nothing of repositories: a state is a mapping from path to bytes.

Two disks are modelled. WEAKEST is all that POSIX promises: bytes of a file are there after its own
fsync, an entry of a folder after that folder's fsync, anything else may be there or not, in any
combination, torn at any sector. ORDERED is ext4 with `data=ordered`: entries reach the disk in the
order they were made and any fsync brings along all that were made before it, while bytes that were
not synced may still be missing.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

SECTOR_BYTES = 512
PAGE_BYTES = 4096
_FOLDER = -1
_ROOT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name in a folder came to stand for a file, for a folder (`inode` -1), or for nothing."""

    folder: str
    name: str
    inode: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Bytes appended to a file."""

    inode: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSynced:
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSynced:
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """From here on the caller may rely on `facts`, a value of the test's own."""

    facts: Any


Event = Entry | Written | FileSynced | FolderSynced | Promised


class FileTrace:
    """Thread-safe record of events, in the order they took effect."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._files = 0
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)

    def new_file(self) -> int:
        with self._lock:
            self._files += 1
            return self._files

    def enter(self, path: str, inode: int | None) -> None:
        folder, _, name = path.rpartition("/")
        self.add(Entry(folder=folder, name=name, inode=inode))

    def promise(self, facts: Any) -> None:
        """What an outsider was told by now; replaces what was promised before."""
        self.add(Promised(facts=facts))


class DiskModel(Enum):
    WEAKEST = "weakest"
    ORDERED = "ordered"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashState:
    """One possible content of the disk."""

    step: int
    """Events of the trace that had happened."""
    model: DiskModel
    files: Mapping[str, bytes]
    facts: Any
    """The last promise made before the cut; None when there was none."""


class Choices:
    """Answers `choose` from a script, then with 0, and records what was asked, so that the next
    script can be told from the last."""

    def __init__(self, script: Sequence[int] = ()) -> None:
        self._script = script
        self.taken: list[tuple[int, int]] = []

    def choose(self, options: int) -> int:
        place = len(self.taken)
        choice = self._script[place] if place < len(self._script) else 0
        self.taken.append((choice, options))
        return choice

    def following(self) -> list[int] | None:
        """The next script in depth-first order; None after the last."""
        script = [choice for choice, _ in self.taken]
        for place in reversed(range(len(script))):
            if script[place] + 1 < self.taken[place][1]:
                return [*script[:place], script[place] + 1]
        return None


class RandomChoices(Choices):
    def __init__(self, source: random.Random) -> None:
        super().__init__()
        self._source = source

    def choose(self, options: int) -> int:
        return self._source.randrange(options)


class _Disk:
    """Where the files stand at one moment: what is durable and what is on its way."""

    def __init__(self) -> None:
        self.durable: dict[str, dict[str, int]] = {}
        self.pending: list[Entry] = []
        self.data: dict[int, bytearray] = {}
        self.synced_bytes: dict[int, int] = {}

    def apply(self, event: Event, model: DiskModel) -> None:
        if isinstance(event, Entry):
            self.pending.append(event)
        elif isinstance(event, Written):
            self.data.setdefault(event.inode, bytearray()).extend(event.data)
        elif isinstance(event, FileSynced):
            self.synced_bytes[event.inode] = len(self.data.get(event.inode, b""))
            if model is DiskModel.ORDERED:
                self._settle(lambda _: True)
        elif isinstance(event, FolderSynced):
            folder = event.folder
            ordered = model is DiskModel.ORDERED
            self._settle(lambda entry: ordered or entry.folder == folder)

    def _settle(self, reached: Callable[[Entry], bool]) -> None:
        for entry in self.pending:
            if reached(entry):
                _set(self.durable, entry)
        self.pending = [entry for entry in self.pending if not reached(entry)]

    def after_cut(self, model: DiskModel, choices: Choices) -> dict[str, bytes]:
        folders = {folder: dict(names) for folder, names in self.durable.items()}
        if model is DiskModel.ORDERED:
            # Seen from the end: "all of it" is the choice tried first.
            kept = self.pending[: len(self.pending) - choices.choose(len(self.pending) + 1)]
        else:
            kept = [entry for entry in self.pending if choices.choose(2) == 0]
        for entry in kept:
            _set(folders, entry)
        return dict(self._walk(folders, _ROOT, choices))

    def _walk(
        self, folders: Mapping[str, Mapping[str, int]], folder: str, choices: Choices
    ) -> Iterator[tuple[str, bytes]]:
        for name, inode in folders.get(folder, {}).items():
            path = f"{folder}/{name}" if folder else name
            if inode == _FOLDER:
                yield from self._walk(folders, path, choices)
            elif not name.startswith("."):
                yield path, self._content(inode, choices)

    def _content(self, inode: int, choices: Choices) -> bytes:
        data, synced = bytes(self.data.get(inode, b"")), self.synced_bytes.get(inode, 0)
        if synced == len(data):
            return data
        shapes = _torn_shapes(data, synced)
        return shapes[choices.choose(len(shapes))]


def crash_states(trace: FileTrace, *, states_a_moment: int, seed: int = 0) -> Iterator[CrashState]:
    """States after a cut between any two events: all of a moment's when there are at most
    `states_a_moment`, otherwise the first half of them in order and the rest at random."""
    source = random.Random(seed)
    for model in DiskModel:
        disk, facts = _Disk(), None
        for step, event in enumerate([*trace.events, Promised(facts=None)]):
            for files in _moment(disk, model, states_a_moment, source):
                yield CrashState(step=step, model=model, files=files, facts=facts)
            if isinstance(event, Promised):
                facts = event.facts
            disk.apply(event, model)


def _moment(
    disk: _Disk, model: DiskModel, limit: int, source: random.Random
) -> Iterator[dict[str, bytes]]:
    script: list[int] | None = []
    for number in range(limit):
        if script is None:
            return
        if number < limit // 2:
            choices = Choices(script)
            yield disk.after_cut(model, choices)
            script = choices.following()
        else:
            yield disk.after_cut(model, RandomChoices(source))


def _set(folders: dict[str, dict[str, int]], entry: Entry) -> None:
    names = folders.setdefault(entry.folder, {})
    if entry.inode is None:
        names.pop(entry.name, None)
    else:
        names[entry.name] = entry.inode


def _torn_shapes(data: bytes, synced: int) -> list[bytes]:
    """What a file may hold whose bytes from `synced` on were never synced."""
    lost = len(data) - synced
    sector = synced + (lost // 2) // SECTOR_BYTES * SECTOR_BYTES
    page = synced + (lost // 2) // PAGE_BYTES * PAGE_BYTES
    hole = bytearray(data)
    hole[sector : sector + SECTOR_BYTES] = bytes(len(hole[sector : sector + SECTOR_BYTES]))
    shapes = [
        data,
        data[:synced],
        data[:sector],
        data[:page],
        data[:synced] + bytes(lost),
        data[:sector] + bytes(len(data) - sector),
        bytes(hole),
    ]
    return list(dict.fromkeys(shapes))


@contextmanager
def record_file_calls(root: Path, trace: FileTrace) -> Generator[None]:
    """Record what this process does to files below `root` through the `os` module, by any thread.

    The calls themselves are carried out. pathlib's `mkdir` and `unlink` go through `os` as well.
    """
    calls = _Calls(root, trace)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "write", "fsync", "close", "link", "unlink", "mkdir"):
            patch.setattr(os, name, calls.wrapped(name, getattr(os, name)))
        yield


class _Calls:
    def __init__(self, root: Path, trace: FileTrace) -> None:
        self._root = str(root)
        self._trace = trace
        self._inodes: dict[str, int] = {}
        self._open: dict[int, int | str] = {}
        """Inode of a file, or path of a folder, by descriptor."""
        self._lock = threading.RLock()

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        note: Callable[..., None] = getattr(self, f"note_{name}")

        def call(*args: Any, **kwargs: Any) -> Any:
            # One lock around call and record: the trace has the order that the disk saw.
            with self._lock:
                if name == "close":
                    self._open.pop(args[0], None)
                result = real(*args, **kwargs)
                note(result, *args)
                return result

        return call

    def _below(self, path: object) -> str | None:
        text = str(path) if isinstance(path, (str, Path)) else ""
        if not text.startswith(self._root):
            return None
        return text.removeprefix(self._root).lstrip("/")

    def note_open(self, result: int, path: object, flags: int = 0, *_: object) -> None:
        below = self._below(path)
        if below is None:
            return
        if flags & os.O_CREAT:
            inode = self._trace.new_file()
            self._inodes[below] = inode
            self._open[result] = inode
            self._trace.enter(below, inode)
        elif flags & os.O_DIRECTORY:
            self._open[result] = below

    def note_write(self, result: int, descriptor: int, data: Any) -> None:
        inode = self._open.get(descriptor)
        if isinstance(inode, int):
            self._trace.add(Written(inode=inode, data=bytes(data[:result])))

    def note_fsync(self, _result: None, descriptor: int) -> None:
        target = self._open.get(descriptor)
        if isinstance(target, int):
            self._trace.add(FileSynced(inode=target))
        elif target is not None:
            self._trace.add(FolderSynced(folder=target))

    def note_close(self, _result: None, _descriptor: int) -> None:
        """The descriptor was forgotten before the call: its number may be reused at once."""

    def note_link(self, _result: None, source: object, target: object) -> None:
        old, new = self._below(source), self._below(target)
        if old is not None and new is not None:
            self._inodes[new] = self._inodes[old]
            self._trace.enter(new, self._inodes[old])

    def note_unlink(self, _result: None, path: object) -> None:
        below = self._below(path)
        if below is not None:
            self._inodes.pop(below, None)
            self._trace.enter(below, None)

    def note_mkdir(self, _result: None, path: object, *_: object) -> None:
        below = self._below(path)
        if below:
            self._trace.enter(below, _FOLDER)
