"""What a mover says, as JSON lines: at once when something changed, of mere progress at most twice
a second. Both ends are here, so that they cannot differ.

Enter at `Reporter` in the mover, at `parse_event` in the worker.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Literal, cast

from holdfast.capture.plan import DiskPlan
from holdfast.core.busy_time import BUSY
from holdfast.core.errors import Category, HoldfastError
from holdfast.core.progress import DiskProgress, Progress

INTERVAL_S = 0.5
_SHORTEST_SECRET = 4
EventName = Literal["progress", "plan", "message", "result", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    name: EventName
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a completed run came to."""

    result: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For people and the API; no secrets."""
    point_id: str = ""
    backup_type: str = ""
    """How it really was captured."""


def parse_event(line: bytes) -> Event:
    """Raises ValueError for what no mover says."""
    document = cast("dict[str, Any]", json.loads(line))
    name = document.pop("event", None)
    if name not in {"progress", "plan", "message", "result", "error"}:
        raise ValueError(f"no event: {name!r}")
    return Event(name=name, fields=document)


class Reporter:
    """A progress sink that writes events. Thread-safe. Leave it before the process ends."""

    def __init__(self, stream: IO[bytes], secrets: Sequence[str] = ()) -> None:
        self._stream = stream
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._lock = threading.Lock()
        self._phase = ""
        self._latest: Progress | None = None
        self._disks: dict[str, DiskProgress] = {}
        self._disk_keys: list[str] = []
        self._broken = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell_regularly, name="events", daemon=True)
        self._thread.start()

    def update(self, progress: Progress) -> None:
        with self._lock:
            self._latest = progress
            if progress.disk is not None:
                self._disks[progress.disk.key] = progress.disk
            is_new = progress.phase != self._phase
            self._phase = progress.phase
        if is_new:
            self._tell()

    def message(self, text: str) -> None:
        self.log("info", text)

    def log(self, level: Literal["info", "warning", "error"], text: str) -> None:
        self._send("message", {"level": level, "text": text})

    def plan(self, plans: Sequence[DiskPlan]) -> None:
        """What will be read, before bytes move."""
        with self._lock:
            for plan in plans:
                self._disks[plan.disk.key] = DiskProgress(
                    key=plan.disk.key,
                    size_bytes=plan.disk.size_bytes,
                    done_bytes=0,
                    total_bytes=plan.planned_bytes,
                )
        disks = [
            {
                "key": plan.disk.key,
                "mode": plan.mode.value,
                "reason": plan.reason,
                "planned_bytes": plan.planned_bytes,
                "size_bytes": plan.disk.size_bytes,
            }
            for plan in plans
        ]
        self._send("plan", {"disks": disks})

    def result(self, outcome: Outcome) -> None:
        self._tell()
        self._send("result", asdict(outcome))

    def error(self, error: HoldfastError) -> None:
        self._tell()
        document = {
            "code": error.code,
            "message": error.message,
            "hint": error.advice,
            "retry": error.retry.value,
            "cancelled": error.category is Category.INTERRUPTED,
        }
        self._send("error", document)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _tell_regularly(self) -> None:
        told: Progress | None = None
        while not self._stop.wait(INTERVAL_S):
            with self._lock:
                latest = self._latest
            if latest is not told:
                told = latest
                self._tell()

    def _tell(self) -> None:
        with self._lock:
            latest = self._latest
            disks = [asdict(disk) for disk in self._disks.values()]
        if latest is None:
            return
        fields = {
            "phase": latest.phase,
            "current": latest.disk.key if latest.disk else "",
            "done_bytes": latest.done_bytes,
            "total_bytes": latest.total_bytes,
            "read_bytes": sum(disk["read_bytes"] for disk in disks) or latest.read_bytes,
            "stored_bytes": sum(disk["stored_bytes"] for disk in disks) or latest.stored_bytes,
            "disks": disks,
            "busy_ns": dict(BUSY.spent_ns()),
        }
        self._send("progress", fields)

    def _send(self, name: EventName, fields: Mapping[str, Any]) -> None:
        line = json.dumps({"event": name, **fields}, separators=(",", ":"))
        for secret in self._secrets:  # no error of ours holds one; a library's might
            line = line.replace(json.dumps(secret)[1:-1], "…")
        with self._lock:
            if self._broken:
                return
            try:
                self._stream.write(line.encode() + b"\n")
                self._stream.flush()
            except OSError:
                self._broken = True  # the worker is gone: the listener hears of it too
